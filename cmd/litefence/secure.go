package main

import (
	"log/slog"

	"github.com/litefence/litefence/quorum"
)

// secureTransport is how nodes know each other on the one port: by mutual TLS,
// or not at all where quorum.insecure says so.
func secureTransport(cfg *Config, log *slog.Logger) (quorum.Secure, error) {
	if cfg.Quorum.Insecure {
		return quorum.Insecure{}, nil
	}
	t := cfg.Quorum.TLS
	return quorum.NewTLS(cfg.Node, quorum.TLSFiles{CA: t.CA, Cert: t.Cert, Key: t.Key}, log)
}
