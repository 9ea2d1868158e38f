package quorum

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// lookEvery bounds how often the certificate files are looked at.
const lookEvery = time.Second

// expiresSoon is how long before its end a certificate is warned of.
const expiresSoon = 14 * 24 * time.Hour

// material is what one state of the files amounts to. It does not change.
type material struct {
	cert tls.Certificate
	pool *x509.CertPool
}

// certFiles keeps the newest usable state of the files.
type certFiles struct {
	node  string
	paths TLSFiles
	log   *slog.Logger
	every time.Duration

	mu     sync.Mutex
	looked time.Time
	seen   string // what the files looked like, used or not
	used   *material
}

func (f *certFiles) first() (err error) {
	f.looked, f.seen = time.Now(), f.look()
	if f.used, err = f.load(); err == nil {
		f.warnSoon(f.used)
	}
	return err
}

// warnSoon says at every start and change what will otherwise be found out when
// no connection can be made any more.
func (f *certFiles) warnSoon(m *material) {
	if left := time.Until(m.cert.Leaf.NotAfter); left < expiresSoon {
		f.log.Warn("this node's certificate expires soon; issue another with `litefence ca issue` and replace it", "cert", f.paths.Cert, "expires", stamp(m.cert.Leaf.NotAfter))
	}
}

// current returns what is to be used for a handshake that begins now.
func (f *certFiles) current() *material {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.looked) < f.every {
		return f.used
	}
	f.looked = time.Now()
	seen := f.look()
	if seen == f.seen {
		return f.used
	}
	f.seen = seen
	m, err := f.load()
	if err != nil {
		f.log.Error("changed certificate files not used; the old ones stay", "err", err)
		return f.used
	}
	f.used = m
	f.warnSoon(m)
	f.log.Info("certificate files read again", "cert", f.paths.Cert, "expires", stamp(m.cert.Leaf.NotAfter))
	return m
}

// look tells one state of the files from another: a replaced file is another
// inode, one written over has another time.
func (f *certFiles) look() string {
	var b strings.Builder
	for _, p := range []string{f.paths.CA, f.paths.Cert, f.paths.Key} {
		fi, err := os.Stat(p)
		if err != nil {
			fmt.Fprintf(&b, "%v;", err)
			continue
		}
		ino := uint64(0)
		if st, ok := fi.Sys().(*syscall.Stat_t); ok {
			ino = st.Ino
		}
		fmt.Fprintf(&b, "%d/%d/%d;", ino, fi.Size(), fi.ModTime().UnixNano())
	}
	return b.String()
}

// load reads the files and checks that they fit each other and this node.
func (f *certFiles) load() (*material, error) {
	ca, err := os.ReadFile(f.paths.CA)
	if err != nil {
		return nil, fmt.Errorf("quorum.tls.ca: %w", err)
	}
	m := &material{pool: x509.NewCertPool()}
	if !m.pool.AppendCertsFromPEM(ca) {
		return nil, fmt.Errorf("quorum.tls.ca: %s holds no PEM certificate", f.paths.CA)
	}
	certPEM, err := os.ReadFile(f.paths.Cert)
	if err != nil {
		return nil, fmt.Errorf("quorum.tls.cert: %w", err)
	}
	keyPEM, err := os.ReadFile(f.paths.Key)
	if err != nil {
		return nil, fmt.Errorf("quorum.tls.key: %w", err)
	}
	if m.cert, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		return nil, fmt.Errorf("quorum.tls.cert %s, quorum.tls.key %s: %w", f.paths.Cert, f.paths.Key, err)
	}
	return m, f.checkOwn(m)
}

// checkOwn refuses a certificate that no peer would accept.
func (f *certFiles) checkOwn(m *material) error {
	leaf := m.cert.Leaf
	if names := certNames(leaf); !slices.Contains(names, f.node) {
		return fmt.Errorf("quorum.tls.cert %s is for %s, not for this node, %s; issue one with `litefence ca issue %s`",
			f.paths.Cert, strings.Join(names, ", "), f.node, f.node)
	}
	var rest []*x509.Certificate
	for _, der := range m.cert.Certificate[1:] {
		if c, err := x509.ParseCertificate(der); err == nil {
			rest = append(rest, c)
		}
	}
	for _, use := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if err := m.verify(leaf, rest, use); err != nil {
			return f.explainOwn(err, leaf)
		}
	}
	return nil
}

func (f *certFiles) explainOwn(err error, leaf *x509.Certificate) error {
	var (
		invalid x509.CertificateInvalidError
		unknown x509.UnknownAuthorityError
	)
	mend := fmt.Sprintf("issue another with `litefence ca issue %s`", f.node)
	switch {
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && time.Now().Before(leaf.NotBefore):
		return fmt.Errorf("quorum.tls.cert %s is not valid before %s; look at the clock", f.paths.Cert, stamp(leaf.NotBefore))
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && time.Now().After(leaf.NotAfter):
		return fmt.Errorf("quorum.tls.cert %s expired on %s; %s", f.paths.Cert, stamp(leaf.NotAfter), mend)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("quorum.tls.ca %s has expired; make another with `litefence ca init`", f.paths.CA)
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return fmt.Errorf("quorum.tls.cert %s is not for both client and server use; %s", f.paths.Cert, mend)
	case errors.As(err, &unknown):
		return fmt.Errorf("quorum.tls.cert %s is not of quorum.tls.ca %s, it was issued by %q; %s", f.paths.Cert, f.paths.CA, leaf.Issuer.CommonName, mend)
	}
	return fmt.Errorf("quorum.tls.cert %s: %w; %s", f.paths.Cert, err, mend)
}
