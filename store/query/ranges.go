package query

import (
	"slices"
	"strings"
)

// span is the numbers from lo to hi, both included.
type span struct{ lo, hi int64 }

// extent is what a size or a date stands for: one number, or all from first to last.
type extent struct{ first, last int64 }

// spans is alternatives of numbers.
type spans []span

func (s spans) has(n int64) bool {
	return slices.ContainsFunc(s, func(p span) bool { return p.lo <= n && n <= p.hi })
}

func (s spans) sql(column string) (string, []any) {
	var args []any
	for _, p := range s {
		args = append(args, p.lo, p.hi)
	}
	one := column + " BETWEEN ? AND ?"
	return "(" + one + strings.Repeat(" OR "+one, len(s)-1) + ")", args
}

// compare returns the numbers, within all, that stand in relation op to x. A number at an end of what int64 holds may
// stand for one beyond, so there is nothing past it.
func compare(op string, x extent, all span) span {
	switch op {
	case ">":
		return span{max(x.last, x.last+1), all.hi}
	case ">=":
		return span{x.first, all.hi}
	case "<":
		return span{all.lo, min(x.first, x.first-1)}
	case "<=":
		return span{all.lo, x.last}
	}
	return span{x.first, x.last}
}

// cutOp splits a comparison off.
func cutOp(s string) (op, rest string) {
	for _, op := range [...]string{">=", "<=", ">", "<", "="} {
		if rest, ok := strings.CutPrefix(s, op); ok {
			return op, rest
		}
	}
	return "", s
}

// parseRange reads a..b, a.. or ..b; read reads an end.
func parseRange(s string, all span, read func(string) (extent, *fault)) (span, *fault) {
	a, b, _ := strings.Cut(s, "..")
	if a == "" && b == "" {
		return all, &fault{"the range has no end", "give at least one, as in a.. or ..b"}
	}
	r := all
	if a != "" {
		x, f := read(a)
		if f != nil {
			return r, f
		}
		r.lo = x.first
	}
	if b != "" {
		x, f := read(b)
		if f != nil {
			return r, f
		}
		r.hi = x.last
	}
	if r.lo > r.hi {
		return r, &fault{"the range runs backwards", "try " + b + ".." + a}
	}
	return r, nil
}
