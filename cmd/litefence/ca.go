package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	caCertFile, caKeyFile = "ca.pem", "ca-key.pem"

	defaultCADays   = 3650
	defaultNodeDays = 825
)

// caIssued is what was written, as -json shows it.
type caIssued struct {
	CA      string    `json:"ca"`
	Cert    string    `json:"cert,omitempty"`
	Key     string    `json:"key"`
	Node    string    `json:"node,omitempty"`
	Expires time.Time `json:"expires"`
}

func caInit(fs *cli) int {
	dir := fs.String("dir", "litefence-ca", "`directory` of the CA's certificate and key")
	days := fs.Int("days", defaultCADays, "how many `days` it is valid")
	name := fs.String("name", "litefence CA", "its `name`, as errors show it")
	asJSON := fs.Bool("json", false, "as JSON")
	if _, code, ok := fs.parse(); !ok {
		return code
	}
	pair, err := newCA(*name, *days)
	if err != nil {
		return fail(exitUsage, err)
	}
	is := caIssued{CA: filepath.Join(*dir, caCertFile), Key: filepath.Join(*dir, caKeyFile), Expires: pair.cert.NotAfter}
	err = writeNew(*dir, newFile{is.Key, 0o600, pair.keyPEM}, newFile{is.CA, 0o644, pair.certPEM})
	if err != nil {
		return fail(exitFailed, err)
	}
	if *asJSON {
		return showJSON(is)
	}
	fmt.Printf(`%s   the CA's certificate, for every node; expires %s
%s   its key: whoever has it can issue a certificate for any node; keep it off the nodes
next: litefence ca issue NODE -dir %s, for every node of quorum.peers
`, is.CA, is.Expires.Format(time.DateOnly), is.Key, *dir)
	return exitDone
}

func caIssue(fs *cli) int {
	dir := fs.String("dir", "litefence-ca", "`directory` of the CA's certificate and key")
	out := fs.String("out", "", "`directory` for the node's files (default ./NODE)")
	days := fs.Int("days", defaultNodeDays, "how many `days` it is valid; never longer than the CA")
	names := fs.String("names", "", "further DNS `names` and IP addresses, separated by commas; none may be another node's name")
	asJSON := fs.Bool("json", false, "as JSON")
	nodes, code, ok := fs.parse()
	if !ok {
		return code
	}
	node := strings.Join(nodes, "")
	if !nodeName.MatchString(node) {
		return fail(exitUsage, fmt.Errorf("ca issue: %q is not a node name; give the name that quorum.peers has, as n1", node))
	}
	if _, _, err := validity(*days); err != nil {
		return fail(exitUsage, err)
	}
	if *out == "" {
		*out = node
	}
	is, err := issueNode(*dir, *out, node, *days, *names)
	if err != nil {
		return fail(exitFailed, err)
	}
	if *asJSON {
		return showJSON(is)
	}
	fmt.Printf(`%s, %s, %s   expires %s
copy these three beside litefence.yml on %s (a running litefence reads replaced files by itself), and write there:

quorum:
  tls: {ca: %s, cert: %s, key: %s}
`, is.CA, is.Cert, is.Key, is.Expires.Format(time.DateOnly), node, caCertFile, filepath.Base(is.Cert), filepath.Base(is.Key))
	return exitDone
}

// issueNode issues a certificate and writes it with its key, and the CA's
// certificate beside them: all that the node needs.
func issueNode(dir, out, node string, days int, names string) (caIssued, error) {
	ca, err := loadCA(filepath.Join(dir, caCertFile), filepath.Join(dir, caKeyFile))
	if err != nil {
		return caIssued{}, err
	}
	dns, ips := []string{node}, []net.IP(nil)
	for _, n := range strings.FieldsFunc(names, func(r rune) bool { return r == ',' || r == ' ' }) {
		if ip := net.ParseIP(n); ip != nil {
			ips = append(ips, ip)
		} else {
			dns = append(dns, n)
		}
	}
	pair, err := ca.issue(node, dns, ips, days)
	if err != nil {
		return caIssued{}, err
	}
	is := caIssued{
		CA: filepath.Join(out, caCertFile), Node: node, Expires: pair.cert.NotAfter,
		Cert: filepath.Join(out, node+".pem"), Key: filepath.Join(out, node+"-key.pem"),
	}
	return is, writeNew(out, newFile{is.Key, 0o600, pair.keyPEM}, newFile{is.Cert, 0o644, pair.certPEM}, newFile{is.CA, 0o644, ca.certPEM})
}

type newFile struct {
	path string
	mode fs.FileMode
	data []byte
}

// writeNew writes files that must not be there yet: all of them or none.
func writeNew(dir string, files ...newFile) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, f := range files {
		if _, err := os.Lstat(f.path); err == nil {
			return fmt.Errorf("%s exists and is not overwritten; move it away, or name another directory", f.path)
		}
	}
	for i, f := range files {
		if err := writeExcl(f); err != nil {
			for _, done := range files[:i] {
				os.Remove(done.path)
			}
			return err
		}
	}
	return nil
}

func writeExcl(f newFile) error {
	w, err := os.OpenFile(f.path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, f.mode)
	if err != nil {
		return err
	}
	_, err = w.Write(f.data)
	if err = errors.Join(err, w.Sync(), w.Close()); err != nil {
		os.Remove(f.path)
	}
	return err
}

func showJSON(v any) int {
	e := json.NewEncoder(os.Stdout)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fail(exitFailed, err)
	}
	return exitDone
}
