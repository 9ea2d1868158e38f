package main

import (
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"
)

// configValue is what stands behind a key; dir is what its relative paths are
// relative to.
type configValue struct {
	n   ast.Node
	dir string
}

// setter takes a value into the config.
type setter struct {
	// parse takes it. Its error says what is allowed; who calls it knows line
	// and key.
	parse func(configValue) error
	// takes says in a few words what parse accepts, and now what is in the
	// config at present, as one would write it; "" = nothing. Both are for the
	// reference (docs/configuration.md).
	takes string
	now   func() string
}

// scalar is the value as written, with ${ENV} expanded. Types come from the
// key, never from YAML's guess: `node: 1` is the name "1".
func (v configValue) scalar() (string, error) {
	switch n := v.n.(type) {
	case *ast.StringNode:
		return expandEnv(n.Value)
	case *ast.LiteralNode:
		return expandEnv(n.Value.Value)
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.InfinityNode, *ast.NanNode:
		return expandEnv(n.GetToken().Value)
	case nil, *ast.NullNode:
		return "", errors.New("has no value; give one or delete the line")
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "", errors.New("YAML anchors, aliases and tags are not read here; write the value out")
	}
	return "", errors.New("expected one value, not a list or a mapping")
}

func setText(p *string) setter {
	return setter{func(v configValue) (err error) {
		*p, err = v.scalar()
		return err
	}, "text", func() string { return *p }}
}

// setAddr takes any text; what makes an address is checked where all is known.
func setAddr(p *string) setter {
	s := setText(p)
	s.takes = "`HOST:PORT`"
	return s
}

func setPath(p *string) setter {
	return setter{func(v configValue) error {
		s, err := v.scalar()
		if err != nil {
			return err
		}
		if s == "" || strings.ContainsRune(s, 0) {
			return errors.New("expected a path")
		}
		if !filepath.IsAbs(s) {
			s = filepath.Join(v.dir, s)
		}
		*p = filepath.Clean(s)
		return nil
	}, "a path", func() string { return *p }}
}

func setBoolean(p *bool) setter {
	return setter{func(v configValue) error {
		s, err := v.scalar()
		if err != nil {
			return err
		}
		if s != "true" && s != "false" {
			return fmt.Errorf("unknown value %q; allowed: true, false", s)
		}
		*p = s == "true"
		return nil
	}, "`true`, `false`", func() string { return strconv.FormatBool(*p) }}
}

func setEnum(p *string, allowed ...string) setter {
	return setter{func(v configValue) error {
		s, err := v.scalar()
		if err != nil {
			return err
		}
		if !slices.Contains(allowed, s) {
			return fmt.Errorf("unknown value %q; allowed: %s", s, strings.Join(allowed, ", "))
		}
		*p = s
		return nil
	}, "`" + strings.Join(allowed, "`, `") + "`", func() string { return *p }}
}

func setDuration(p *time.Duration) setter {
	return setter{func(v configValue) error {
		s, err := v.scalar()
		if err != nil {
			return err
		}
		d, err := time.ParseDuration(s)
		if err != nil || d < 0 {
			return fmt.Errorf("%q is not a duration; write a number and a unit (ms, s, m, h), as 500ms", s)
		}
		*p = d
		return nil
	}, "a duration", func() string { return p.String() }}
}

func setPercent(p *float64) setter {
	return setter{func(v configValue) error {
		s, err := v.scalar()
		if err != nil {
			return err
		}
		digits, ok := strings.CutSuffix(s, "%")
		f, err := strconv.ParseFloat(strings.TrimSpace(digits), 64)
		if !ok || err != nil || math.IsNaN(f) || math.IsInf(f, 0) {
			return fmt.Errorf("%q is not a percentage; write a number and %%, as 1%%", s)
		}
		*p = f / 100
		return nil
	}, "a percentage", func() string { return strconv.FormatFloat(*p*100, 'g', 6, 64) + "%" }}
}

func setNumber(p *float64) setter {
	return setter{func(v configValue) error {
		s, err := v.scalar()
		if err != nil {
			return err
		}
		f, err := strconv.ParseFloat(s, 64)
		if err != nil || !(f >= 0 && f <= 100) {
			return fmt.Errorf("%q is not a number from 0 to 100", s)
		}
		*p = f
		return nil
	}, "a number from 0 to 100", func() string { return strconv.FormatFloat(*p, 'g', -1, 64) }}
}

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"B", 1}}

func setSize(p *int64) setter {
	return setter{func(v configValue) error {
		s, err := v.scalar()
		if err != nil {
			return err
		}
		for _, u := range sizeUnits {
			digits, ok := strings.CutSuffix(s, u.suffix)
			n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
			if ok && err == nil && n >= 0 && n <= math.MaxInt64/u.bytes {
				*p = n * u.bytes
				return nil
			}
		}
		return fmt.Errorf("%q is not a size; write a whole number and a unit (B, KiB, MiB, GiB, TiB), as 256MiB", s)
	}, "a size", func() string { return showSize(*p) }}
}

// showSize writes a size in the largest unit that divides it.
func showSize(bytes int64) string {
	best := sizeUnits[len(sizeUnits)-1]
	for _, u := range sizeUnits {
		if bytes != 0 && bytes%u.bytes == 0 && u.bytes > best.bytes {
			best = u
		}
	}
	return strconv.FormatInt(bytes/best.bytes, 10) + best.suffix
}

func setList(p *[]string) setter {
	return setter{func(v configValue) error {
		seq, ok := v.n.(*ast.SequenceNode)
		if !ok {
			return errors.New("expected a list, as [PROGRAM, ARGUMENT]")
		}
		out := make([]string, 0, len(seq.Values))
		for _, e := range seq.Values {
			s, err := configValue{e, v.dir}.scalar()
			if err != nil {
				return err
			}
			out = append(out, s)
		}
		*p = out
		return nil
	}, "a list, as `[PROGRAM, ARGUMENT]`", func() string { return "[" + strings.Join(*p, ", ") + "]" }}
}

// peers reads a mapping, or the one-line form "n1=addr,n2=addr" that fits into
// an environment variable.
func setPeers(p *map[string]string) setter {
	return setter{func(v configValue) error {
		m := map[string]string{}
		add := func(name, addr string) error {
			if _, dup := m[name]; dup {
				return fmt.Errorf("the peer %q is given twice", name)
			}
			m[name] = addr
			return nil
		}
		*p = m
		if entries, ok := entriesOf(v.n); ok {
			for _, e := range entries {
				addr, err := configValue{e.Value, v.dir}.scalar()
				if err == nil {
					err = add(keyText(e.Key), addr)
				}
				if err != nil {
					return err
				}
			}
			return nil
		}
		s, err := v.scalar()
		if err != nil {
			return err
		}
		for _, part := range strings.Split(s, ",") {
			name, addr, ok := strings.Cut(strings.TrimSpace(part), "=")
			if !ok {
				return fmt.Errorf("%q is not NAME=HOST:PORT; write {n1: \"HOST:PORT\", ...} or \"n1=HOST:PORT,n2=...\"", part)
			}
			if err := add(name, addr); err != nil {
				return err
			}
		}
		return nil
	}, "a mapping, as `{n1: \"HOST:PORT\", n2: ...}`, or `\"n1=HOST:PORT,n2=...\"`", func() string { return "" }}
}
