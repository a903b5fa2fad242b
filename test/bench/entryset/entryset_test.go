package entryset

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"iter"
	"maps"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/peerdex/peerdex/index"
)

func generated(t *testing.T, n int64, seed uint64) []index.Entry {
	t.Helper()
	s, err := Generate(n, seed)
	if err != nil {
		t.Fatal(err)
	}
	return collect(t, s.Entries())
}

func collect(t *testing.T, rows iter.Seq2[index.Entry, error]) []index.Entry {
	t.Helper()
	var out []index.Entry
	for e, err := range rows {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// checkTree checks what every set must be: one tree in walk order. It returns the depth of each entry.
func checkTree(t *testing.T, es []index.Entry) []int {
	t.Helper()
	depth := make([]int, len(es))
	for i, e := range es {
		if e.ID != int64(i)+2 || e.Seq != 0 {
			t.Fatalf("entry %d has id %d, seq %d", i, e.ID, e.Seq)
		}
		if err := e.Validate(); err != nil {
			t.Fatalf("%+v: %v", e, err)
		}
		depth[i] = 1
		if e.Parent != index.RootID {
			if e.Parent >= e.ID || es[e.Parent-2].Kind != index.KindDir {
				t.Fatalf("%+v: the parent is not a folder before it", e)
			}
			depth[i] = depth[e.Parent-2] + 1
		}
		if i == 0 {
			continue
		}
		if last := es[i-1]; e.Parent < last.Parent || e.Parent == last.Parent && e.Name <= last.Name {
			t.Fatalf("%+v after %+v: not in walk order", e, last)
		}
	}
	return depth
}

func TestGenerate(t *testing.T) {
	for _, n := range []int64{1, 2, 9, 100, 2_000, 50_000, 200_000} {
		es := generated(t, n, 1)
		if int64(len(es)) != n {
			t.Fatalf("%d entries, want %d", len(es), n)
		}
		depth := checkTree(t, es)
		if n < 2_000 {
			continue
		}
		var names, deep, folders, foreign, hits int
		held := map[int64]int{}
		for i, e := range es {
			names, deep = names+len(e.Name), deep+depth[i]
			held[e.Parent]++
			if e.Kind == index.KindDir {
				folders++
			}
			if strings.ContainsFunc(e.Name, func(c rune) bool { return c > 127 }) {
				foreign++
			}
			low := strings.ToLower(e.Name)
			if strings.Contains(low, Word) {
				hits++
			}
			if strings.Contains(low, Absent) {
				t.Errorf("%q holds %q", e.Name, Absent)
			}
		}
		between := func(what string, v, least, most float64) {
			if v < least || v > most {
				t.Errorf("%d entries: %s is %.3f, want %.2f to %.2f", n, what, v, least, most)
			}
		}
		all := float64(n)
		between("mean name", float64(names)/all, 19, 21)
		between("mean depth", float64(deep)/all, 6.5, 7.5)
		between("share of folders", float64(folders)/all, 0.10, 0.12)
		between("share of names beyond ASCII", float64(foreign)/all, 0.01, 0.05)
		between("names with the word", float64(hits), float64(min(1000, n/20))-1, float64(min(1000, n/20)))
		if n >= 20_000 && !slices.Contains(slices.Collect(maps.Values(held)), 1000) {
			t.Errorf("%d entries: no folder of 1,000", n)
		}
	}
}

// TestNothingCompresses checks that sizes are log-uniform and times use all their bits.
func TestNothingCompresses(t *testing.T) {
	es := generated(t, 100_000, 2)
	var octaves [maxSizeBits]int
	files := 0
	times := map[int64]bool{}
	var low [8]int
	for _, e := range es {
		times[e.MTime] = true
		low[e.MTime&7]++
		if e.MTime < timeFrom || e.MTime >= timeFrom+timeSpan {
			t.Fatalf("time %d", e.MTime)
		}
		if e.Kind == index.KindFile {
			files++
			octaves[bits.Len64(uint64(e.Size))-1]++
		}
	}
	for i, n := range octaves {
		if want := files / maxSizeBits; n < want*4/5 || n > want*6/5 {
			t.Errorf("%d sizes of %d binary digits, want about %d", n, i+1, want)
		}
	}
	if len(times) != len(es) {
		t.Errorf("%d times of %d entries", len(times), len(es))
	}
	for i, n := range low {
		if n < len(es)/10 {
			t.Errorf("%d of %d times end in the bits %03b", n, len(es), i)
		}
	}
}

func digest(t *testing.T, s *Set, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	if _, err := Save(h, s.Entries()); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// TestDeterminism: a set is the same in any process and on any machine, and another one with another seed. If these
// change, figures measured before can't be compared with those measured after.
func TestDeterminism(t *testing.T) {
	const want = "1cb900c3192d55d7860cec86798d60664eb2a86c36f5258a370284d7008deb11"
	s, err := Generate(20_000, 1)
	for range 2 {
		if got := digest(t, s, err); got != want {
			t.Errorf("generated: %s", got)
		}
	}
	other, err := Generate(20_000, 2)
	if digest(t, other, err) == want {
		t.Error("another seed makes the same set")
	}
	const wantList = "59e41bf11966c8850f93f7b9e5b0e714d2389501ed13b379b22d5291a3cc0a00"
	list := writeList(t, "usr/share/doc/a.txt\nusr/bin/tool\n")
	s, err = ReadPaths(list, 0, 1)
	for range 2 {
		if got := digest(t, s, err); got != wantList {
			t.Errorf("of a list: %s", got)
		}
	}
}

func TestGenerateStopsWhenAsked(t *testing.T) {
	s, err := Generate(10_000, 1)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for range s.Entries() {
		if n++; n == 500 {
			break
		}
	}
	if n != 500 {
		t.Errorf("%d entries", n)
	}
	for _, bad := range []int64{0, -1, index.MaxCount} {
		if _, err := Generate(bad, 1); !errors.Is(err, index.ErrInvalid) {
			t.Errorf("%d entries: %v", bad, err)
		}
	}
}

func TestSaveAndLoad(t *testing.T) {
	s, err := Generate(30_000, 3)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	facts, err := Save(&b, s.Entries())
	if err != nil {
		t.Fatal(err)
	}
	es := collect(t, s.Entries())
	got := collect(t, Load(bytes.NewReader(b.Bytes())))
	if !slices.EqualFunc(es, got, func(a, b index.Entry) bool { return a.ID == b.ID && a.Seq == b.Seq && a.SameContent(&b) }) {
		t.Fatal("what was loaded differs from what was saved")
	}
	var want Facts
	held := map[int64]int64{}
	depth := checkTree(t, es)
	for i, e := range es {
		held[e.Parent]++
		want.Entries++
		if e.Kind == index.KindDir {
			want.Folders++
		}
		want.MeanName += float64(len(e.Name)) / float64(len(es))
		want.MeanDepth += float64(depth[i]) / float64(len(es))
	}
	if d := facts.MeanName - want.MeanName; d*d > 1e-12 {
		t.Errorf("mean name %f, want %f", facts.MeanName, want.MeanName)
	}
	if d := facts.MeanDepth - want.MeanDepth; d*d > 1e-12 {
		t.Errorf("mean depth %f, want %f", facts.MeanDepth, want.MeanDepth)
	}
	if facts.Entries != want.Entries || facts.Folders != want.Folders || facts.Listed != 1000 || held[facts.Listing] != 1000 {
		t.Errorf("facts %+v, want %+v and a folder of 1,000", facts, want)
	}
	for _, cut := range []int{2, 100, b.Len() / 2, b.Len() - 1} {
		var last error
		for _, err := range Load(bytes.NewReader(b.Bytes()[:cut])) {
			last = err
		}
		if !errors.Is(last, io.ErrUnexpectedEOF) {
			t.Errorf("cut after %d bytes: %v", cut, last)
		}
	}
}

func writeList(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "paths")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// pathsOf returns the paths of a set in its order, folders with a "/" at the end.
func pathsOf(es []index.Entry) []string {
	var out []string
	for _, e := range es {
		path := e.Name
		if e.Kind == index.KindDir {
			path += "/"
		}
		if e.Parent != index.RootID {
			path = out[e.Parent-2] + path
		}
		out = append(out, path)
	}
	return out
}

func TestReadPaths(t *testing.T) {
	for _, c := range []struct {
		name, text string
		limit      int64
		want       []string // nil: an error
	}{
		{"one", "a", 0, []string{"a"}},
		{"folders on the way", "a/b/c\n", 0, []string{"a/", "a/b/", "a/b/c"}},
		{"forms of one path", "/a/b\n./a/b\n\n.\na/b\na\n", 0, []string{"a/", "a/b"}},
		{"an empty folder", "a/\nb\n", 0, []string{"a/", "b"}},
		{"order of names, not of paths", "a/x\na-b/x\na.b\na/b\n", 0, []string{"a/", "a-b/", "a.b", "a/b", "a/x", "a-b/x"}},
		{"breadth-first", "b/1/x\na/2/x\nb/0\na/1\n", 0, []string{"a/", "b/", "a/1", "a/2/", "b/0", "b/1/", "a/2/x", "b/1/x"}},
		{"a limit keeps a tree", "z\na/b/c\na/b/d\n", 3, []string{"a/", "a/b/", "a/b/c"}},
		{"not UTF-8", "\xff/a b\n", 0, []string{"\xff/", "\xff/a b"}},
		{"nothing", "\n", 0, nil},
		{"dots", "a/../b\n", 0, nil},
		{"two slashes", "a//b\n", 0, nil},
		{"a long name", "a\n" + strings.Repeat("x", 256), 0, nil},
		{"too deep", strings.Repeat("a/", index.MaxDepth) + "b", 0, nil},
	} {
		s, err := ReadPaths(writeList(t, c.text), c.limit, 1)
		if c.want == nil {
			if !errors.Is(err, index.ErrInvalid) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		es := collect(t, s.Entries())
		checkTree(t, es)
		if got := pathsOf(es); !slices.Equal(got, c.want) || s.Len() != int64(len(got)) {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
	if _, err := ReadPaths(filepath.Join(t.TempDir(), "none"), 0, 1); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestListOfAGeneratedSet makes a list of a set's paths in another order: the tree must come out the same.
func TestListOfAGeneratedSet(t *testing.T) {
	paths := pathsOf(generated(t, 30_000, 1))
	mixed := slices.Sorted(slices.Values(paths))
	s, err := ReadPaths(writeList(t, strings.Join(mixed, "\n")), 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	es := collect(t, s.Entries())
	checkTree(t, es)
	if got := pathsOf(es); !slices.Equal(got, paths) {
		t.Error("the tree differs")
	}
	hits := 0
	for _, e := range es {
		if strings.Contains(strings.ToLower(e.Name), s.Word()) {
			hits++
		}
	}
	if hits < 500 || hits > 2_000 {
		t.Errorf("%d names hold %q", hits, s.Word())
	}
}

func TestEdits(t *testing.T) {
	es := generated(t, 5_000, 1)
	gone := int64(77)
	get := func(id int64) (index.Entry, bool, error) { return es[id-2], id != gone, nil }
	next := int64(len(es)) + 2
	var first []index.Change
	for range 2 {
		var got []index.Change
		count := map[string]int{}
		used := map[int64]bool{}
		for c, err := range Edits(1, 1_000, next, get) {
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, c)
			id := c.Entry.ID
			if used[id] || id == gone {
				t.Errorf("id %d was changed twice, or is dead", id)
			}
			used[id] = true
			switch {
			case c.Op == index.Delete:
				count["deleted"]++
			case id >= next:
				if count["new"]++; id != next-1+int64(count["new"]) {
					t.Errorf("new id %d", id)
				}
			case c.Entry.Name != es[id-2].Name:
				count["renamed"]++
			case !c.Entry.SameContent(&es[id-2]):
				count["changed"]++
			}
			if c.Op == index.Put {
				if err := c.Entry.Validate(); err != nil {
					t.Error(err)
				}
			}
		}
		if want := map[string]int{"deleted": 100, "new": 100, "renamed": 100, "changed": 700}; !maps.Equal(count, want) {
			t.Errorf("%v, want %v", count, want)
		}
		if first != nil && !slices.EqualFunc(first, got, func(a, b index.Change) bool {
			return a.Op == b.Op && a.Entry.ID == b.Entry.ID && a.Entry.SameContent(&b.Entry)
		}) {
			t.Error("the same arguments made other changes")
		}
		first = got
	}
	var last error
	for _, last = range Edits(1, 5_000, next, get) {
		continue
	}
	if !errors.Is(last, index.ErrInvalid) {
		t.Errorf("more changes than files: %v", last)
	}
}
