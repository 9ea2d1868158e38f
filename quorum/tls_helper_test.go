package quorum

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// testCA issues certificates of every kind, bad ones too. It shares no code
// with `litefence ca`.
type testCA struct {
	t    testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

type testCert struct {
	names      []string // DNS names
	from, to   time.Time
	uses       []x509.ExtKeyUsage
	commonName string
}

func newTestCA(t testing.TB, name string) *testCA {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	ca := &testCA{t: t, dir: t.TempDir(), cert: cert, key: key}
	writePEM(t, ca.path("ca.pem"), "CERTIFICATE", der)
	return ca
}

func (ca *testCA) path(name string) string { return filepath.Join(ca.dir, name) }

// issue writes a certificate and its key, replacing what was there.
func (ca *testCA) issue(file string, c testCert) TLSFiles {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(ca.t, err)
	if c.from.IsZero() {
		c.from = time.Now().Add(-time.Hour)
	}
	if c.to.IsZero() {
		c.to = time.Now().Add(time.Hour)
	}
	if c.uses == nil {
		c.uses = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	require.NoError(ca.t, err)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: c.commonName}, DNSNames: c.names, NotBefore: c.from, NotAfter: c.to,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: c.uses,
	}, ca.cert, &key.PublicKey, ca.key)
	require.NoError(ca.t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(ca.t, err)
	f := TLSFiles{CA: ca.path("ca.pem"), Cert: ca.path(file + ".pem"), Key: ca.path(file + "-key.pem")}
	writePEM(ca.t, f.Key, "PRIVATE KEY", keyDER)
	writePEM(ca.t, f.Cert, "CERTIFICATE", der)
	return f
}

func (ca *testCA) node(name string) TLSFiles { return ca.issue(name, testCert{names: []string{name}}) }

// secure is a node's TLS whose files are looked at with every handshake.
func (ca *testCA) secure(name string) *TLS {
	s, err := NewTLS(name, ca.node(name), testLog(name))
	require.NoError(ca.t, err)
	s.files.every = 0
	return s
}

// writePEM replaces a file in one step, as a careful operator does.
func writePEM(t testing.TB, path, kind string, der []byte) {
	require.NoError(t, os.WriteFile(path+".new", pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	require.NoError(t, os.Rename(path+".new", path))
}

// withCert makes s present a certificate that NewTLS would have refused.
func withCert(t *testing.T, s *TLS, f TLSFiles) *TLS {
	cert, err := tls.LoadX509KeyPair(f.Cert, f.Key)
	require.NoError(t, err)
	s.files.mu.Lock()
	defer s.files.mu.Unlock()
	s.files.every, s.files.looked = time.Hour, time.Now()
	s.files.used = &material{cert: cert, pool: s.files.used.pool}
	return s
}

// names is a directory for tests.
type names map[string]string // name to address

func (d names) knows(name string) bool { _, ok := d[name]; return ok }

func (d names) nameAt(addr string) string {
	for name, a := range d {
		if a == addr {
			return name
		}
	}
	return ""
}
