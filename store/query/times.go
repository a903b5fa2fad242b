package query

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/peerdex/peerdex/index"
)

// times is the condition that the entry was modified at one of these times, in ns since 1970.
type times struct{ spans }

const timeHint = "try modified:<7d, modified:2026-03 or modified:2026-01..2026-03"

func parseModified(t token, now time.Time) (anyOf, *fault) {
	all := span{math.MinInt64, math.MaxInt64}
	op, rest := cutOp(t.text)
	if op == "" && strings.Contains(rest, "..") {
		r, f := parseRange(rest, all, func(s string) (extent, *fault) {
			if x, ok, f := parseAge(s, now); ok {
				return x, f
			}
			return parseDate(s, now)
		})
		return times{spans{r}}, f
	}
	if x, ok, f := parseAge(rest, now); ok {
		if f != nil {
			return nil, f
		}
		turned, ok := map[string]string{"<": ">", "<=": ">=", ">": "<", ">=": "<="}[op]
		if !ok {
			return nil, &fault{"neither younger nor older", "try modified:<" + rest + " or modified:>" + rest}
		}
		return times{spans{compare(turned, x, all)}}, nil
	}
	x, f := parseDate(rest, now)
	if f != nil {
		return nil, f
	}
	return times{spans{compare(op, x, all)}}, nil
}

// parseAge returns the instant so long ago. ok is false when s isn't a number and a word.
func parseAge(s string, now time.Time) (x extent, ok bool, f *fault) {
	unit := strings.TrimLeft(s, "0123456789")
	count := s[:len(s)-len(unit)]
	unit = strings.ToLower(unit)
	if count == "" || unit == "" || strings.Trim(unit, "abcdefghijklmnopqrstuvwxyz") != "" {
		return x, false, nil
	}
	n, err := strconv.ParseInt(count, 10, 64)
	if err != nil || n > maxCount {
		n = maxCount
	}
	var t time.Time
	switch unit {
	case "s":
		t = secondsAgo(now, n)
	case "min":
		t = secondsAgo(now, n*60)
	case "h":
		t = secondsAgo(now, n*3600)
	case "d":
		t = secondsAgo(now, n*24*3600)
	case "w":
		t = secondsAgo(now, n*7*24*3600)
	case "mo":
		t = monthsAgo(now, n)
	case "y":
		t = monthsAgo(now, 12*n)
	case "m":
		return x, true, &fault{"m could be minutes or months", "write " + count + "min or " + count + "mo"}
	default:
		return x, true, &fault{"not an age", "units are s, min, h, d, w, mo and y"}
	}
	return extent{nanos(t), nanos(t)}, true, nil
}

// maxCount bounds the number of an age. It is more seconds than an entry's time can lie back.
const maxCount = 100_000_000_000

func secondsAgo(now time.Time, n int64) time.Time {
	return time.Unix(now.Unix()-n, int64(now.Nanosecond()))
}

// monthsAgo returns the same day and time of an earlier month, or its last day if it has no such day.
func monthsAgo(now time.Time, n int64) time.Time {
	n = min(n, 12*1000) // before the first instant there is
	y, m, d := now.Date()
	m -= time.Month(n)
	last := time.Date(y, m+1, 0, 0, 0, 0, 0, now.Location()).Day()
	h, mi, s := now.Clock()
	return time.Date(y, m, min(d, last), h, mi, s, now.Nanosecond(), now.Location())
}

// parseDate returns the period that a date stands for.
func parseDate(s string, now time.Time) (extent, *fault) {
	y, m, d := now.Date()
	day := time.Date(y, m, d, 0, 0, 0, 0, now.Location())
	switch strings.ToLower(s) {
	case "today":
		return period(day, day.AddDate(0, 0, 1)), nil
	case "yesterday":
		return period(day.AddDate(0, 0, -1), day), nil
	}
	s = strings.ToUpper(s)
	for _, l := range [...]struct {
		layout      string
		years, m, d int
	}{{"2006", 1, 0, 0}, {"2006-01", 0, 1, 0}, {"2006-01-02", 0, 0, 1}} {
		if t, err := time.ParseInLocation(l.layout, s, now.Location()); err == nil {
			return period(t, t.AddDate(l.years, l.m, l.d)), nil
		}
	}
	for _, l := range [...]struct {
		layout string
		length time.Duration
	}{{"2006-01-02T15", time.Hour}, {"2006-01-02T15:04", time.Minute}, {"2006-01-02T15:04:05", time.Second}} {
		for _, layout := range [...]string{l.layout, l.layout + "Z07:00"} {
			t, err := time.ParseInLocation(layout, s, now.Location())
			if err != nil {
				continue
			}
			if strings.ContainsAny(s, ".,") { // a fraction of a second
				l.length = time.Nanosecond
			}
			return period(t, t.Add(l.length)), nil
		}
	}
	return extent{}, &fault{"not a date or an age", timeHint}
}

// period returns the time from one instant until just before another.
func period(from, to time.Time) extent { return extent{nanos(from), nanos(to.Add(-1))} }

// nanos returns t in ns since 1970, or the nearest value that fits.
func nanos(t time.Time) int64 {
	switch {
	case t.Before(time.Unix(0, math.MinInt64)):
		return math.MinInt64
	case t.After(time.Unix(0, math.MaxInt64)):
		return math.MaxInt64
	}
	return t.UnixNano()
}

func (m times) or(o anyOf) anyOf { return times{slices.Concat(m.spans, o.(times).spans)} }

func (m times) match(e *index.Entry) bool { return m.has(e.MTime) }

func (m times) filter() filter {
	sql, args := m.sql("mtime")
	return filter{sql: sql, args: args, exact: true, weight: cheap}
}

func (m times) String() string {
	const layout = "2006-01-02T15:04:05.000000000Z"
	return list("modified:", m.spans, func(p span) string {
		return time.Unix(0, p.lo).UTC().Format(layout) + ".." + time.Unix(0, p.hi).UTC().Format(layout)
	})
}
