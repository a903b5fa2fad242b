package node_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/peerdex/peerdex/node"
)

// BenchmarkListOnDemand lists folders of 1,000 entries of another device, each for the first time, and then again and again
// from the cache.
func BenchmarkListOnDemand(b *testing.B) {
	const n = 200
	library := b.TempDir()
	nas, laptop := benchNode(b, library, "nas"), benchNode(b, library, "laptop")
	inv, err := nas.Invite(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	if _, err := laptop.Join(b.Context(), node.JoinRequest{Ticket: inv.Ticket}); err != nil {
		b.Fatal(err)
	}
	if _, err := laptop.Policy(b.Context(), node.PolicyRequest{Of: "nas", Policy: "lazy"}); err != nil {
		b.Fatal(err)
	}
	l, err := nas.AddLocation(b.Context(), node.AddRequest{Name: "large"})
	if err != nil {
		b.Fatal(err)
	}
	res, err := nas.Commit(b.Context(), l.Ref(), folders(n, 1000))
	if err != nil {
		b.Fatal(err)
	}
	list := func(i int) (node.Listing, error) {
		return laptop.List(b.Context(), node.ListRequest{Device: "nas", Path: fmt.Sprintf("/large/folder-%04d", i)})
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		got, err := laptop.Locations(b.Context())
		if err != nil || time.Now().After(deadline) {
			b.Fatal(got, err)
		}
		if slices.ContainsFunc(got, func(x node.Location) bool { return x.Ref() == l.Ref() && x.HeardSeq == res.Head.Seq }) {
			break
		}
	}
	took := make([]float64, n) // ms
	for i := range took {
		begun := time.Now()
		got, err := list(i)
		took[i] = float64(time.Since(begun).Microseconds()) / 1000
		if err != nil || len(got.Entries) != 1000 || got.Via.Cached {
			b.Fatal(i, len(got.Entries), got.Via, err)
		}
	}
	slices.Sort(took)
	i := 0
	for b.Loop() {
		if got, err := list(i % n); err != nil || len(got.Entries) != 1000 || !got.Via.Cached {
			b.Fatal(len(got.Entries), got.Via, err)
		}
		i++
	}
	b.ReportMetric(took[n/2], "ms-first-median")
	b.ReportMetric(took[n*95/100], "ms-first-p95")
}
