package node_test

import (
	"fmt"
	"testing"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
)

// TestAReplicaThatWasAwayWhileDeletionsWereForgotten can't take a delta any more. It ends with what its owner has, and
// no entry of before.
func TestAReplicaThatWasAwayWhileDeletionsWereForgotten(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l, err := nas.AddLocation(t.Context(), node.AddRequest{Name: "catalogue"})
	if err != nil {
		t.Fatal(err)
	}
	const n = 3000
	nas.feed(l, func(yield func(index.Change, error) bool) {
		for i := range n {
			if !yield(index.Change{Op: index.Put, Path: fmt.Sprintf("book %d", i), Entry: index.Entry{Kind: index.KindFile}}, nil) {
				return
			}
		}
	})
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	laptop.stop()
	nas.feed(l, func(yield func(index.Change, error) bool) {
		for _, from := range []int{1, 0} { // every other, so that each is a run of its own
			for i := from; i < n; i += 2 {
				if !yield(index.Change{Op: index.Delete, Path: fmt.Sprintf("book %d", i)}, nil) {
					return
				}
			}
		}
	})
	if before, after := nas.horizon(l), nas.pruned(l); before != 0 || after == 0 {
		t.Fatalf("the horizon went from %d to %d", before, after)
	}
	laptop.start()
	laptop.holds(nas, l)
	if got := laptop.find("book"); len(got) != 0 {
		t.Errorf("%d ghosts", len(got))
	}
	sameRows(t, nas, laptop, l)
}

func (d *device) pruned(l node.Location) int64 {
	d.Prune(d.t.Context())
	return d.horizon(l)
}
