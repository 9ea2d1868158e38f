package cluster

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const traceback = `SIGQUIT: quit

goroutine 1 gp=0x1 m=nil [select]:
main.main()
	/x/main.go:31 +0x13e

goroutine 12 gp=0x2 m=nil [sync.Mutex.Lock, 1 minutes]:
sync.(*Mutex).Lock(...)
	/usr/local/go/src/sync/mutex.go:46
github.com/litefence/litefence/fusefs.(*database).settle(0xc0001)
	/x/settle.go:40 +0x13e
github.com/litefence/litefence/fusefs.(*Gate).Fence(0xc0001, {0x1, 0x2})
	/x/gate.go:181 +0x13e

goroutine 13 gp=0x3 m=nil [IO wait, 2 minutes]:
github.com/litefence/litefence/quorum.(*mux).accept(0xc0002)
	/x/mux.go:1

goroutine 14 gp=0x3 m=nil [select, 2 minutes]:
net/http.(*Server).Serve(0xc0002)
	/x/mux.go:1

goroutine 15 [syscall, 3 minutes]:
github.com/superfly/litefs.(*Store).CreateDB(0xc0002)
	/x/store.go:1
`

func TestStuck(t *testing.T) {
	require.Equal(t, []string{
		"[sync.Mutex.Lock, 1 minutes] fusefs.(*database).settle < fusefs.(*Gate).Fence",
		"[syscall, 3 minutes] (*Store).CreateDB",
	}, stuck(traceback))
}
