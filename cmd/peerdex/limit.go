package main

import (
	"fmt"
	"math"
	"strings"

	"github.com/dustin/go-humanize"

	"github.com/peerdex/peerdex/node/api"
)

// byteRate is a number of bytes a second, written as "1MB/s"; 0 = no limit, written as "none".
type byteRate int64

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *byteRate) UnmarshalText(b []byte) error {
	v, ok := parseRate(string(b))
	if !ok {
		return fmt.Errorf("%q is not a rate such as \"1MB/s\" or \"500kB/s\", 32kB/s at least, nor \"none\"", b)
	}
	*r = byteRate(v)
	return nil
}

// leastRate is the lowest limit, in bytes a second: below it devices would give up on each other.
const leastRate = 32 << 10

// parseRate reads a rate. The "/s" may be left out, and 32kB/s is as good as the 32KiB/s that is the least.
func parseRate(s string) (int64, bool) {
	if s == "none" {
		return 0, true
	}
	v, err := humanize.ParseBytes(strings.TrimSuffix(s, "/s"))
	switch {
	case err != nil, v > math.MaxInt64, v < 32_000:
		return 0, false
	}
	return max(int64(v), leastRate), true
}

// setLimit puts what --limit says over the configuration: a rate for both directions, or with "up=" or "down=" in front for
// one.
func (s *settings) setLimit(text string) error {
	way, value, one := strings.Cut(text, "=")
	if !one {
		way, value = "", text
	}
	v, ok := parseRate(value)
	if !ok || one && way != "up" && way != "down" {
		return &api.Error{Code: api.CodeUsage, Title: "--limit=" + quote(text) + " can't be read",
			Detail: "it is a rate of at least 32kB/s for both directions, or for one with up= or down= before it", Hint: "--limit 1MB/s, or --limit up=500kB/s --limit down=none"}
	}
	if way != "down" {
		s.limitUp = v
	}
	if way != "up" {
		s.limitDown = v
	}
	return nil
}
