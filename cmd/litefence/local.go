package main

import (
	"context"

	"github.com/litefence/litefence/policy"
	"github.com/litefence/litefence/quorum"
	"github.com/litefence/litefence/quorum/litefs"
)

// localLiteFS is LiteFS as package quorum wants to ask it.
type localLiteFS struct {
	client  *litefs.Client
	dataDir string
}

var _ quorum.LocalLiteFS = (*localLiteFS)(nil)

func (l *localLiteFS) Positions(ctx context.Context) (policy.Positions, bool, error) {
	// The role before the positions: positions that are read while LiteFS is
	// primary are those that it starts from, or newer.
	info, err := l.client.Info(ctx)
	if err != nil {
		return nil, false, err
	}
	pos, err := l.client.Positions(ctx)
	return pos, info.IsPrimary, err
}

func (l *localLiteFS) ClusterID(ctx context.Context) (string, error) {
	info, err := l.client.Info(ctx)
	return info.ClusterID, err
}

func (l *localLiteFS) Applied(ctx context.Context, ready func() error, fn func(db string, pos policy.Pos) error) error {
	return l.client.Applied(ctx, ready, fn)
}

func (l *localLiteFS) Marker() (policy.OpenRef, error) {
	m, err := litefs.ReadMarker(l.dataDir)
	return policy.OpenRef(m), err
}

func (l *localLiteFS) SetMarker(r policy.OpenRef) error {
	return litefs.WriteMarker(l.dataDir, litefs.Marker(r))
}

func (l *localLiteFS) InHistory(pos policy.Positions) bool {
	ok, _ := litefs.InHistory(l.dataDir, pos)
	return ok
}

func (l *localLiteFS) NewestOf(db string, of []policy.Pos) policy.Pos {
	return litefs.NewestOf(l.dataDir, db, of)
}
