package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// site is the application on a directory of its own.
type site struct {
	*testing.T
	dir   string
	store *store
	http.Handler
}

func newSite(t *testing.T) *site {
	dir := t.TempDir()
	s, err := openStore(filepath.Join(dir, "notes.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.close() })
	return &site{t, dir, s, newHandler(s, "n1", map[string]string{"n2": "http://127.0.0.1:8082"})}
}

func (s *site) ask(method, path, body string, want int) *httptest.ResponseRecorder {
	s.Helper()
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	if w.Code != want {
		s.Fatalf("%s %s: %d %s; want %d", method, path, w.Code, w.Body, want)
	}
	return w
}

func (s *site) texts() (texts []string) {
	var notes []note
	if err := json.Unmarshal(s.ask("GET", "/notes", "", 200).Body.Bytes(), &notes); err != nil {
		s.Fatal(err)
	}
	for _, n := range notes {
		texts = append(texts, n.Text)
	}
	return texts
}

func TestNotes(t *testing.T) {
	s := newSite(t)
	if got := s.texts(); got != nil {
		t.Fatalf("a new site has %q", got)
	}
	if _, err := os.Stat(s.store.path); err == nil {
		t.Fatal("reading made a database")
	}
	s.ask("POST", "/notes", "one", 201)
	s.ask("POST", "/notes", "text=t%C3%B6o", 201)
	s.ask("POST", "/notes", " ", 400)
	s.ask("POST", "/notes", strings.Repeat("x", maxNote+1), 413)
	if got := strings.Join(s.texts(), ","); got != "one,töo" {
		t.Fatal(got)
	}
	if body := s.ask("GET", "/", "", 200).Body.String(); !strings.Contains(body, "töo") {
		t.Fatal(body)
	}
	s.ask("GET", "/no", "", 404)
}

// A database that refuses writes is 503, with who is asked instead; where nothing
// blocks this node it is an error like others.
func TestRefusedNote(t *testing.T) {
	s := newSite(t)
	s.ask("POST", "/notes", "one", 201)
	s.store.db.SetMaxOpenConns(1)
	if _, err := s.store.db.Exec("PRAGMA query_only = ON"); err != nil { // SQLITE_READONLY
		t.Fatal(err)
	}
	s.ask("POST", "/notes", "two", 500)
	for name, text := range map[string]string{".primary": "n2\n", ".primary.blocked": "reason"} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	w := s.ask("POST", "/notes", "two", 503)
	if got := w.Header().Get("Litefs-Primary"); got != "n2" {
		t.Fatal(got)
	}
	if got := w.Header().Get("Location"); got != "http://127.0.0.1:8082/notes" {
		t.Fatal(got)
	}
	if !strings.Contains(s.ask("GET", "/", "", 200).Body.String(), `href="http://127.0.0.1:8082/"`) {
		t.Fatal("the page does not lead to the primary")
	}
	if got := strings.Join(s.texts(), ","); got != "one" {
		t.Fatal(got)
	}
}

func TestParseURLs(t *testing.T) {
	if _, err := parseURLs("n1"); err == nil {
		t.Fatal("no error")
	}
	urls, err := parseURLs("n1=http://a/,n2=http://b")
	if err != nil || urls["n1"] != "http://a" || urls["n2"] != "http://b" {
		t.Fatal(urls, err)
	}
}
