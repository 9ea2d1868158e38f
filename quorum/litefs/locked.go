package litefs

import (
	"context"
	"fmt"

	"github.com/litefence/litefence/policy"
)

// Locked returns the databases that nobody can read at this moment, with their
// positions: somebody holds their SHARED lock exclusively. For an instant that is
// how a transaction ends and how LiteFS applies one; for longer, a HALT lock that
// was left behind.
func (c *Client) Locked(ctx context.Context) (policy.Positions, error) {
	var vars struct {
		Store struct {
			DBs map[string]struct {
				TXID     string `json:"txid"`
				Checksum string `json:"checksum"`
				Locks    struct {
					Shared string `json:"shared"`
				} `json:"locks"`
			} `json:"dbs"`
		} `json:"store"`
	}
	if err := c.getJSON(ctx, "/debug/vars", &vars); err != nil {
		return nil, err
	}
	locked := policy.Positions{}
	for name, db := range vars.Store.DBs {
		if db.Locks.Shared != "exclusive" { // litefs.go, RWMutexState
			continue
		}
		p, err := policy.ParsePos(db.TXID + "/" + db.Checksum)
		if err != nil {
			return nil, fmt.Errorf("database %q: %w", name, err)
		}
		locked[name] = p
	}
	return locked, nil
}
