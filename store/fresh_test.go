package store

import (
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
)

// mixed puts n entries below a few folders, by id or by path, and now and then looks for, changes, moves or deletes one
// that is new or old.
func mixed(first int64, n int, seed uint64, often int) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		r := rand.New(rand.NewPCG(seed, 2))
		next := first
		put := func(id, parent int64, name string, kind index.Kind) bool {
			e := index.Entry{ID: id, Parent: parent, Name: name, Kind: kind, MTime: r.Int64N(1 << 60)}
			return yield(index.Change{Op: index.Put, Entry: e}, nil)
		}
		for k := range int64(9) {
			if !put(next, 1, fmt.Sprintf("folder %d of %d", k, first), index.KindDir) {
				return
			}
			next++
		}
		files, gone := map[int64]bool{}, 0
		for range n {
			id := first + 9 + r.Int64N(max(1, next-first-9)) // any file
			folder := r.Int64N(8) + 1                        // any folder but the first
			var ok bool
			switch k := r.IntN(often); {
			case k == 0 && files[id]:
				ok = put(id, first+1+id%8, fmt.Sprint("file ", id), index.KindFile)
			case k == 1 && files[id]:
				ok = put(id, first, fmt.Sprint("moved ", id), index.KindFile)
			case k == 2 && files[id] && gone < 50:
				ok = yield(index.Change{Op: index.Delete, Entry: index.Entry{ID: id}}, nil)
				delete(files, id)
				gone++
			case k == 3:
				ok = yield(index.Change{Op: index.Put, Path: fmt.Sprintf("folder %d of %d/by path %d", folder, first, next), Entry: index.Entry{Kind: index.KindFile}}, nil)
				files[next] = true
				next++
			default:
				ok = put(next, first+folder, fmt.Sprint("file ", next), index.KindFile)
				files[next] = true
				next++
			}
			if !ok {
				return
			}
		}
	}
}

// TestChunksOfAnySize compares what is committed in chunks that go through tables in memory, one of which is filled while
// the other is moved, with what is committed in chunks too small for that.
func TestChunksOfAnySize(t *testing.T) {
	for _, often := range []int{20, 900, 6000} {
		t.Run(fmt.Sprint(often), func(t *testing.T) {
			var heads []index.Head
			var rows [][]index.Entry
			for _, size := range []int{100, 1300, chunkRows} {
				s := newStore(t)
				s.limits.chunkRows = size
				l := newLocationIn(t, s)
				var h index.Head
				for round := range uint64(2) {
					held, err := s.Held(t.Context(), l)
					if err != nil {
						t.Fatal(err)
					}
					res, err := s.Commit(t.Context(), l, mixed(held.Head.NextID, 5000, round, often), CommitOptions{})
					if err != nil || res.Put < 4000 {
						t.Fatalf("%+v, %v", res, err)
					}
					h = res.Head.Head
				}
				h.Location, h.Epoch, h.AsOf = index.Location{}, index.Epoch{}, 0
				heads, rows = append(heads, h), append(rows, dump(t, s, l))
			}
			for i := range heads {
				if diff := cmp.Diff(heads[0], heads[i]); diff != "" {
					t.Errorf("heads: %s", diff)
				}
				if diff := cmp.Diff(rows[0], rows[i]); diff != "" {
					t.Errorf("rows: %s", diff[:min(len(diff), 2000)])
				}
			}
		})
	}
}

// TestChunksBeforeAnErrorStay ends the stream while a chunk is written and the next one is filled.
func TestChunksBeforeAnErrorStay(t *testing.T) {
	s := newStore(t)
	s.limits.chunkRows = 1500
	l := newLocationIn(t, s)
	broken := errors.New("broken")
	res, err := s.Commit(t.Context(), l, func(yield func(index.Change, error) bool) {
		for ch, err := range generate(5200, 1) {
			if !yield(ch, err) {
				return
			}
		}
		yield(index.Change{}, broken)
	}, CommitOptions{})
	if !errors.Is(err, broken) || res.Chunks != 3 || res.Put != 4500 {
		t.Errorf("%+v, %v", res, err)
	}
	if rows := dump(t, s, l); len(rows) != 4501 {
		t.Errorf("%d rows", len(rows))
	}
	if res, err := s.Commit(t.Context(), l, mixed(res.Head.NextID, 3000, 1, 900), CommitOptions{}); err != nil || res.Chunks < 2 {
		t.Errorf("afterwards: %+v, %v", res, err)
	}
}
