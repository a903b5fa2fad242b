package scenario

import (
	"fmt"
	"strings"
	"testing"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/store"
	"github.com/peerdex/peerdex/test/harness/cluster"
)

// world is a location that is edited by path.
type world struct {
	t *testing.T
	d *cluster.Device
	l index.Location
}

// make makes entries: folders end in "/".
func (w *world) make(paths ...string) {
	w.t.Helper()
	var changes []index.Change
	for i, p := range paths {
		e := index.Entry{Kind: index.KindFile, Size: int64(i), MTime: int64(i)}
		if strings.HasSuffix(p, "/") {
			e = index.Entry{Kind: index.KindDir}
		}
		changes = append(changes, index.Change{Op: index.Put, Path: strings.TrimSuffix(p, "/"), Entry: e})
	}
	w.d.Put(w.l, cluster.Changes(changes...))
}

// at reads an entry.
func (w *world) at(path string) (e index.Entry) {
	w.t.Helper()
	w.d.Read(func(s *store.Store) (err error) {
		e, err = s.Lookup(w.t.Context(), w.l, path)
		return err
	})
	return e
}

// move says that an entry, as it was, has another parent and name.
func move(e index.Entry, parent int64, name string) index.Change {
	e.Parent, e.Name = parent, name
	return index.Change{Op: index.Put, Entry: e}
}

func remove(e index.Entry) index.Change {
	return index.Change{Op: index.Delete, Entry: index.Entry{ID: e.ID}}
}

func become(e index.Entry, k index.Kind) index.Change {
	e.Kind, e.Size = k, 0
	return index.Change{Op: index.Put, Entry: e}
}

// editCase is a change of a tree in which order and ids matter.
type editCase struct {
	name  string
	make  []string
	edit  func(w *world) []index.Change
	holds string // paths in the end, in order
}

func editCases() []editCase {
	many := func(dir string) (out []string) {
		for i := range 150 {
			out = append(out, fmt.Sprintf("%s/%d/file %d", dir, i%7, i))
		}
		return out
	}
	return []editCase{
		{"delete a tree", append(many("a"), "b"), func(w *world) []index.Change {
			return []index.Change{remove(w.at("a"))}
		}, "b"},
		{"delete all trees", append(many("a"), append(many("b"), many("c/d")...)...), func(w *world) []index.Change {
			return []index.Change{remove(w.at("b")), remove(w.at("c")), remove(w.at("a"))}
		}, ""},
		{"move out of a folder, then delete it", []string{"a/x", "a/y", "d/"}, func(w *world) []index.Change {
			return []index.Change{move(w.at("a/x"), w.at("d").ID, "x"), remove(w.at("a"))}
		}, "d d/x"},
		{"move out of a folder, then delete the new parent", []string{"a/x/1", "a/x/2", "a/y", "d/z"}, func(w *world) []index.Change {
			return []index.Change{move(w.at("a/x"), w.at("d").ID, "x"), remove(w.at("d"))}
		}, "a a/y"},
		{"rename in a circle", []string{"a", "b", "c"}, func(w *world) []index.Change {
			return []index.Change{move(w.at("a"), 1, "b"), move(w.at("b"), 1, "c"), move(w.at("c"), 1, "a")}
		}, "a b c"},
		{"rename folders in a circle", []string{"a/1", "b/2", "c/3"}, func(w *world) []index.Change {
			return []index.Change{move(w.at("a"), 1, "b"), move(w.at("b"), 1, "c"), move(w.at("c"), 1, "a")}
		}, "a a/3 b b/1 c c/2"},
		{"swap two files of two folders", []string{"a/x", "b/y"}, func(w *world) []index.Change {
			return []index.Change{move(w.at("a/x"), w.at("b").ID, "y"), move(w.at("b/y"), w.at("a").ID, "x")}
		}, "a a/x b b/y"},
		{"turn a tree inside out", []string{"a/b/c/x"}, func(w *world) []index.Change {
			a, b, c := w.at("a"), w.at("a/b"), w.at("a/b/c")
			return []index.Change{move(c, 1, "c"), move(b, c.ID, "b"), move(a, b.ID, "a")}
		}, "c c/b c/b/a c/x"},
		{"a file becomes a folder", []string{"a", "b"}, func(w *world) []index.Change {
			a := w.at("a")
			return []index.Change{become(a, index.KindDir), {Op: index.Put, Path: "a/x", Entry: index.Entry{Kind: index.KindFile}}}
		}, "a a/x b"},
		{"a folder becomes a file", append(many("a"), "b"), func(w *world) []index.Change {
			return []index.Change{become(w.at("a"), index.KindFile)}
		}, "a b"},
		{"types go round", []string{"a/x", "b", "c"}, func(w *world) []index.Change {
			return []index.Change{become(w.at("a"), index.KindSymlink), become(w.at("b"), index.KindDir), become(w.at("c"), index.KindOther)}
		}, "a b c"},
		{"delete and make again", []string{"a/x", "a/y"}, func(w *world) []index.Change {
			return []index.Change{remove(w.at("a")), {Op: index.Put, Path: "a/x", Entry: index.Entry{Kind: index.KindFile}}}
		}, "a a/x"},
		{"make, move and delete at once", []string{"a/"}, func(w *world) []index.Change {
			file := index.Entry{Kind: index.KindFile}
			return []index.Change{
				{Op: index.Put, Path: "a/new/1", Entry: file}, {Op: index.Put, Path: "b/2", Entry: file},
				{Op: index.Delete, Path: "a"}, {Op: index.Put, Path: "b/3", Entry: file}, {Op: index.Delete, Path: "b/2"},
			}
		}, "b b/3"},
	}
}

// TestEdits changes trees in every way in which order matters, in one commit and one by one, for devices that are there,
// were away, or come later.
func TestEdits(t *testing.T) {
	t.Parallel()
	owner := cluster.New(t, "owner")
	var worlds []*world
	var locations []index.Location
	for _, c := range editCases() {
		for _, how := range []string{"at once", "one by one"} {
			w := &world{t, owner, owner.Feed(c.name+", "+how, cluster.Changes())}
			w.make(c.make...)
			worlds, locations = append(worlds, w), append(locations, w.l)
		}
	}
	there, away := cluster.New(t, "there"), cluster.New(t, "away")
	peers := []*cluster.Device{there, away}
	for _, d := range peers {
		owner.Pair(d)
		d.Current(owner, locations...)
	}
	away.Stop()
	for i, c := range editCases() {
		atOnce, oneByOne := worlds[2*i], worlds[2*i+1]
		owner.Put(atOnce.l, cluster.Changes(c.edit(atOnce)...))
		for _, ch := range c.edit(oneByOne) {
			owner.Put(oneByOne.l, cluster.Changes(ch))
		}
		for _, w := range worlds[2*i : 2*i+2] {
			if got := strings.Join(w.paths(index.RootID, ""), " "); got != c.holds {
				t.Errorf("%s: the owner has %q, want %q", c.name, got, c.holds)
			}
		}
	}
	for _, s := range strategies() {
		late := cluster.New(t, "late "+s.name, s.configure)
		owner.Pair(late)
		peers = append(peers, late)
	}
	away.Start()
	for _, d := range peers {
		d.Current(owner, locations...)
		d.Equal(owner, locations...)
	}
}

// paths are the paths of all entries below a folder.
func (w *world) paths(folder int64, at string) (out []string) {
	w.t.Helper()
	var below []index.Entry
	w.d.Read(func(s *store.Store) error {
		for e, err := range s.Children(w.t.Context(), w.l, folder) {
			if err != nil {
				return err
			}
			below = append(below, e)
		}
		return nil
	})
	for _, e := range below {
		out = append(append(out, at+e.Name), w.paths(e.ID, at+e.Name+"/")...)
	}
	return out
}
