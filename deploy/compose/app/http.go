package main

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"log"
	"net/http"
	"net/url"
	"strings"
)

const maxNote = 4 << 10

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// handler serves the notes over HTTP.
type handler struct {
	store *store
	node  string
	urls  map[string]string // node -> where clients reach it
}

func newHandler(s *store, node string, urls map[string]string) http.Handler {
	h := &handler{s, node, urls}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", h.page)
	mux.HandleFunc("GET /notes", h.list)
	mux.HandleFunc("POST /notes", h.add)
	return mux
}

func (h *handler) list(w http.ResponseWriter, r *http.Request) {
	notes, err := h.store.list(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	answer(w, http.StatusOK, notes)
}

// add takes the body as a note: plain text, or the page's form.
func (h *handler) add(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxNote))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	text, form := string(body), false
	// curl -d calls every text a form; the page's has a field.
	if v, err := url.ParseQuery(text); err == nil && v.Has("text") {
		text, form = v.Get("text"), true
	}
	if text = strings.TrimSpace(text); text == "" {
		http.Error(w, "a note without text", http.StatusBadRequest)
		return
	}
	n, err := h.store.add(r.Context(), text, h.node)
	var no refused
	switch {
	case errors.As(err, &no):
		h.refuse(w, no)
	case err != nil:
		fail(w, err)
	case form && strings.Contains(r.Header.Get("Accept"), "text/html"):
		http.Redirect(w, r, "/", http.StatusSeeOther)
	default:
		answer(w, http.StatusCreated, n)
	}
}

// refuse says who takes notes: 503, because the client has done nothing wrong and
// may come again. Litefs-Primary has the name, Location the place where it is known.
func (h *handler) refuse(w http.ResponseWriter, no refused) {
	log.Print(no)
	w.Header().Set("Retry-After", "1")
	said := map[string]string{"error": "this node may not write", "node": h.node, "primary": no.primary, "cause": no.cause.Error()}
	if no.primary != "" {
		w.Header().Set("Litefs-Primary", no.primary)
	}
	if u := h.urls[no.primary]; u != "" {
		w.Header().Set("Location", u+"/notes")
	}
	answer(w, http.StatusServiceUnavailable, said)
}

func (h *handler) page(w http.ResponseWriter, r *http.Request) {
	notes, err := h.store.list(r.Context())
	if err != nil {
		fail(w, err)
		return
	}
	primary := h.store.primary()
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	if err := page.Execute(w, map[string]any{"Node": h.node, "Primary": primary, "URL": h.urls[primary], "Notes": notes}); err != nil {
		log.Print(err)
	}
}

func fail(w http.ResponseWriter, err error) {
	log.Print(err)
	http.Error(w, err.Error(), http.StatusInternalServerError)
}

func answer(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(v); err != nil {
		log.Print(err)
	}
}

// parseURLs reads n1=URL,n2=URL.
func parseURLs(s string) (map[string]string, error) {
	urls := map[string]string{}
	for part := range strings.SplitSeq(s, ",") {
		if part == "" {
			continue
		}
		node, u, ok := strings.Cut(part, "=")
		if !ok || node == "" || u == "" {
			return nil, fmt.Errorf("%q: want NODE=URL", part)
		}
		urls[node] = strings.TrimSuffix(u, "/")
	}
	return urls, nil
}
