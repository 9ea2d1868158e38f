// Command torture lets a nemesis loose on clusters of real nodes, round after
// round, and has what happened there checked. `make torture` starts it.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/litefence/litefence/test/cluster"
	"github.com/litefence/litefence/test/nemesis"
	"github.com/litefence/litefence/test/torture/app"
)

func main() {
	if app.IsRequested(os.Args) {
		os.Exit(app.Main(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	seed := flag.Uint64("seed", 1, "seed")
	flag.Parse()
	s := newSetting(*seed, nemesis.Limits{})
	fmt.Printf("%+v\n%s\n", s, s.plan)
	r := play(ctx, s, subject{name: "litefence", litefence: "/work/main/bin/litefence", litefs: "/work/main/bin/litefs"}, "/tmp")
	fmt.Println(len(r.Ops), r.Errors, r.Faults)
	fmt.Println(cluster.Leaks())
}
