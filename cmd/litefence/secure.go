package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"

	"github.com/litefence/litefence/quorum"
)

// secureTransport is how nodes know each other on the one port: by mutual TLS,
// or not at all where quorum.insecure says so.
func secureTransport(cfg *Config) (quorum.Secure, error) {
	if cfg.Quorum.Insecure {
		return quorum.Insecure{}, nil
	}
	t := cfg.Quorum.TLS
	pem, err := os.ReadFile(t.CA)
	if err != nil {
		return nil, fmt.Errorf("quorum.tls.ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("quorum.tls.ca: %s holds no PEM certificate", t.CA)
	}
	cert, err := tls.LoadX509KeyPair(t.Cert, t.Key)
	if err != nil {
		return nil, fmt.Errorf("quorum.tls.cert, quorum.tls.key: %w", err)
	}
	names := map[string]bool{}
	for name := range cfg.Quorum.Peers {
		names[name] = true
	}
	return &mutualTLS{
		names: names,
		conf: &tls.Config{
			Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS13,
			RootCAs: pool, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert,
		},
	}, nil
}

// mutualTLS lets in whoever holds a certificate of the cluster's CA for the name
// of a configured node.
type mutualTLS struct {
	conf  *tls.Config
	names map[string]bool
}

func (m *mutualTLS) known(cs tls.ConnectionState) error {
	if len(cs.PeerCertificates) == 0 {
		return errors.New("peer has no certificate")
	}
	for _, name := range append(cs.PeerCertificates[0].DNSNames, cs.PeerCertificates[0].Subject.CommonName) {
		if m.names[name] {
			return nil
		}
	}
	return fmt.Errorf("certificate is for %q, which is no node in quorum.peers", cs.PeerCertificates[0].Subject.CommonName)
}

// Server implements quorum.Secure. The handshake runs under the deadline that
// the caller has set on the connection.
func (m *mutualTLS) Server(c net.Conn) (net.Conn, error) {
	t := tls.Server(c, m.conf)
	if err := t.HandshakeContext(context.Background()); err != nil {
		return nil, err
	}
	return t, m.known(t.ConnectionState())
}

// Client implements quorum.Secure. Peers are known by node name, not by
// address: the chain is verified here, the name by known.
func (m *mutualTLS) Client(ctx context.Context, c net.Conn, _ string) (net.Conn, error) {
	conf := m.conf.Clone()
	conf.InsecureSkipVerify = true // the name is not the address; VerifyConnection does the rest
	conf.VerifyConnection = func(cs tls.ConnectionState) error {
		opts := x509.VerifyOptions{Roots: m.conf.RootCAs, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
		for _, cert := range cs.PeerCertificates[1:] {
			opts.Intermediates.AddCert(cert)
		}
		if _, err := cs.PeerCertificates[0].Verify(opts); err != nil {
			return err
		}
		return m.known(cs)
	}
	t := tls.Client(c, conf)
	if err := t.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return t, nil
}
