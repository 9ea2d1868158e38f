// Package kubernetes holds the manifests of deploy/kubernetes against the types of
// Kubernetes' API, and against those rules of the API server that they could break.
package kubernetes

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"
)

// manifest is one file, read.
type manifest struct {
	service *corev1.Service
	budget  *policyv1.PodDisruptionBudget
	config  *corev1.ConfigMap
	set     *appsv1.StatefulSet
}

var separator = regexp.MustCompile(`(?m)^---\n`)

// read takes unknown and doubled fields for errors, as `kubectl apply
// --validate=strict` does, and more than one object of a kind.
func read(text string) (m manifest, err error) {
	objects := map[string]any{"v1 Service": &m.service, "policy/v1 PodDisruptionBudget": &m.budget, "v1 ConfigMap": &m.config, "apps/v1 StatefulSet": &m.set}
	for _, doc := range separator.Split(text, -1) {
		var kind metav1.TypeMeta
		if err := yaml.Unmarshal([]byte(doc), &kind); err != nil {
			return m, err
		}
		key := kind.APIVersion + " " + kind.Kind
		into, ok := objects[key]
		if !ok {
			return m, fmt.Errorf("%q: unknown, or there twice", key)
		}
		delete(objects, key)
		if err := yaml.UnmarshalStrict([]byte(doc), into); err != nil {
			return m, fmt.Errorf("%s: %w", key, err)
		}
	}
	if len(objects) > 0 {
		return m, fmt.Errorf("missing: %v", reflect.ValueOf(objects).MapKeys())
	}
	return m, nil
}

// faults lists what the API server, or the cluster, would refuse although the
// types are right.
func faults(m manifest) (found []string) {
	bad := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	labels, spec := m.set.Spec.Template.Labels, m.set.Spec.Template.Spec
	selectors := []map[string]string{m.set.Spec.Selector.MatchLabels, m.budget.Spec.Selector.MatchLabels, m.service.Spec.Selector}
	for _, term := range spec.Affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution {
		selectors = append(selectors, term.LabelSelector.MatchLabels)
	}
	for _, c := range spec.TopologySpreadConstraints {
		selectors = append(selectors, c.LabelSelector.MatchLabels)
	}
	for i, s := range selectors {
		if !reflect.DeepEqual(s, labels) {
			bad("selector %d: %v, the pods have %v", i, s, labels)
		}
	}
	if m.set.Spec.ServiceName != m.service.Name {
		bad("serviceName %s, the service is %s", m.set.Spec.ServiceName, m.service.Name)
	}
	volumes := map[string]bool{}
	for _, v := range spec.Volumes {
		volumes[v.Name] = true
		if v.ConfigMap != nil && v.ConfigMap.Name != m.config.Name {
			bad("volume %s: no config map %s", v.Name, v.ConfigMap.Name)
		}
	}
	for _, c := range m.set.Spec.VolumeClaimTemplates {
		volumes[c.Name] = true
	}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		ports := map[string]bool{}
		for _, p := range c.Ports {
			ports[p.Name] = true
		}
		privileged := c.SecurityContext != nil && c.SecurityContext.Privileged != nil && *c.SecurityContext.Privileged
		for _, v := range c.VolumeMounts {
			if !volumes[v.Name] {
				bad("%s: no volume %s", c.Name, v.Name)
			}
			if v.MountPropagation != nil && *v.MountPropagation == corev1.MountPropagationBidirectional && !privileged {
				bad("%s: Bidirectional is for privileged containers alone", c.Name)
			}
		}
		probes := map[string]*corev1.Probe{"startup": c.StartupProbe, "readiness": c.ReadinessProbe, "liveness": c.LivenessProbe}
		for name, p := range probes {
			if p != nil && !ports[p.HTTPGet.Port.String()] {
				bad("%s: %s probe: no port %s", c.Name, name, p.HTTPGet.Port.String())
			}
		}
	}
	for _, c := range spec.InitContainers {
		if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			bad("%s: no sidecar: an init container that does not end holds the pod up", c.Name)
		}
	}
	return found
}

const dir = "../../deploy/kubernetes"

func TestManifests(t *testing.T) {
	files, err := filepath.Glob(dir + "/*.yaml")
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		m, err := read(string(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, f := range faults(m) {
			t.Errorf("%s: %s", file, f)
		}
	}
}

// Each fault, put into the sidecar's manifest, is found.
func TestFaultsAreFound(t *testing.T) {
	text, err := os.ReadFile(dir + "/sidecar.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ old, new, want string }{
		{"periodSeconds: 5", "periodSecond: 5", "periodSecond"},
		{"replicas: 3", "replicas: three", "replicas"},
		{"replicas: 3", "replicas: 3\n  replicas: 3", "replicas"},
		{"kind: PodDisruptionBudget", "kind: Budget", "unknown"},
		{"template:\n    metadata: {labels: {app: lf}}", "template:\n    metadata: {labels: {app: x}}", "selector 0"},
		{"serviceName: lf", "serviceName: x", "serviceName"},
		{"configMap: {name: lf}", "configMap: {name: x}", "no config map"},
		{"{name: fenced, emptyDir: {}}", "{name: x, emptyDir: {}}", "no volume fenced"},
		{"securityContext: {privileged: true}", "securityContext: {privileged: false}", "Bidirectional"},
		{"path: /healthz, port: admin", "path: /healthz, port: adm", "no port"},
		{"restartPolicy: Always\n", "\n", "no sidecar"},
	} {
		changed := strings.Replace(string(text), c.old, c.new, 1)
		if changed == string(text) {
			t.Fatalf("%q is not there", c.old)
		}
		m, err := read(changed)
		found := fmt.Sprint(err)
		if err == nil {
			found = fmt.Sprint(faults(m))
		}
		if !strings.Contains(found, c.want) {
			t.Errorf("%q instead of %q: found %s", c.new, c.old, found)
		}
	}
}
