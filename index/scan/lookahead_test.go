package scan

import (
	"fmt"
	"io"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/peerdex/peerdex/index"
)

// wide is a filesystem whose every folder holds the same number of files, with names of 100 bytes in falling order.
type wide struct {
	fsys
	files int
}

func (w wide) open(string) (folder, error) { return &wideFolder{w.files}, nil }

type wideFolder struct{ left int }

func (f *wideFolder) next() ([]byte, error) {
	if f.left--; f.left < 0 {
		return nil, io.EOF
	}
	return fmt.Appendf(nil, "%0100d", f.left), nil
}
func (f *wideFolder) lstat([]byte) (inode, error) { return inode{kind: index.KindFile}, nil }
func (f *wideFolder) close()                      {}

// Workers stop at the bound, however many folders wait, and all folders come in order.
func TestLookaheadIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const folders, workers = 5000, 3
		q := newLookahead(wide{files: 100}, 0)
		defer q.close()
		root := &node{}
		var nodes []*node
		for i := range folders {
			nodes = append(nodes, &node{parent: root, name: "d", id: int64(i)})
		}
		q.push(nodes[:2000])
		q.start(workers)
		most, one := 0, (&lister{fs: wide{files: 100}, stop: &q.stop}).list(nodes[0]).cost()
		for i := range folders {
			if i >= 1500 && i < 4500 {
				q.push(nodes[i+500 : i+501])
			}
			if i%100 == 0 {
				synctest.Wait()
				q.mu.Lock()
				most = max(most, q.held)
				if q.idle != workers {
					t.Errorf("at %d: %d idle", i, q.idle)
				}
				q.mu.Unlock()
			}
			n := q.take()
			if n == nil || n.id != int64(i) || len(n.listing.rows) != 100 {
				t.Fatalf("at %d: took %+v", i, n)
			}
		}
		if n := q.take(); n != nil {
			t.Errorf("took %+v after the last", n)
		}
		if most < lookaheadBytes || most > lookaheadBytes+(workers+1)*one {
			t.Errorf("held up to %d bytes, want about %d", most, lookaheadBytes)
		}
		if q.held != 0 {
			t.Errorf("%d bytes held at the end", q.held)
		}
	})
}

// Listings of large and small folders have memory of their own, though the lister uses its buffers again.
func TestListingsShareNothing(t *testing.T) {
	w := lister{stop: new(atomic.Bool)}
	sizes := []int{3, 50_000, 2, 0, 60_000, 1}
	var all []*listing
	for _, n := range sizes {
		w.fs = wide{files: n}
		all = append(all, w.list(&node{}))
	}
	for i, l := range all {
		if len(l.rows) != sizes[i] || l.err != nil {
			t.Fatalf("listing %d: %d rows, error %v", i, len(l.rows), l.err)
		}
		for j := range l.rows {
			if want := fmt.Sprintf("%0100d", j); l.name(j) != want {
				t.Fatalf("listing %d, row %d: %q", i, j, l.name(j))
			}
		}
	}
}
