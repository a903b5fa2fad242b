package node_test

import (
	"bytes"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/store"
)

// entries yields n files in folders of forty, with names, sizes and times that hardly shrink.
func entries(n int) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		r := rand.New(rand.NewPCG(1, 1))
		for id := int64(2); id < int64(n)+2; id++ {
			e := index.Entry{
				ID: id, Parent: max(1, (id-2)/40*40+1), Name: fmt.Sprintf("%08x-%s.txt", r.Uint32(), "summer report"[:3+r.IntN(10)]),
				Kind: index.KindFile, Size: r.Int64N(1 << 30), MTime: 1_600_000_000_000_000_000 + r.Int64N(1<<57), Mode: 0o644,
			}
			if (id-1)%40 == 0 {
				e.Kind, e.Size, e.Parent = index.KindDir, 0, 1
			}
			if !yield(index.Change{Op: index.Put, Entry: e}, nil) {
				return
			}
		}
	}
}

// BenchmarkCarry exports a location of 100,000 and of 1,000,000 entries to memory, and imports it.
func BenchmarkCarry(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		if n > 100_000 && testing.Short() {
			continue
		}
		library := b.TempDir()
		nas, laptop := benchNode(b, library, "nas"), benchNode(b, library, "laptop")
		inv, err := nas.Invite(b.Context())
		if err != nil {
			b.Fatal(err)
		}
		if _, err := laptop.Join(b.Context(), node.JoinRequest{Ticket: inv.Ticket}); err != nil {
			b.Fatal(err)
		}
		if err := laptop.Close(); err != nil {
			b.Fatal(err)
		}
		l, err := nas.AddLocation(b.Context(), node.AddRequest{Name: "tree"})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := nas.Commit(b.Context(), l.Ref(), entries(n)); err != nil {
			b.Fatal(err)
		}
		if err := nas.Close(); err != nil {
			b.Fatal(err)
		}
		var file bytes.Buffer
		b.Run(fmt.Sprintf("export/%d", n), func(b *testing.B) {
			for b.Loop() {
				// A reader has no snapshots of before.
				r, err := node.OpenReader(filepath.Join(library, "nas"))
				if err == nil {
					file.Reset()
					err = errors.Join(r.Export(b.Context(), node.ExportRequest{Of: "tree"}, &file), r.Close())
				}
				if err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(file.Len())/float64(n), "B/entry")
		})
		b.Run(fmt.Sprintf("import/%d", n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				dir := filepath.Join(library, "laptop")
				if st, err := store.Open(dir); err != nil {
					b.Fatal(err)
				} else if err := st.Drop(b.Context(), l.Ref()); err != nil && !errors.Is(err, store.ErrNotFound) {
					b.Fatal(err)
				} else if err := st.Close(); err != nil {
					b.Fatal(err)
				}
				laptop, err := node.Open(node.Config{Dir: dir, DeviceName: "laptop", Reach: "loopback"})
				if err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				res, err := laptop.Import(b.Context(), bytes.NewReader(file.Bytes()))
				if err != nil || res.Locations[0].Location.Entries != int64(n)+1 {
					b.Fatal(err, res)
				}
				b.StopTimer()
				if err := laptop.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

func benchNode(b *testing.B, library, name string) *node.Node {
	b.Helper()
	n, err := node.Open(node.Config{Dir: filepath.Join(library, name), DeviceName: name, Reach: "loopback"})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = n.Close() })
	if err := n.Start(b.Context()); err != nil {
		b.Fatal(err)
	}
	return n
}
