// Package page owns the status page: one HTML file with its style and script
// inside, that shows what /v1/events says. It knows the wire and nothing of the
// daemon behind it.
package page

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"time"
)

//go:embed index.html
var index []byte

// Handler serves the page. The browser runs nothing but the page's own script,
// takes nothing from elsewhere, and talks to nobody but this daemon: the two
// hashes in the policy are those of the embedded file, so that what would be
// smuggled into it does not run.
func Handler() http.Handler {
	policy := strings.Join([]string{
		"default-src 'none'",
		"script-src " + hashOf("script"),
		"style-src " + hashOf("style"),
		"connect-src 'self'",
		"img-src data:", // the tab's icon
		"base-uri 'none'",
		"form-action 'none'",
		"frame-ancestors 'none'",
	}, "; ")
	sum := sha256.Sum256(index)
	tag := `"` + hex.EncodeToString(sum[:8]) + `"`
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-cache") // asked for anew, answered 304
		h.Set("ETag", tag)
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(index))
	})
}

// hashOf is the policy's source expression for the one element of that name.
func hashOf(element string) string {
	_, rest, _ := bytes.Cut(index, []byte("<"+element+">"))
	body, _, found := bytes.Cut(rest, []byte("</"+element+">"))
	if !found {
		panic("page: index.html has no <" + element + ">")
	}
	sum := sha256.Sum256(body)
	return "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"
}
