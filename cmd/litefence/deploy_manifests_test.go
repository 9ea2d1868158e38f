package main

import (
	"encoding/json"
	"net"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/quorum/litefs"
)

// manifestObject is what a manifest says that concerns litefence. That Kubernetes
// takes it is test/kubernetes's.
type manifestObject struct {
	Kind     string
	Metadata struct{ Name string }
	Data     map[string]string
	Spec     struct {
		Ports       []struct{ Port int }
		ServiceName string
		Replicas    int
		Template    struct {
			Spec struct {
				InitContainers, Containers    []manifestContainer
				TerminationGracePeriodSeconds int
				Volumes                       []struct {
					Name     string
					EmptyDir *struct{}
				}
			}
		}
	}
}

type manifestContainer struct {
	Command      []string
	VolumeMounts []struct{ Name, MountPath, MountPropagation string }
	Ports        []struct{ ContainerPort int }

	StartupProbe, ReadinessProbe, LivenessProbe struct{ HTTPGet struct{ Path string } }
}

func manifestObjects(t *testing.T, file string) map[string]manifestObject {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	all := map[string]manifestObject{}
	for doc := range strings.SplitSeq(string(text), "\n---\n") {
		asJSON, err := yaml.YAMLToJSON([]byte(doc))
		require.NoError(t, err)
		var o manifestObject
		require.NoError(t, json.Unmarshal(asJSON, &o))
		all[o.Kind] = o
	}
	return all
}

var litefenceCommand = regexp.MustCompile(`litefence ([a-z]+ -.*)$`)

// The configs in the manifests are taken, by litefence and for LiteFS, and the
// manifests around them fit: peers, ports, commands, probes, mount points.
func TestManifests(t *testing.T) {
	files, err := filepath.Glob("../../deploy/kubernetes/*.yaml")
	require.NoError(t, err)
	require.Len(t, files, 2)
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			all := manifestObjects(t, file)
			set, service := all["StatefulSet"], all["Service"]
			pod := set.Spec.Template.Spec
			node := set.Metadata.Name + "-0"
			t.Setenv("NODE", node)
			cfg, err := parseConfig([]byte(all["ConfigMap"].Data["litefence.yml"]), "/etc/lf")
			require.NoError(t, err)
			theirs := filepath.Join(t.TempDir(), "litefs.yml")
			require.NoError(t, os.WriteFile(theirs, []byte(all["ConfigMap"].Data["litefs.yml"]), 0o600))
			lower, err := litefs.CheckConfig(theirs, "http://127.0.0.1:20201")
			require.NoError(t, err)
			require.Equal(t, cfg.Fence.Lower, lower.FUSEDir)
			require.Equal(t, node, lower.Hostname)
			require.LessOrEqual(t, lower.TTL, time.Second, "a failover would take that much longer")

			require.Len(t, cfg.Quorum.Peers, set.Spec.Replicas)
			require.Equal(t, node+"."+service.Metadata.Name+":7400", cfg.Quorum.Peers[node])
			require.Equal(t, service.Metadata.Name, set.Spec.ServiceName)
			require.GreaterOrEqual(t, pod.TerminationGracePeriodSeconds, 15+5)

			ours := append(pod.InitContainers, pod.Containers...)[0]
			require.Len(t, ours.Ports, 2)
			for i, listen := range []string{cfg.Quorum.Listen, cfg.Admin.Listen} {
				addr, err := net.ResolveTCPAddr("tcp", listen)
				require.NoError(t, err)
				require.Equal(t, addr.Port, ours.Ports[i].ContainerPort)
				require.Equal(t, addr.Port, service.Spec.Ports[i].Port)
			}
			m := litefenceCommand.FindStringSubmatch(strings.Join(ours.Command, " "))
			require.NotNil(t, m, ours.Command)
			require.NoError(t, takesCommand(strings.Fields(m[1])))

			// A fenced node, or one without a majority, is not ready and must live.
			require.Equal(t, "/readyz", ours.StartupProbe.HTTPGet.Path)
			require.Equal(t, "/readyz", ours.ReadinessProbe.HTTPGet.Path)
			require.Equal(t, "/healthz", ours.LivenessProbe.HTTPGet.Path)

			mounts := map[string]string{}
			for _, v := range ours.VolumeMounts {
				mounts[v.MountPath] = v.Name
			}
			require.Equal(t, "data", mounts["/data"])
			for _, dir := range []string{cfg.Quorum.DataDir, lower.DataDir} {
				require.Equal(t, "/data", path.Dir(dir), "would not outlive the pod")
			}
			require.NotContains(t, mounts, cfg.Fence.Mount, "litefence mounts on no foreign mount")
			require.NotContains(t, mounts, cfg.Fence.Lower)
			if len(pod.InitContainers) == 0 {
				return
			}
			require.Equal(t, "fenced", mounts[path.Dir(cfg.Fence.Mount)], "not in the shared volume")
			app := pod.Containers[0].VolumeMounts
			require.Len(t, app, 1, "nothing of ours but the fenced mount")
			require.Equal(t, "fenced", app[0].Name)
			require.Equal(t, "HostToContainer", app[0].MountPropagation)
			require.Equal(t, path.Dir(cfg.Fence.Mount), app[0].MountPath)
		})
	}
}
