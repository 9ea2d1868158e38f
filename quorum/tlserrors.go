package quorum

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
	"time"
)

// refusedName is a refusal at the handshake with the name that the peer's
// certificate said.
type refusedName struct {
	name string
	error
}

func (r refusedName) Unwrap() error { return r.error }

// explainRefused words why an incoming connection was turned away.
func explainRefused(err error) error {
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &header):
		return fmt.Errorf("it speaks plaintext to this TLS port; give it quorum.tls too, in place of insecure: true")
	case strings.Contains(err.Error(), "client didn't provide a certificate"):
		return errors.New("it has no certificate; issue one with `litefence ca issue`")
	case strings.Contains(err.Error(), "unsupported versions"):
		return errors.New("it offers no TLS 1.3")
	}
	var bad *tls.CertificateVerificationError
	if errors.As(err, &bad) && len(bad.UnverifiedCertificates) > 0 {
		leaf := bad.UnverifiedCertificates[0]
		return refusedName{strings.Join(certNames(leaf), ","), explainChain(bad.Err, leaf)}
	}
	return explainAlert(err)
}

// explainDialled words why a handshake that this node began has failed.
func explainDialled(err error) error {
	var header tls.RecordHeaderError
	if errors.As(err, &header) || errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) {
		return fmt.Errorf("it ends the TLS handshake (%w); is it stopping, or set to insecure: true?", err)
	}
	var bad *tls.CertificateVerificationError
	if errors.As(err, &bad) && len(bad.UnverifiedCertificates) > 0 {
		return explainChain(bad.Err, bad.UnverifiedCertificates[0])
	}
	return explainAlert(err)
}

// explainChain says what is wrong with a certificate of the peer.
func explainChain(err error, leaf *x509.Certificate) error {
	var (
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
	)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && invalid.Cert != nil:
		return explainTime(invalid.Cert, time.Now())
	case errors.As(err, &unknown):
		return fmt.Errorf("unknown CA: its certificate was issued by %q, which is not in this node's quorum.tls.ca; issue it anew, or add that CA here", leaf.Issuer.CommonName)
	}
	return fmt.Errorf("its certificate does not pass: %w", err)
}

func explainTime(c *x509.Certificate, now time.Time) error {
	what := "its certificate"
	if c.IsCA {
		what = "the CA of its certificate"
	}
	if now.Before(c.NotBefore) {
		return fmt.Errorf("%s is not valid before %s; look at both clocks", what, stamp(c.NotBefore))
	}
	return fmt.Errorf("%s expired on %s; replace it with a new one (`litefence ca issue`), a restart is not needed", what, stamp(c.NotAfter))
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// alerts words what the other side says when it refuses this node's
// certificate (RFC 8446, 6.2). Go sends bad_certificate where VerifyConnection
// fails: a wrong or unknown name.
var alerts = map[string]string{
	"expired certificate":            "it says that this node's certificate or its CA has expired",
	"unknown certificate authority":  "it does not know the CA of this node's certificate; give both nodes the same quorum.tls.ca",
	"bad certificate":                "it refuses the name in this node's certificate; its own status and log say why",
	"certificate required":           "it asks for a certificate, and this node sent none",
	"protocol version not supported": "it does not speak TLS 1.3",
	"handshake failure":              "the TLS handshake fails there; its own log says why",
	"unsupported certificate":        "it cannot use this node's certificate",
	"internal error":                 "the TLS handshake fails there; its own log says why",
}

// explainAlert translates an alert that the peer has sent; other errors are
// returned as they are.
func explainAlert(err error) error {
	var op *net.OpError
	if !errors.As(err, &op) || op.Op != "remote error" {
		return err
	}
	alert := strings.TrimPrefix(op.Err.Error(), "tls: ")
	if text := alerts[alert]; text != "" {
		return fmt.Errorf("%s (TLS alert: %s)", text, alert)
	}
	return fmt.Errorf("it ends the TLS connection: %s; its own log says why", alert)
}
