// Package docker tests the image: three containers of the application that
// deploy/compose has, cut off from each other by the host's packet filter. `make
// test-docker` builds the image and runs it.
package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for what must come.
const patience = 60 * time.Second

// client asks containers; one that is cut off or dead does not answer. Each
// request has a connection of its own: a restarted container may have another's
// address.
var client = &http.Client{Timeout: 8 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// stack is three containers on a network of their own.
type stack struct {
	t      *testing.T
	prefix string
	image  string
	nodes  []*node
}

type node struct {
	*stack
	name      string // n1
	container string
}

// docker runs the client and returns what it says.
func docker(args ...string) (string, error) {
	out, err := exec.Command("docker", args...).CombinedOutput()
	said := strings.TrimSpace(string(out))
	if err != nil {
		return said, fmt.Errorf("docker %s: %w\n%s", strings.Join(args, " "), err, said)
	}
	return said, nil
}

func (s *stack) docker(args ...string) string {
	s.t.Helper()
	out, err := docker(args...)
	require.NoError(s.t, err)
	return out
}

// start makes certificates, volumes and the network, and starts the containers.
func start(t *testing.T) *stack {
	image := os.Getenv("LITEFENCE_IMAGE")
	if image == "" {
		t.Skip("LITEFENCE_IMAGE is not set: make test-docker builds the image and tests it")
	}
	s := &stack{t: t, prefix: fmt.Sprintf("litefence-test-%d", os.Getpid()), image: image}
	tls := t.TempDir()
	t.Cleanup(s.remove)
	in := func(args ...string) {
		s.docker(append([]string{"run", "--rm", "--network", "none", "-v", tls + ":/made", "--entrypoint", "litefence", image}, args...)...)
	}
	in("ca", "init", "-dir", "/made/ca")
	s.docker("network", "create", s.prefix)
	for _, name := range []string{"n1", "n2", "n3"} {
		in("ca", "issue", "-dir", "/made/ca", "-out", "/made/"+name, name)
		n := &node{stack: s, name: name, container: s.prefix + "-" + name}
		s.nodes = append(s.nodes, n)
		s.docker("run", "-d", "--name", n.container, "--hostname", name, "--network", s.prefix, "--network-alias", name,
			"--device", "/dev/fuse", "--cap-add", "SYS_ADMIN", "--security-opt", "apparmor=unconfined", "--stop-timeout", "20",
			"-e", "NODE="+name, "-e", "PEERS=n1=n1:7400,n2=n2:7400,n3=n3:7400",
			"-v", n.container+":/data", "-v", filepath.Join(tls, name)+":/tls:ro", image)
	}
	return s
}

// remove leaves nothing behind, and shows the logs of what has failed.
func (s *stack) remove() {
	for _, n := range s.nodes {
		if s.t.Failed() {
			out, _ := docker("logs", "--tail", "60", n.container)
			s.t.Logf("--- %s\n%s", n.name, out)
		}
		n.heal()
		if _, err := docker("rm", "-f", "-v", n.container); err != nil {
			s.t.Error(err)
		}
		_, _ = docker("volume", "rm", n.container)
	}
	if out, err := docker("network", "rm", s.prefix); err != nil && !strings.Contains(out, "No such network") {
		s.t.Error(err)
	}
}

// eventually waits for cond, and fails with its last answer.
func (s *stack) eventually(what string, cond func() error) {
	s.t.Helper()
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err = cond(); err == nil {
			return
		}
	}
	require.NoError(s.t, err, what)
}

func (s *stack) others(n *node) (all []*node) {
	for _, o := range s.nodes {
		if o != n {
			all = append(all, o)
		}
	}
	return all
}

// ip is asked anew each time: it may change with a restart.
func (n *node) ip() (string, error) {
	ip, err := docker("inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", n.container)
	if err == nil && ip == "" {
		err = fmt.Errorf("%s does not run", n.name)
	}
	return ip, err
}

// get reads JSON from a port of the container's.
func (n *node) get(port int, path string, into any) error {
	ip, err := n.ip()
	if err != nil {
		return err
	}
	r, err := client.Get(fmt.Sprintf("http://%s:%d%s", ip, port, path))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	return json.NewDecoder(r.Body).Decode(into)
}

// status is the part of /v1/status that is asked about here.
type status struct {
	Writable  bool   `json:"writable"`
	HasQuorum bool   `json:"has_quorum"`
	InStep    bool   `json:"in_step"`
	Reason    string `json:"reason"`
	Leader    string `json:"leader"`
	Open      uint64 `json:"open"` // the index of the newest Open
}

func (n *node) status() (s status, err error) { return s, n.get(20280, "/v1/status", &s) }

var errUnknown = errors.New("outcome unknown")

// post adds a note: nil = acknowledged, errUnknown = no answer to rely on, else
// refused.
func (n *node) post(ctx context.Context, text string) error {
	ip, err := n.ip()
	if err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+ip+":8080/notes", strings.NewReader(text))
	if err != nil {
		return err
	}
	a, err := client.Do(r)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnknown, err)
	}
	defer a.Body.Close()
	said, _ := io.ReadAll(a.Body)
	switch a.StatusCode {
	case http.StatusCreated:
		return nil
	case http.StatusServiceUnavailable:
		return fmt.Errorf("refused: %s", said)
	}
	return fmt.Errorf("%w: %s: %s", errUnknown, a.Status, said)
}

// notes returns the texts that this node reads, in the order of their ids.
func (n *node) notes() (texts []string, err error) {
	var all []struct{ Text string }
	err = n.get(8080, "/notes", &all)
	for _, note := range all {
		texts = append(texts, note.Text)
	}
	return texts, err
}

// writer waits until exactly one of nodes may write, and returns it.
func (s *stack) writer(nodes ...*node) (w *node) {
	s.t.Helper()
	s.eventually("a node may write", func() error {
		w = nil
		var said []string
		for _, n := range nodes {
			st, err := n.status()
			switch {
			case err != nil:
				said = append(said, err.Error())
			case st.Writable && w != nil:
				return fmt.Errorf("both %s and %s", w.name, n.name)
			case st.Writable:
				w = n
			default:
				said = append(said, n.name+": "+st.Reason)
			}
		}
		if w == nil {
			return errors.New(strings.Join(said, ", "))
		}
		return nil
	})
	return w
}

// write adds a note at whichever of nodes may write.
func (s *stack) write(text string, nodes ...*node) (w *node) {
	s.t.Helper()
	s.eventually(text+" is written", func() error {
		w = s.writer(nodes...)
		return w.post(context.Background(), text)
	})
	return w
}

// up waits until all nodes are in step and read.
func (s *stack) up() {
	s.t.Helper()
	s.eventually("all nodes are in step", func() error {
		for _, n := range s.nodes {
			if st, err := n.status(); err != nil || !st.InStep {
				return fmt.Errorf("%s is not in step: %+v %w", n.name, st, err)
			}
			if _, err := n.notes(); err != nil {
				return err
			}
		}
		return nil
	})
}

// agree is up, with nobody writing, and waits until all nodes read the same
// notes, want among them.
func (s *stack) agree(want ...string) {
	s.t.Helper()
	s.up()
	s.eventually("all nodes agree", func() error {
		var first []string
		for _, n := range s.nodes {
			got, err := n.notes()
			if err != nil {
				return err
			}
			if n == s.nodes[0] {
				first = got
			}
			if strings.Join(first, "\n") != strings.Join(got, "\n") {
				return fmt.Errorf("%s has %d notes, %s has %d", s.nodes[0].name, len(first), n.name, len(got))
			}
		}
		for _, text := range want {
			if !strings.Contains("\n"+strings.Join(first, "\n")+"\n", "\n"+text+"\n") {
				return fmt.Errorf("%q is missing", text)
			}
		}
		return nil
	})
}

// lead makes n the one who may write.
func (s *stack) lead(n *node) {
	s.t.Helper()
	s.agree()
	s.eventually(n.name+" leads", func() error {
		w := s.writer(s.nodes...)
		if w == n {
			return nil
		}
		_, err := docker("exec", w.container, "litefence", "handoff", n.name)
		return errors.Join(err, fmt.Errorf("%s writes", w.name))
	})
}

// cut drops, on the host, packets to n and, if both, from n, without a word.
func (n *node) cut(both bool) {
	n.t.Helper()
	ip, err := n.ip()
	require.NoError(n.t, err)
	require.NoError(n.t, filter("-I", "FORWARD", "-d", ip, "-m", "comment", "--comment", n.container, "-j", "DROP"))
	if both {
		require.NoError(n.t, filter("-I", "FORWARD", "-s", ip, "-m", "comment", "--comment", n.container, "-j", "DROP"))
	}
}

// heal takes away every rule that cut made for n.
func (n *node) heal() {
	rules, err := exec.Command("iptables", "-w", "-S", "FORWARD").Output()
	if err != nil {
		n.t.Error(err)
	}
	for _, rule := range strings.Split(string(rules), "\n") {
		if fields := strings.Fields(rule); len(fields) > 1 && strings.Contains(rule, n.container) {
			fields[0] = "-D"
			if err := filter(fields...); err != nil {
				n.t.Error(err)
			}
		}
	}
}

func filter(args ...string) error {
	out, err := exec.Command("iptables", append([]string{"-w"}, args...)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("iptables %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
