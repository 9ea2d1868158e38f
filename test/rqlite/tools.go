//go:build tools

// Package rqlite pins the rqlite that the bench compares with, in a module of its
// own so that its dependencies stay out of litefence's.
package rqlite

import _ "github.com/rqlite/rqlite/v8/cmd/rqlited"
