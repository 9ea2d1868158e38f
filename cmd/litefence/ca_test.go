package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/litefence/litefence/quorum"
)

// said runs a command and returns what it wrote, by stream.
func said(t *testing.T, run func() int) (code int, out, errs string) {
	t.Helper()
	stdout, stderr := os.Stdout, os.Stderr
	defer func() { os.Stdout, os.Stderr = stdout, stderr }()
	read := func(f **os.File) func() string {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		*f = w
		got := make(chan string, 1)
		go func() { b, _ := io.ReadAll(r); r.Close(); got <- string(b) }()
		return func() string { w.Close(); return <-got }
	}
	o, e := read(&os.Stdout), read(&os.Stderr)
	code = run()
	return code, o(), e()
}

func ca(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	return said(t, func() int { return litefence(append([]string{"ca"}, args...)...) })
}

func quietLog() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func TestCAIssuesWhatNodesAccept(t *testing.T) {
	t.Chdir(t.TempDir())
	code, out, errs := ca(t, "init")
	require.Zero(t, code, errs)
	require.Contains(t, out, "litefence-ca/ca-key.pem")
	require.Contains(t, out, "keep it off the nodes")
	code, out, errs = ca(t, "issue", "n1", "-names", "db1.example.org,10.0.0.1")
	require.Zero(t, code, errs)
	require.Contains(t, out, "\nquorum:\n  tls: {ca: ca.pem, cert: n1.pem, key: n1-key.pem}\n")
	for path, mode := range map[string]os.FileMode{
		"litefence-ca": 0o700, "litefence-ca/ca-key.pem": 0o600, "litefence-ca/ca.pem": 0o644,
		"n1": 0o700, "n1/n1-key.pem": 0o600, "n1/n1.pem": 0o644, "n1/ca.pem": 0o644,
	} {
		fi, err := os.Stat(path)
		require.NoError(t, err)
		require.Equal(t, mode, fi.Mode().Perm(), path)
	}
	require.NoFileExists(t, "n1/ca-key.pem")

	files := quorum.TLSFiles{CA: "n1/ca.pem", Cert: "n1/n1.pem", Key: "n1/n1-key.pem"}
	_, err := quorum.NewTLS("n1", files, quietLog())
	require.NoError(t, err)
	_, err = quorum.NewTLS("n2", files, quietLog())
	require.ErrorContains(t, err, "not for this node, n2")

	pair, err := tls.LoadX509KeyPair("n1/n1.pem", "n1/n1-key.pem")
	require.NoError(t, err)
	require.Equal(t, []string{"n1", "db1.example.org"}, pair.Leaf.DNSNames)
	require.Equal(t, "10.0.0.1", pair.Leaf.IPAddresses[0].String())
	require.Equal(t, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}, pair.Leaf.ExtKeyUsage)
	require.False(t, pair.Leaf.IsCA)
	require.True(t, pair.Leaf.NotBefore.Before(time.Now()))
	require.Equal(t, x509.ECDSA, pair.Leaf.PublicKeyAlgorithm)
	require.ErrorContains(t, pair.Leaf.CheckSignatureFrom(pair.Leaf), "cannot sign", "a node's certificate issues nothing")
}

func TestCAOverwritesNothing(t *testing.T) {
	t.Chdir(t.TempDir())
	code, _, _ := ca(t, "init", "-dir", "x")
	require.Zero(t, code)
	key, err := os.ReadFile("x/ca-key.pem")
	require.NoError(t, err)
	code, _, errs := ca(t, "init", "-dir", "x")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "x/ca-key.pem exists and is not overwritten")
	again, err := os.ReadFile("x/ca-key.pem")
	require.NoError(t, err)
	require.Equal(t, key, again)

	// One file in the way is enough, and then none is written.
	require.NoError(t, os.Mkdir("n1", 0o755))
	require.NoError(t, os.WriteFile("n1/ca.pem", []byte("mine"), 0o600))
	code, _, errs = ca(t, "issue", "n1", "-dir", "x")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "n1/ca.pem exists and is not overwritten")
	left, err := os.ReadDir("n1")
	require.NoError(t, err)
	require.Len(t, left, 1)
	code, _, errs = ca(t, "issue", "-dir", "x", "-out", "n1-new", "n1")
	require.Zero(t, code, errs)
	require.FileExists(t, "n1-new/n1.pem")
}

func TestCAUsage(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, tc := range []struct {
		args []string
		code int
		want string
	}{
		{nil, exitUsage, "usage: litefence ca init"},
		{[]string{"init", "what"}, exitUsage, `unexpected "what"`},
		{[]string{"init", "-days", "0"}, exitUsage, "-days 0 is impossible"},
		{[]string{"issue"}, exitUsage, "is not a node name"},
		{[]string{"issue", "../n1"}, exitUsage, `"../n1" is not a node name`},
		{[]string{"issue", "n1", "n2"}, exitUsage, `unexpected "n2"`},
		{[]string{"issue", "n1", "-days", "-1"}, exitUsage, "-days -1 is impossible"},
		{[]string{"issue", "n1"}, exitFailed, "make a CA with `litefence ca init`"},
		{[]string{"revoke"}, exitUsage, "usage: litefence ca init"},
		{[]string{"-h"}, exitDone, ""},
		{[]string{"init", "-h"}, exitDone, "-days"},
		{[]string{"issue", "-h"}, exitDone, "-names"},
	} {
		code, out, errs := ca(t, tc.args...)
		require.Equal(t, tc.code, code, tc.args)
		require.Contains(t, out+errs, tc.want, tc.args)
	}
	left, err := os.ReadDir(".")
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestCAAsJSONAndItsEnd(t *testing.T) {
	t.Chdir(t.TempDir())
	code, out, _ := ca(t, "init", "-json", "-days", "10", "-name", "ours")
	require.Zero(t, code)
	var root, node caIssued
	require.NoError(t, json.Unmarshal([]byte(out), &root))
	require.Equal(t, filepath.Join("litefence-ca", "ca.pem"), root.CA)
	code, out, _ = ca(t, "issue", "n1", "-json")
	require.Zero(t, code)
	require.NoError(t, json.Unmarshal([]byte(out), &node))
	require.Equal(t, root.Expires, node.Expires, "no longer than the CA")
	require.Equal(t, "n1", node.Node)

	// A node's certificate is no CA, and a CA's key does not fit another CA.
	_, err := loadCA(node.Cert, node.Key)
	require.ErrorContains(t, err, "is not a CA")
	_, err = loadCA(root.CA, node.Key)
	require.ErrorContains(t, err, "does not match")
}
