package main

import (
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
)

func TestAsOf(t *testing.T) {
	now := time.Date(2026, 11, 22, 15, 0, 0, 0, time.Local)
	for _, tc := range []struct {
		t    time.Time
		want string
	}{
		{time.Time{}, "never"},
		{now, "now"},
		{now.Add(time.Minute), "now"},
		{now.Add(3 * time.Minute), "22 Nov 2026 15:03 (its clock is ahead of ours)"},
		{now.Add(-59 * time.Second), "now"},
		{now.Add(-time.Minute), "1 min ago"},
		{now.Add(-59*time.Minute - 59*time.Second), "59 min ago"},
		{now.Add(-3 * time.Hour), "3 h ago (12:00)"},
		{now.Add(-24 * time.Hour), "1 day ago (21 Nov 15:00)"},
		{now.Add(-3 * 24 * time.Hour), "3 days ago (19 Nov 15:00)"},
		{now.Add(-59 * 24 * time.Hour), "59 days ago (24 Sep 15:00)"},
		{now.Add(-60 * 24 * time.Hour), "23 Sep 2026"},
	} {
		if got := asOf(tc.t, now); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.t, got, tc.want)
		}
	}
}

func TestTook(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                                       "0 ms",
		6 * time.Millisecond:                    "6 ms",
		1300 * time.Millisecond:                 "1.3 s",
		11400 * time.Millisecond:                "11 s",
		2*time.Minute + 5*time.Second:           "2 min 5 s",
		3*time.Hour + time.Minute + time.Second: "3 h 1 min",
	} {
		if got := took(d); got != want {
			t.Errorf("%v: %q, want %q", d, got, want)
		}
	}
}

func TestCount(t *testing.T) {
	for _, tc := range []struct {
		n    int64
		noun string
		want string
	}{{0, "file", "0 files"}, {1, "file", "1 file"}, {212904, "entry", "212,904 entries"}, {2, "day", "2 days"}, {1, "entry", "1 entry"}} {
		if got := count(tc.n, tc.noun); got != tc.want {
			t.Errorf("%d %s: %q, want %q", tc.n, tc.noun, got, tc.want)
		}
	}
}

func TestHitColumns(t *testing.T) {
	now := time.Date(2026, 11, 22, 15, 0, 0, 0, time.Local)
	file := api.Hit{Kind: index.KindFile, Size: 212_345, Modified: now.Add(-time.Hour), Mode: 0o644}
	old := api.Hit{Kind: index.KindDir, Size: 4096, Modified: time.Date(2019, 7, 3, 1, 2, 3, 0, time.Local), Mode: 0o1755}
	future := api.Hit{Kind: index.KindSymlink, Modified: now.Add(time.Hour)}
	for _, tc := range []struct {
		h    api.Hit
		long bool
		want string
	}{
		{file, false, " 212 kB  22 Nov 14:00"},
		{file, true, "-0644   212 kB  22 Nov 14:00"},
		{old, false, "      -  03 Jul  2019"},
		{old, true, "d1755        -  03 Jul  2019"},
		{future, true, "l0000        -  22 Nov  2026"},
	} {
		if got := hitColumns(&tc.h, tc.long, now); got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.h, got, tc.want)
		}
	}
}
