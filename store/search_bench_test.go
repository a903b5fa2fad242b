package store

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/store/query"
)

// benchLocation commits n entries and reads all of them once.
func benchLocation(b *testing.B, n int) (*Store, index.Location) {
	b.Helper()
	if n > 100_000 && testing.Short() {
		b.Skip("1,000,000 entries are not for -short")
	}
	s, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	l := newLocationIn(b, s)
	if _, err := s.Commit(context.Background(), l, generate(n, 1), CommitOptions{AsOf: time.Now}); err != nil {
		b.Fatal(err)
	}
	if err := s.viewLocation(context.Background(), l, func(c *conn) error {
		_, err := c.int("SELECT count(*) FROM entries")
		return err
	}); err != nil {
		b.Fatal(err)
	}
	return s, l
}

// countFound runs a search to its end.
func countFound(tb testing.TB, s *Store, r SearchRequest) (n int) {
	tb.Helper()
	for _, err := range s.Search(context.Background(), r) {
		if err != nil {
			tb.Fatal(err)
		}
		n++
	}
	return n
}

// medianOf reports the median time of what run does.
func medianOf(b *testing.B, run func()) {
	var took []time.Duration
	for b.Loop() {
		start := time.Now()
		run()
		took = append(took, time.Since(start))
	}
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkSearch searches a warm location of 1,000,000 entries: the figure to look at is ms, the median.
func BenchmarkSearch(b *testing.B) {
	s, l := benchLocation(b, 1_000_000)
	for _, c := range []struct {
		name, text string
		order      Order
		limit      int
	}{
		{name: "no hit", text: "qzvvxk"},
		{name: "1000 hits", text: "ba2"},
		{name: "exact", text: "QZvvxk"},
		{name: "glob", text: "*ba[2-3]*.txt"},
		{name: "path", text: "12?-*/ba2"},
		{name: "small folder", text: "path:/docs/000-*/001-*/002-*/003-*"},
		{name: "kind and size", text: "kind:image size:>1G"},
		{name: "first 100", text: "type:f", limit: 100},
		{name: "largest 100", text: "type:f", order: Order{BySize, true}, limit: 100},
		{name: "all", text: "type:f"},
	} {
		q, err := query.Parse(c.text, time.Now())
		if err != nil {
			b.Fatal(err)
		}
		b.Run(c.name, func(b *testing.B) {
			n := 0
			r := SearchRequest{Query: q, Locations: []index.Location{l}, Order: c.order, Limit: c.limit}
			medianOf(b, func() { n = countFound(b, s, r) })
			b.ReportMetric(float64(n), "hits")
		})
	}
}

// BenchmarkList lists a warm folder of 1,000 entries among 1,000,000.
func BenchmarkList(b *testing.B) {
	s, l := benchLocation(b, 1_000_000)
	put := func(yield func(index.Change, error) bool) {
		for i := range 1000 {
			e := index.Entry{Kind: index.KindFile, Size: int64(i), Mode: 0o644}
			if !yield(index.Change{Op: index.Put, Path: fmt.Sprintf("a folder of many/photo-2026-%04d.jpeg", i), Entry: e}, nil) {
				return
			}
		}
	}
	if _, err := s.Commit(context.Background(), l, put, CommitOptions{}); err != nil {
		b.Fatal(err)
	}
	medianOf(b, func() {
		got, err := s.List(context.Background(), l, "a folder of many", "", 1000)
		if err != nil || len(got.Entries) != 1000 {
			b.Fatal(len(got.Entries), err)
		}
	})
}
