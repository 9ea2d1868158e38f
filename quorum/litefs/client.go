package litefs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"

	"github.com/litefence/litefence/policy"
)

const maxAPIBody = 64 << 20 // /debug/vars has some 400 bytes per database

// ErrNoDatabase is returned for a database that LiteFS does not have.
var ErrNoDatabase = errors.New("LiteFS has no such database")

// Client speaks to LiteFS's own HTTP API. Its methods may be called
// concurrently; apart from Halt's clean-up they end with their context.
type Client struct {
	base string // no slash at the end
	host string // host:port
	hc   *http.Client

	mu    sync.Mutex
	halts map[string]chan struct{} // by database: who has the token halts it
}

// NewClient returns a client of the LiteFS at url (http://127.0.0.1:20202).
func NewClient(rawURL string) *Client {
	c := &Client{base: strings.TrimSuffix(rawURL, "/"), halts: map[string]chan struct{}{}}
	if u, err := url.Parse(rawURL); err == nil {
		c.host = u.Host
	}
	// No kept connections: LiteFS may be killed and started again between two
	// questions, and must be asked, not a stale connection.
	c.hc = &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DisableCompression: true, DialContext: (&net.Dialer{}).DialContext}}
	return c
}

// Info is what GET /info says (litefs.go, NodeInfo). Primary.Hostname is no
// evidence that the stream from that primary ever connected.
type Info struct {
	ClusterID string `json:"clusterID"`
	IsPrimary bool   `json:"isPrimary"`
	Candidate bool   `json:"candidate"`
	Path      string `json:"path"` // the data directory
	Primary   struct {
		Hostname string `json:"hostname"`
	} `json:"primary"`
}

// Info asks LiteFS what it believes to be.
func (c *Client) Info(ctx context.Context) (Info, error) {
	var info Info
	err := c.getJSON(ctx, "/info", &info)
	return info, err
}

// Positions returns the position of every database. A database that never had
// a transaction is there with TXID 0.
func (c *Client) Positions(ctx context.Context) (policy.Positions, error) {
	var vars struct {
		Store json.RawMessage `json:"store"` // store.go, StoreVar; among the runtime's own variables
	}
	if err := c.getJSON(ctx, "/debug/vars", &vars); err != nil {
		return nil, err
	}
	pos, err := parseStoreVar(vars.Store)
	if err != nil {
		return nil, fmt.Errorf("%s/debug/vars: %w", c.base, err)
	}
	return pos, nil
}

// parseStoreVar reads the variable "store". A missing one is an error and not
// an empty position: that would pass for a node that has nothing to lose.
func parseStoreVar(b []byte) (policy.Positions, error) {
	var store *struct {
		DBs map[string]struct {
			TXID     string `json:"txid"`
			Checksum string `json:"checksum"`
		} `json:"dbs"`
	}
	if len(b) == 0 {
		return nil, errors.New(`no variable "store": is this LiteFS?`)
	}
	if err := json.Unmarshal(b, &store); err != nil {
		return nil, err
	}
	if store == nil || store.DBs == nil {
		return nil, errors.New(`the variable "store" has no databases`)
	}
	pos := make(policy.Positions, len(store.DBs))
	for name, db := range store.DBs {
		p, err := policy.ParsePos(db.TXID + "/" + db.Checksum)
		if err != nil {
			return nil, fmt.Errorf("database %q: %w", name, err)
		}
		pos[name] = p
	}
	return pos, nil
}

func (c *Client) getJSON(ctx context.Context, path string, v any) error {
	resp, err := c.do(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAPIBody)).Decode(v); err != nil {
		return fmt.Errorf("%s%s: %w", c.base, path, err)
	}
	return nil
}

// do returns the answer if it is 200, else an error with LiteFS's reason.
func (c *Client) do(ctx context.Context, method, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set(headerNodeID, haltNodeID)
	resp, err := c.hc.Do(req)
	if err != nil {
		return nil, err
	}
	return resp, checkOK(resp)
}

// checkOK closes the body where it returns an error.
func checkOK(resp *http.Response) error {
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	defer resp.Body.Close()
	reason, _ := io.ReadAll(io.LimitReader(resp.Body, 256))
	return fmt.Errorf("LiteFS: %s: %s", resp.Status, strings.TrimSpace(string(reason)))
}
