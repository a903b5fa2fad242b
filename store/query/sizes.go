package query

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/peerdex/peerdex/index"
)

// sizes is the condition that the entry is a file of one of these sizes, in bytes.
type sizes struct{ spans }

const (
	sizeHint  = "try size:>10M or size:10M..1G"
	sizeUnits = "bkmgtp"
)

func parseSize(t token, _ time.Time) (anyOf, *fault) {
	all := span{0, math.MaxInt64}
	exactly := func(s string) (extent, *fault) {
		v, _, f := parseBytes(s)
		return extent{v, v}, f
	}
	op, rest := cutOp(t.text)
	if op == "" && strings.Contains(rest, "..") {
		r, f := parseRange(rest, all, exactly)
		return sizes{spans{r}}, f
	}
	v, next, f := parseBytes(rest)
	if f != nil {
		return nil, f
	}
	x := extent{v, v}
	if op == "" && next > v {
		x.last = next - 1
	}
	r := compare(op, x, all)
	if r.lo > r.hi {
		return nil, &fault{"no size is below zero", "size:0 finds empty files"}
	}
	return sizes{spans{r}}, nil
}

// parseBytes reads a number with an optional unit. next is the first size that would be written with a higher number
// of as many digits; v itself without a unit, or when there is none. Both saturate.
func parseBytes(s string) (v, next int64, f *fault) {
	bad := &fault{"not a size", sizeHint}
	digits := strings.TrimRight(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
	unit := strings.ToLower(s[len(digits):])
	whole, fraction, dot := strings.Cut(digits, ".")
	if whole == "" || strings.Trim(whole+fraction, "0123456789") != "" || (dot && (fraction == "" || unit == "")) {
		return 0, 0, bad
	}
	shift := 0
	if unit != "" {
		if shift = strings.IndexByte(sizeUnits, unit[0]); shift < 0 {
			return 0, 0, bad
		}
		if tail := unit[1:]; tail != "" && (shift == 0 || (tail != "b" && tail != "ib")) {
			return 0, 0, bad
		}
	}
	n, _ := new(big.Int).SetString(whole+fraction, 10)
	v = scale(n, len(fraction), shift)
	if unit == "" {
		return v, v, nil
	}
	return v, scale(n.Add(n, big.NewInt(1)), len(fraction), shift), nil
}

// scale returns n / 10^decimals * 1024^shift, rounded down, or the highest int64.
func scale(n *big.Int, decimals, shift int) int64 {
	ten := new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(decimals)), nil)
	x := new(big.Int).Lsh(n, uint(10*shift))
	if x.Quo(x, ten); !x.IsInt64() {
		return math.MaxInt64
	}
	return x.Int64()
}

func (s sizes) or(o anyOf) anyOf { return sizes{slices.Concat(s.spans, o.(sizes).spans)} }

func (s sizes) match(e *index.Entry) bool { return e.Kind == index.KindFile && s.has(e.Size) }

func (s sizes) filter() filter {
	sql, args := s.sql("size")
	return filter{
		sql:  "(kind = ? AND " + sql + ")",
		args: slices.Concat([]any{int64(index.KindFile)}, args), exact: true, weight: cheap,
	}
}

func (s sizes) String() string {
	return list("size:", s.spans, func(p span) string {
		if p.hi == math.MaxInt64 {
			return fmt.Sprintf("%d..", p.lo)
		}
		return fmt.Sprintf("%d..%d", p.lo, p.hi)
	})
}
