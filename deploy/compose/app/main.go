// Command notes is a small application on SQLite, to be run on a fenced mount:
// every node answers reads, the primary alone takes notes. It knows nothing of
// litefence but the file .primary, and would run on any directory.
package main

import (
	"context"
	"errors"
	"flag"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	listen := flag.String("listen", ":8080", "`address` to serve HTTP on")
	database := flag.String("database", "/fenced/notes.db", "database `file`")
	node := flag.String("node", os.Getenv("NODE"), "this node's `name`, as the page shows it")
	urls := flag.String("urls", os.Getenv("NOTES_URLS"), "where clients reach the nodes: `n1=URL,n2=URL,...`")
	flag.Parse()
	log.SetFlags(0)
	log.SetPrefix("notes: ")

	places, err := parseURLs(*urls)
	if err != nil {
		log.Fatal("-urls: ", err)
	}
	s, err := openStore(*database)
	if err != nil {
		log.Fatal(err)
	}
	server := &http.Server{Addr: *listen, Handler: newHandler(s, *node, places), ReadHeaderTimeout: 5 * time.Second}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	go func() {
		<-ctx.Done()
		ending, cancel := context.WithTimeout(context.Background(), 3*time.Second)
		defer cancel()
		_ = server.Shutdown(ending)
	}()
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		log.Fatal(err)
	}
	if err := s.close(); err != nil {
		log.Fatal(err)
	}
}
