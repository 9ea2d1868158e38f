package main

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/litefence/litefence/quorum"
)

// certSoon is how long before its end a certificate is a finding.
const certSoon = 14 * 24 * time.Hour

func silentLog() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

func (d *doctor) lookTLS(context.Context) (found []finding, skipped string) {
	const check = "tls"
	if d.cfg.Quorum.Insecure {
		return nil, "quorum.insecure: true"
	}
	t := d.cfg.Quorum.TLS
	if fi, err := os.Stat(t.Key); err == nil && fi.Mode()&0o077 != 0 {
		found = append(found, d.err(check, "chmod 0600 "+t.Key, "quorum.tls.key %s can be read by others than its owner: whoever has it is this node (mode %04o)", t.Key, fi.Mode().Perm()))
	}
	if caKey := filepath.Join(filepath.Dir(t.CA), caKeyFile); exists(caKey) {
		found = append(found, d.warn(check, "move it to a machine that is no node", "the CA's key %s lies on this node: whoever takes the node over could issue a certificate for any other", caKey))
	}
	own, err := quorum.NewTLS(d.cfg.Node, quorum.TLSFiles{CA: t.CA, Cert: t.Cert, Key: t.Key}, silentLog())
	if err != nil {
		return append(found, broken(check, err)), ""
	}
	if left := time.Until(own.Expires()); left < certSoon {
		found = append(found, d.warn(check, "issue another with `litefence ca issue "+d.cfg.Node+"` and replace it; no restart is needed", "quorum.tls.cert %s expires on %s, in %d days", t.Cert, own.Expires().Format(time.DateOnly), int(left.Hours()/24)))
	}
	if end, ok := firstEnd(t.CA); ok && time.Until(end) < certSoon {
		found = append(found, d.warn(check, "make another with `litefence ca init`, and issue all certificates anew", "quorum.tls.ca %s expires on %s", t.CA, end.Format(time.DateOnly)))
	}
	return found, ""
}

func exists(path string) bool { _, err := os.Lstat(path); return err == nil }

// firstEnd is the end of the certificate in a PEM file that ends first.
func firstEnd(path string) (end time.Time, ok bool) {
	rest, err := os.ReadFile(path)
	for err == nil {
		var b *pem.Block
		if b, rest = pem.Decode(rest); b == nil {
			break
		}
		if c, err := x509.ParseCertificate(b.Bytes); err == nil && (!ok || c.NotAfter.Before(end)) {
			end, ok = c.NotAfter, true
		}
	}
	return end, ok
}
