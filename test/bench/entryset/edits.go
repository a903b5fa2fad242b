package entryset

import (
	"fmt"
	"iter"
	"math/rand/v2"
	"strconv"

	"github.com/peerdex/peerdex/index"
)

// Puts makes each entry a change that inserts it.
func Puts(rows iter.Seq2[index.Entry, error]) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		for e, err := range rows {
			if !yield(index.Change{Op: index.Put, Entry: e}, err) || err != nil {
				return
			}
		}
	}
}

// Edits yields exactly n changes to a location that holds a set, scattered over all of it and in no order: of ten, seven
// are new sizes and times, one a new name, one a new file beside what is there, and one a deleted file. Each changes
// another entry. Next is the location's next id; get reads a live row, and says false for an id that is dead. The error is
// [index.ErrInvalid] if there are not enough files. The same arguments give the same changes.
func Edits(seed uint64, n int, next int64, get func(id int64) (index.Entry, bool, error)) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		r := rand.New(rand.NewPCG(seed, uint64(next)))
		names := namer{r: r}
		used := map[int64]bool{}
		highest := next // only what is there before
		for done := 0; done < n; {
			if int64(len(used)) == highest-index.RootID-1 {
				yield(index.Change{}, fmt.Errorf("%d changes, but only %d files: %w", n, done, index.ErrInvalid))
				return
			}
			id := index.RootID + 1 + r.Int64N(highest-index.RootID-1)
			e, live, err := index.Entry{}, false, error(nil)
			if !used[id] {
				used[id] = true
				e, live, err = get(id)
			}
			if err != nil {
				yield(index.Change{}, err)
				return
			}
			if !live || e.Kind == index.KindDir {
				continue // deleting a folder would be many changes, and new files need their folders
			}
			ch := index.Change{Op: index.Put, Entry: e}
			name := func() string { // which no other entry of the folder has
				return names.another(e.Name) + "." + strconv.FormatInt(highest+int64(done), 10)
			}
			switch done % 10 {
			case 0:
				ch.Entry = index.Entry{ID: next, Parent: e.Parent, Name: name(), Kind: index.KindFile}
				attributes(r, &ch.Entry)
				next++
			case 1:
				ch = index.Change{Op: index.Delete, Entry: index.Entry{ID: id}}
			case 2:
				ch.Entry.Name = name()
			default:
				attributes(r, &ch.Entry)
			}
			if done++; !yield(ch, nil) {
				return
			}
		}
	}
}

// another makes the name of a file of any sort, which is not the one given.
func (n *namer) another(than string) string {
	for {
		n.enter()
		if name := n.file(false); name != than {
			return name
		}
	}
}
