package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"os"
	"time"
)

// backdate lets a certificate be used at once on a node whose clock is behind.
const backdate = 10 * time.Minute

// keyPair is a certificate with its key, as PEM too.
type keyPair struct {
	cert            *x509.Certificate
	key             *ecdsa.PrivateKey
	certPEM, keyPEM []byte
}

func newCA(name string, days int) (*keyPair, error) {
	from, to, err := validity(days)
	if err != nil {
		return nil, err
	}
	return sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: name}, NotBefore: from, NotAfter: to,
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, nil)
}

// issue makes a certificate for both ends of a connection.
func (ca *keyPair) issue(node string, dns []string, ips []net.IP, days int) (*keyPair, error) {
	from, to, err := validity(days)
	if err != nil {
		return nil, err
	}
	if time.Now().After(ca.cert.NotAfter) {
		return nil, fmt.Errorf("the CA expired on %s; make another with `litefence ca init -dir DIR`", ca.cert.NotAfter.Format(time.DateOnly))
	}
	if to.After(ca.cert.NotAfter) {
		to = ca.cert.NotAfter
	}
	return sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: node}, NotBefore: from, NotAfter: to, DNSNames: dns, IPAddresses: ips,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, ca)
}

func validity(days int) (from, to time.Time, err error) {
	if days < 1 || days > 36500 {
		return from, to, fmt.Errorf("-days %d is impossible; allowed: 1 to 36500", days)
	}
	now := time.Now()
	return now.Add(-backdate), now.AddDate(0, 0, days), nil
}

// sign makes a key and a certificate for it, signed by ca or by itself.
func sign(tmpl *x509.Certificate, ca *keyPair) (*keyPair, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	if tmpl.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)); err != nil {
		return nil, err
	}
	parent, by := tmpl, key
	if ca != nil {
		parent, by = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &key.PublicKey, by)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &keyPair{
		cert: cert, key: key,
		certPEM: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		keyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

// loadCA reads the CA that `ca init` has written.
func loadCA(certPath, keyPath string) (*keyPair, error) {
	certPEM, err := os.ReadFile(certPath)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w; make a CA with `litefence ca init`, or name its directory with -dir", err)
	}
	if err != nil {
		return nil, err
	}
	keyPEM, err := os.ReadFile(keyPath)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", certPath, keyPath, err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok || !pair.Leaf.IsCA {
		return nil, fmt.Errorf("%s is not a CA that `litefence ca init` has made", certPath)
	}
	return &keyPair{cert: pair.Leaf, key: key, certPEM: certPEM, keyPEM: keyPEM}, nil
}
