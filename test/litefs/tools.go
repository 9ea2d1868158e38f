//go:build tools

// Package litefs pins the LiteFS that the demo and the tests run against, in a
// module of its own so that LiteFS's dependencies stay out of litefence's.
package litefs

import _ "github.com/superfly/litefs/cmd/litefs"
