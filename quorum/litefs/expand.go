package litefs

import (
	"os"
	"regexp"
	"strconv"
	"strings"
)

var (
	// ${NAME == 'x'}, ${NAME != "x"}, ${NAME == OTHER}
	expandQuoted = regexp.MustCompile(`^(\w+)\s*(==|!=)\s*(?:'(.*)'|"(.*)")$`)
	expandVars   = regexp.MustCompile(`^(\w+)\s*(==|!=)\s*(\w+)$`)
)

// expandEnv replaces environment variables as LiteFS does in its configuration
// (cmd/litefs/config.go, ExpandEnv): os.ExpandEnv, and comparisons inside ${}.
func expandEnv(s string) string {
	return os.Expand(s, func(v string) string {
		v = strings.TrimSpace(v)
		if m := expandQuoted.FindStringSubmatch(v); m != nil {
			return compare(os.Getenv(m[1]), m[2], m[3]+m[4])
		}
		if m := expandVars.FindStringSubmatch(v); m != nil {
			return compare(os.Getenv(m[1]), m[2], os.Getenv(m[3]))
		}
		return os.Getenv(v)
	})
}

func compare(a, op, b string) string { return strconv.FormatBool((a == b) == (op == "==")) }
