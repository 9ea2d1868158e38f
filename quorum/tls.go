package quorum

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"
)

// TLS is mutual TLS between the nodes of a cluster: whoever holds a certificate
// of the cluster's CA for the name of a node of the cluster is that node. TLS
// 1.3 only, and no session tickets: every connection is a full handshake
// against the files as they are now, and connections that are open are looked at
// again (vouch.go), so nothing outlives a certificate that has expired, a CA that
// was replaced or a member that was removed by more than three seconds.
type TLS struct {
	files certFiles
	admit func(names []string) error
}

// TLSFiles are the PEM files that a node proves its name with.
type TLSFiles struct{ CA, Cert, Key string }

// NewTLS reads the certificate of node. The files are looked at again when a
// connection is made, at most once a second; changed ones are used from then
// on, broken ones are logged and the old ones kept.
func NewTLS(node string, f TLSFiles, log *slog.Logger) (*TLS, error) {
	t := &TLS{
		files: certFiles{node: node, paths: f, every: lookEvery, log: log.With("component", "tls")},
		admit: func([]string) error { return nil },
	}
	return t, t.files.first()
}

var _ Secure = (*TLS)(nil)

// Admit sets who is let in. To be called before the first connection.
func (t *TLS) Admit(f func(names []string) error) { t.admit = f }

// Expires is the end of this node's own certificate.
func (t *TLS) Expires() time.Time { return t.files.current().cert.Leaf.NotAfter }

// Server implements Secure. The handshake runs under the deadline that the
// caller has set on the connection.
func (t *TLS) Server(raw net.Conn) (net.Conn, error) {
	m := t.files.current()
	conf := m.config()
	conf.ClientCAs, conf.ClientAuth = m.pool, tls.RequireAndVerifyClientCert
	conf.VerifyConnection = func(cs tls.ConnectionState) error {
		return t.admit(certNames(cs.PeerCertificates[0]))
	}
	c := tls.Server(raw, conf)
	if err := c.HandshakeContext(context.Background()); err != nil {
		return nil, explainRefused(err)
	}
	certs := c.ConnectionState().PeerCertificates
	names := certNames(certs[0])
	return tlsPeer{peerConn{c, names}, func() error {
		if err := t.files.current().verify(certs[0], certs[1:], x509.ExtKeyUsageClientAuth); err != nil {
			return explainRefused(err)
		}
		return t.admit(names)
	}}, nil
}

// Client implements Secure. The peer must be the node of the name that is
// meant, whatever its address.
func (t *TLS) Client(ctx context.Context, raw net.Conn, name string) (net.Conn, error) {
	if name == "" {
		return nil, errors.New("no node of the cluster has this address, so no certificate would be the right one; correct quorum.peers")
	}
	m := t.files.current()
	conf := m.config()
	// The name is a node's, not a host's: verifyServer does all that is skipped.
	conf.InsecureSkipVerify = true
	// Always ours, also where the server's list of CAs lacks ours: it then says
	// that it does not know the CA, not that there was no certificate.
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &m.cert, nil }
	conf.VerifyConnection = func(cs tls.ConnectionState) error { return m.verifyServer(cs, name) }
	c := tls.Client(raw, conf)
	if err := c.HandshakeContext(ctx); err != nil {
		return nil, explainDialled(err)
	}
	cs := c.ConnectionState()
	// A member that was removed is no longer spoken to, whatever is still open.
	return tlsPeer{peerConn{explainedConn{c}, certNames(cs.PeerCertificates[0])}, func() error {
		if err := t.files.current().verifyServer(cs, name); err != nil {
			return explainDialled(err)
		}
		return nil
	}}, nil
}

func (m *material) config() *tls.Config {
	return &tls.Config{
		Certificates: []tls.Certificate{m.cert}, MinVersion: tls.VersionTLS13,
		SessionTicketsDisabled: true,
	}
}

func (m *material) verifyServer(cs tls.ConnectionState, name string) error {
	leaf := cs.PeerCertificates[0]
	if err := m.verify(leaf, cs.PeerCertificates[1:], x509.ExtKeyUsageServerAuth); err != nil {
		return err
	}
	if names := certNames(leaf); !slices.Contains(names, name) {
		return fmt.Errorf("wrong name: its certificate is for %s, not for %s; correct its address in quorum.peers, or the certificate there",
			strings.Join(names, ", "), name)
	}
	return nil
}

// verify checks a chain against the cluster's CA, as of now.
func (m *material) verify(leaf *x509.Certificate, rest []*x509.Certificate, use x509.ExtKeyUsage) error {
	opts := x509.VerifyOptions{Roots: m.pool, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{use}}
	for _, c := range rest {
		opts.Intermediates.AddCert(c)
	}
	if _, err := leaf.Verify(opts); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: append([]*x509.Certificate{leaf}, rest...), Err: err}
	}
	return nil
}

// certNames lists the node names that a certificate is for.
func certNames(c *x509.Certificate) []string {
	names := slices.Clone(c.DNSNames)
	if cn := c.Subject.CommonName; cn != "" {
		names = append(names, cn)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// explainedConn is a dialled connection. With TLS 1.3 the peer's word on our
// certificate comes after the handshake, with the first read.
type explainedConn struct{ net.Conn }

func (c explainedConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		err = explainAlert(err)
	}
	return n, err
}
