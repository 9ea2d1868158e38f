package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	initConfigFile = "litefence.yml"
	initLiteFSFile = "litefs.yml"
)

// initValues are what the two configs are made of.
type initValues struct {
	Node, Listen, Advertise      string // Advertise "" = as Listen
	Peers                        map[string]string
	Insecure                     bool
	Lower, Mount                 string
	DataDir, LiteFSData          string
	Socket, Admin                string
	StartLiteFS                  bool
	LiteFSBin, Dir               string // Dir is absolute
	LeaseListen, LiteFSHTTP, TTL string
}

// inited is what init shows as JSON.
type inited struct {
	Node   string   `json:"node"`
	Config string   `json:"config"`
	LiteFS string   `json:"litefs_config"`
	Next   []string `json:"next"` // command lines, in order
}

func initMain(fs *cli) int {
	def := defaultConfig()
	v := initValues{Peers: map[string]string{}, LeaseListen: def.LiteFS.LeaseListen, LiteFSHTTP: strings.TrimPrefix(def.LiteFS.URL, "http://"), TTL: "200ms"}
	host, _ := os.Hostname()
	fs.StringVar(&v.Node, "node", host, "this node's `name`, as the peers have it; default: the machine's")
	peers := fs.String("peers", "", "every node and its address, this one too, as `n1=HOST:PORT,n2=...`; default: this node alone")
	fs.StringVar(&v.Listen, "listen", "", "`address` of the one port between nodes (default: this node's in -peers)")
	dir := fs.String("dir", ".", "`directory` for the two files")
	fs.BoolVar(&v.Insecure, "insecure", false, "no certificates: whoever reaches the port can take part; to try it out")
	fs.StringVar(&v.Lower, "lower", def.Fence.Lower, "LiteFS's mount, a `directory`")
	fs.StringVar(&v.Mount, "mount", def.Fence.Mount, "the fenced mount, a `directory`: the application opens its databases there")
	fs.StringVar(&v.DataDir, "data-dir", def.Quorum.DataDir, "litefence's state, a `directory`")
	fs.StringVar(&v.LiteFSData, "litefs-data-dir", "/var/lib/litefs", "LiteFS's data, a `directory`")
	fs.StringVar(&v.Socket, "socket", def.Admin.Socket, "admin `socket`")
	fs.StringVar(&v.Admin, "admin", def.Admin.Listen, "`address` of the read-only port: health, metrics, status")
	fs.BoolVar(&v.StartLiteFS, "start-litefs", false, "have `litefence run` start and supervise LiteFS")
	fs.StringVar(&v.LiteFSBin, "litefs", "litefs", "LiteFS's program, a `file`, for -start-litefs")
	asJSON := fs.Bool("json", false, "show what was written as JSON")
	if _, code, ok := fs.parse(); !ok {
		return code
	}
	err := v.complete(*peers, *dir)
	var is inited
	if err == nil {
		is, err = v.write()
	}
	var x exitError
	switch {
	case errors.As(err, &x):
		return fail(x.code, fmt.Errorf("init: %w", err))
	case err != nil:
		return fail(exitFailed, fmt.Errorf("init: %w", err))
	case *asJSON:
		return showJSON(is)
	}
	fmt.Printf("%s   litefence's config\n%s   the LiteFS config that fits it\nnext:\n", is.Config, is.LiteFS)
	for _, n := range is.Next {
		fmt.Println("  " + n)
	}
	return exitDone
}

// complete fills in what follows from the rest.
func (v *initValues) complete(peers, dir string) (err error) {
	if !nodeName.MatchString(v.Node) {
		return usageError(fmt.Errorf("%q is no node name; give one with -node, as n1", v.Node))
	}
	if peers == "" { // alone
		if v.Listen == "" {
			v.Listen = "127.0.0.1:7400"
		}
		peers = v.Node + "=" + v.Listen
	}
	// The config's own reader says what is wrong with them.
	c, err := parseConfig(fmt.Appendf(nil, "node: %q\nquorum: {peers: %q, listen: \"127.0.0.1:1\", advertise: \"127.0.0.1:1\", insecure: true}\n", v.Node, peers), "/")
	if err != nil {
		var key *configError
		if errors.As(err, &key) {
			err = fmt.Errorf("%s: %w; give -node and -peers", key.key, key.err)
		}
		return usageError(err)
	}
	v.Peers = c.Quorum.Peers
	own := v.Peers[v.Node]
	host, port, err := net.SplitHostPort(own)
	if err != nil {
		return usageError(err)
	}
	if v.Listen == "" {
		v.Listen = own
		if net.ParseIP(host) == nil { // a name may be another address from outside
			v.Listen = "0.0.0.0:" + port
		}
	}
	if v.Listen != own {
		v.Advertise = own
	}
	for _, p := range []*string{&v.Lower, &v.Mount, &v.DataDir, &v.LiteFSData, &v.Socket, &dir} {
		if *p, err = filepath.Abs(*p); err != nil {
			return err
		}
	}
	v.Dir = dir
	return v.noDollar()
}

// noDollar refuses what both programs would take for a variable.
func (v *initValues) noDollar() error {
	for _, s := range append([]string{v.Lower, v.Mount, v.DataDir, v.LiteFSData, v.Socket, v.Admin, v.Listen, v.LiteFSBin, v.Dir}, sortedKeys(v.Peers)...) {
		if strings.ContainsAny(s, "$\n") {
			return usageError(fmt.Errorf("%q: a config cannot hold a $ or a line break, they would be read as something else", s))
		}
	}
	return nil
}

// write checks both configs as `run` would, then writes them: both or none.
func (v *initValues) write() (inited, error) {
	ours, theirs, err := v.render()
	if err != nil {
		return inited{}, err
	}
	if err := v.try(ours, theirs); err != nil {
		return inited{}, usageError(err)
	}
	is := inited{Node: v.Node, Config: filepath.Join(v.Dir, initConfigFile), LiteFS: filepath.Join(v.Dir, initLiteFSFile)}
	is.Next = v.next(is)
	return is, writeNew(v.Dir, newFile{is.Config, 0o644, ours}, newFile{is.LiteFS, 0o644, theirs})
}

func (v *initValues) try(ours, theirs []byte) error {
	tmp, err := os.MkdirTemp("", "litefence-init-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	path := filepath.Join(tmp, initConfigFile)
	if err := errors.Join(os.WriteFile(path, ours, 0o600), os.WriteFile(filepath.Join(tmp, initLiteFSFile), theirs, 0o600)); err != nil {
		return err
	}
	if _, err := LoadConfig(path); err != nil {
		return errors.New(strings.ReplaceAll(err.Error(), tmp+"/", ""))
	}
	return nil
}

func (v *initValues) next(is inited) []string {
	var dirs []string
	for _, d := range []string{v.Mount, v.LiteFSData, filepath.Dir(v.Socket)} {
		if _, err := os.Stat(d); err != nil && !slices.Contains(dirs, d) {
			dirs = append(dirs, shellWord(d))
		}
	}
	var next []string
	if len(dirs) > 0 {
		next = append(next, "mkdir -p "+strings.Join(dirs, " "))
	}
	if !v.Insecure {
		next = append(next, "litefence ca init    # once, on a machine that is no node",
			fmt.Sprintf("litefence ca issue %s    # there; copy the three files to %s", v.Node, v.Dir))
	}
	config := " -config " + shellWord(is.Config)
	next = append(next, "litefence check"+config, "litefence run"+config)
	if !v.StartLiteFS {
		next = append(next, "litefs mount -config "+shellWord(is.LiteFS))
	}
	return next
}

// shellWord quotes what a shell would take apart.
func shellWord(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
