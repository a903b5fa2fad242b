package node

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/volume"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/store"
)

// twoTrees are 80 files in 4 folders, fed to two locations, each changed by a function.
func twoTrees(t *testing.T, n *Node, name string, changeA, changeB func(map[string]index.Entry)) (a, b index.Location) {
	t.Helper()
	var out [2]index.Location
	for i, change := range []func(map[string]index.Entry){changeA, changeB} {
		rows := map[string]index.Entry{}
		for d := range 4 {
			dir := fmt.Sprintf("dir %d", d)
			rows[dir] = index.Entry{Kind: index.KindDir, MTime: 1000e9}
			for f := range 20 {
				rows[fmt.Sprintf("%s/file %d", dir, f)] = index.Entry{Kind: index.KindFile, Size: int64(f), MTime: int64(2000e9 + f)}
			}
		}
		if change != nil {
			change(rows)
		}
		l, err := n.AddLocation(t.Context(), AddRequest{Name: fmt.Sprint(name, i)})
		if err != nil {
			t.Fatal(err)
		}
		_, err = n.Commit(t.Context(), l.Ref(), func(yield func(index.Change, error) bool) {
			for _, depth := range []int{0, 1, 2} {
				for path, e := range rows {
					if strings.Count(path, "/") == depth && !yield(index.Change{Op: index.Put, Path: path, Entry: e}, nil) {
						return
					}
				}
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		out[i] = l.Ref()
	}
	return out[0], out[1]
}

// TestCompareTops is about what counts as equal, what as a difference, and what as neither.
func TestCompareTops(t *testing.T) {
	n, err := Open(Config{Dir: filepath.Join(t.TempDir(), "nas"), DeviceName: "nas", Reach: "loopback"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	set := func(path string, f func(*index.Entry)) func(map[string]index.Entry) {
		return func(m map[string]index.Entry) { e := m[path]; f(&e); m[path] = e }
	}
	del := func(path string) func(map[string]index.Entry) {
		return func(m map[string]index.Entry) { delete(m, path) }
	}
	const since = 3000e9
	for name, c := range map[string]struct {
		a, b   func(map[string]index.Entry)
		equal  bool
		differ int
		first  string
	}{
		"equal":                           {equal: true},
		"times told less exactly":         {b: set("dir 1/file 2", func(e *index.Entry) { e.MTime -= 2 }), equal: true},
		"another size":                    {b: set("dir 1/file 2", func(e *index.Entry) { e.Size++ }), equal: true, differ: 1, first: `"file 2"`},
		"another time":                    {b: set("dir 1/file 2", func(e *index.Entry) { e.MTime += 1e9 }), equal: true, differ: 1, first: `"file 2"`},
		"another time at the top":         {b: set("dir 2", func(e *index.Entry) { e.MTime -= 1e9 }), equal: true, differ: 1, first: `"dir 2"`},
		"times as far apart as can be":    {a: set("dir 2", func(e *index.Entry) { e.MTime = 1<<63 - 1 }), b: set("dir 2", func(e *index.Entry) { e.MTime = -1 << 63 }), equal: true},
		"changed since":                   {b: set("dir 1/file 2", func(e *index.Entry) { e.Size, e.MTime = 99, since+1 }), equal: true},
		"one missing":                     {b: del("dir 1/file 2"), equal: true, differ: 1, first: `"file 2"`},
		"one too many":                    {a: del("dir 1/file 2"), equal: true, differ: 1, first: `"file 2"`},
		"one missing in a changed folder": {a: set("dir 1", func(e *index.Entry) { e.MTime = since + 1 }), b: del("dir 1/file 2"), equal: true},
		"another kind": {b: func(m map[string]index.Entry) {
			m["dir 1/file 2"] = index.Entry{Kind: index.KindDir, MTime: 2000e9}
		}, equal: true, differ: 1, first: `"file 2"`},
		"nothing in one": {b: func(m map[string]index.Entry) { clear(m) }, differ: 4, first: `"dir 0"`},
	} {
		a, b := twoTrees(t, n, name, c.a, c.b)
		for _, turned := range []bool{false, true} {
			got := tops{st: n.st, a: a, b: b, since: since}
			if turned {
				got.a, got.b = b, a
			}
			if err := got.compare(t.Context()); err != nil {
				t.Fatal(err)
			}
			if (got.equal >= likeEntries) != c.equal || got.differ != c.differ || got.first != c.first {
				t.Errorf("%s: %d equal, %d differ, first %s", name, got.equal, got.differ, got.first)
			}
		}
	}
}

// TestCompareLocations is about what speaks for two locations being one folder: where they are, and what is in them.
func TestCompareLocations(t *testing.T) {
	n, err := Open(Config{Dir: filepath.Join(t.TempDir(), "nas"), DeviceName: "nas", Reach: "loopback"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := n.Close(); err != nil {
			t.Error(err)
		}
	})
	nas := n.st.Self()
	equalA, equalB := twoTrees(t, n, "equal", nil, nil)
	_, one := twoTrees(t, n, "one", nil, func(m map[string]index.Entry) {
		e := m["dir 0/file 1"]
		e.Size = 5
		m["dir 0/file 1"] = e
	})
	_, few := twoTrees(t, n, "few", nil, func(m map[string]index.Entry) {
		for p := range m {
			if !strings.HasPrefix(p, "dir 0") {
				delete(m, p)
			}
		}
	})
	_, other := twoTrees(t, n, "other", nil, func(m map[string]index.Entry) {
		clear(m)
		for i := range 80 {
			m[fmt.Sprint("other ", i)] = index.Entry{Kind: index.KindFile}
		}
	})
	head := func(l index.Location) store.Held {
		h, err := n.st.Held(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	for name, c := range map[string]struct {
		a, b         index.Location
		mine, theirs string
		root         string // of the other; "" = /srv/media
		evidence     string
		why          string
	}{
		"one volume":                      {equalA, equalB, "uuid:1:/a", "uuid:1:/a", "", api.EvidenceVolume, ""},
		"one volume, something changed":   {equalA, one, "uuid:1:/a", "uuid:1:/a", "", api.EvidenceVolume, ""},
		"one volume, not fetched yet":     {equalA, index.Location{}, "uuid:1:/a", "uuid:1:/a", "", api.EvidenceVolume, "not scanned"},
		"one name, other things":          {equalA, other, "uuid:1:/a", "uuid:1:/a", "", "", "most of what is in the folders differs"},
		"a copy elsewhere on the disk":    {equalA, equalB, "uuid:1:/a", "uuid:1:/b", "", "", "different folders of local disks"},
		"a copy on another disk":          {equalA, equalB, "uuid:1:/a", "uuid:2:/a", "", "", "different folders of local disks"},
		"one share":                       {equalA, equalB, "smb:x/media:/", "smb:x/media:/", "", api.EvidenceShare, ""},
		"its server's":                    {equalA, equalB, "nfs:nas:/srv/media", "uuid:1:/srv/media", "", api.EvidenceShare, ""},
		"its server's, by another name":   {equalA, equalB, "nfs:nas.lan:/srv/media", "uuid:1:/srv/media", "", api.EvidenceShare, ""},
		"our own, that another mounted":   {equalA, equalB, "uuid:1:/srv/media", "nfs:nas:/mnt/media", "", api.EvidenceShare, ""},
		"another folder of the server's":  {equalA, one, "nfs:nas:/srv/media", "uuid:1:/srv/media", "/srv", "", "what is in them differs"},
		"the same path of another server": {equalA, one, "nfs:other:/srv/media", "uuid:1:/srv/media", "", "", "what is in them differs"},
		"nothing known, all equal":        {equalA, equalB, "", "", "", api.EvidenceListing, ""},
		"a share by another name":         {equalA, equalB, "smb:nas/media:/", "uuid:1:/srv/media", "", api.EvidenceListing, ""},
		"nothing known, one differs":      {equalA, one, "", "", "", "", `what is in them differs: "file 1"`},
		"nothing known, few":              {few, few, "", "", "", "", "too few to tell by"},
		"nothing known, not fetched yet":  {equalA, index.Location{}, "", "", "", "", "not scanned"},
	} {
		mine := head(c.a)
		mine.Record.Root, mine.Record.Filesystem = "/mnt/media", c.mine
		rec := index.Record{Root: "/srv/media", Filesystem: c.theirs}
		if c.root != "" {
			rec.Root = c.root
		}
		var theirs *index.Head
		if c.b != (index.Location{}) {
			h := head(c.b)
			theirs = &h.Head.Head
		}
		got, err := n.alike(t.Context(), c.a, &mine, index.Location{Owner: nas, ID: c.b.ID}, &rec, theirs)
		if err != nil {
			t.Fatal(err)
		}
		if got.evidence != c.evidence || !strings.Contains(got.why, c.why) || c.evidence == "" && got.why == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if !near(0, 80) || near(0, 81) || !near(1330, 1000) || near(1000, 1331) {
		t.Error("numbers that are near")
	}
	if _, ok := farApart(&index.Head{AsOf: 1, Count: 1}, &index.Head{AsOf: 1 + 86401e9, Count: 1000}); ok {
		t.Error("states of different days are compared")
	}
	if s := shellWord("media"); s != "media" {
		t.Error(s)
	}
	if s := shellWord(`nas:Ana's films`); s != `'nas:Ana'\''s films'` {
		t.Error(s)
	}
	ok, err := n.serves(t.Context(), volume.Parse("smb:nas/media:/srv/media"), nas, "/srv/media")
	if ok || err != nil {
		t.Error("the name of a share is no path")
	}
}
