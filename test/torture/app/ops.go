package app

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"github.com/litefence/litefence/test/history"
	"github.com/litefence/litefence/test/workload"
)

const (
	// Accounts is how many accounts the bank has, Opening what each begins with.
	Accounts = 6
	Opening  = 1000
	// keys is how many registers and lists there are.
	keys = 3
)

func makeSchema(ctx context.Context, conn *sql.Conn, journal string) error {
	statements := []string{
		"PRAGMA journal_mode=" + journal,
		"BEGIN IMMEDIATE",
		"CREATE TABLE rows (id TEXT PRIMARY KEY)",
		"CREATE TABLE moves (id TEXT PRIMARY KEY)",
		"CREATE TABLE registers (k TEXT PRIMARY KEY, v TEXT NOT NULL)",
		"CREATE TABLE lists (k TEXT PRIMARY KEY, v TEXT NOT NULL)",
		"CREATE TABLE accounts (k INTEGER PRIMARY KEY, balance INTEGER NOT NULL)",
	}
	for i := range keys {
		statements = append(statements, fmt.Sprintf("INSERT INTO registers VALUES ('r%d', '')", i), fmt.Sprintf("INSERT INTO lists VALUES ('l%d', '')", i))
	}
	for i := range Accounts {
		statements = append(statements, fmt.Sprintf("INSERT INTO accounts VALUES (%d, %d)", i, Opening))
	}
	for _, s := range append(statements, "COMMIT") {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%s: %w", s, err)
		}
	}
	return nil
}

// write makes one transaction. What fails before COMMIT was certainly not done;
// of what fails there only BUSY says so, and only if it could be rolled back.
func (c *client) write() error {
	kind := []string{history.Insert, history.Set, history.Set, history.Transfer, history.Append}[c.rng.IntN(5)]
	key := map[string]string{history.Set: "r", history.Append: "l"}[kind]
	if key != "" {
		key += fmt.Sprint(c.rng.IntN(keys))
	}
	o := c.begin(kind, key)
	if err := c.open(); err != nil {
		c.end(o, history.Refused, err)
		return err
	}
	ctx := context.Background()
	_, err := c.conn.ExecContext(ctx, "BEGIN IMMEDIATE")
	if err == nil {
		err = c.body(ctx, &o)
	}
	if err != nil {
		c.lastly()
		c.end(o, history.Refused, err)
		return err
	}
	o.Commit = workload.Now()
	if _, err = c.conn.ExecContext(ctx, "COMMIT"); err == nil {
		c.end(o, history.Acked, nil)
		return nil
	}
	outcome := history.Unknown
	if c.lastly() && isBusy(err) {
		outcome = history.Refused
	}
	c.end(o, outcome, err)
	return err
}

func (c *client) body(ctx context.Context, o *history.Op) error {
	exec := func(query string, args ...any) error {
		_, err := c.conn.ExecContext(ctx, query, args...)
		return err
	}
	switch o.Kind {
	case history.Insert:
		return exec("INSERT INTO rows VALUES (?)", o.ID)
	case history.Set:
		if err := c.conn.QueryRowContext(ctx, "SELECT v FROM registers WHERE k = ?", o.Key).Scan(&o.Old); err != nil {
			return err
		}
		return exec("UPDATE registers SET v = ? WHERE k = ?", o.ID, o.Key)
	case history.Append:
		return exec("UPDATE lists SET v = v || ',' || ? WHERE k = ?", o.ID, o.Key)
	}
	from, to, amount := c.rng.IntN(Accounts), c.rng.IntN(Accounts), 1+c.rng.IntN(50)
	if err := exec("UPDATE accounts SET balance = balance - ? WHERE k = ?", amount, from); err != nil {
		return err
	}
	if err := exec("UPDATE accounts SET balance = balance + ? WHERE k = ?", amount, to); err != nil {
		return err
	}
	return exec("INSERT INTO moves VALUES (?)", o.ID)
}

// read looks at everything in one transaction. It does not wait for an error to
// leave a mount that has died: where that happened within a read of a WAL
// database, SQLite's unlock failed unheard, so that it has all its locks for good
// and may find what it wants in the cache (os_unix.c, unixShmLock).
func (c *client) read() error {
	c.leave()
	o := c.begin(history.Read, "")
	err := c.open()
	if err == nil {
		o.Saw, err = view(context.Background(), c.conn)
		if err != nil {
			c.lastly()
		}
	}
	if err != nil {
		o.Saw = nil
		c.end(o, history.Refused, err)
		return err
	}
	c.end(o, history.Acked, nil)
	return nil
}

func view(ctx context.Context, conn *sql.Conn) (*history.View, error) {
	if _, err := conn.ExecContext(ctx, "BEGIN"); err != nil {
		return nil, err
	}
	v := &history.View{Lists: map[string][]string{}}
	var err error
	if v.Registers, err = pairs(ctx, conn, "SELECT k, v FROM registers"); err != nil {
		return nil, err
	}
	lists, err := pairs(ctx, conn, "SELECT k, v FROM lists")
	if err != nil {
		return nil, err
	}
	for k, l := range lists {
		v.Lists[k] = strings.FieldsFunc(l, func(r rune) bool { return r == ',' })
	}
	const rest = "SELECT (SELECT sum(balance) FROM accounts), (SELECT count(*) FROM rows)"
	if err := conn.QueryRowContext(ctx, rest).Scan(&v.Sum, &v.Rows); err != nil {
		return nil, err
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return v, err
}

func pairs(ctx context.Context, conn *sql.Conn, query string) (map[string]string, error) {
	rows, err := conn.QueryContext(ctx, query)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	all := map[string]string{}
	for rows.Next() {
		var k, v string
		if err := rows.Scan(&k, &v); err != nil {
			return nil, err
		}
		all[k] = v
	}
	return all, rows.Err()
}

// dump prints all that the database holds.
func dump(ctx context.Context, conn *sql.Conn) error {
	v, err := view(ctx, conn)
	if err != nil {
		return err
	}
	s := history.State{View: *v, IDs: map[string]bool{}}
	ids, err := pairs(ctx, conn, "SELECT id, '' FROM rows UNION ALL SELECT id, '' FROM moves")
	if err != nil {
		return err
	}
	for id := range ids {
		s.IDs[id] = true
	}
	if err := conn.QueryRowContext(ctx, "PRAGMA integrity_check").Scan(&s.Integrity); err != nil {
		return err
	}
	emit(s)
	return nil
}
