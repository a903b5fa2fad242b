package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/store/query"
)

// naiveState is what a location held at one head, in order of id.
type naiveState struct {
	head  index.SignedHead
	name  string // of the location
	found []Found
}

// readNaive reads a location by SQL of its own, and builds paths in the plainest way.
func readNaive(s *Store, l index.Location) (st naiveState, err error) {
	path, err := s.LocationFile(context.Background(), l)
	if err != nil {
		return st, err
	}
	c, err := openConn(path, accessRead)
	if err != nil {
		return st, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	return st, c.view(func() error {
		m, err := readMeta(c)
		if err != nil {
			return err
		}
		var rec index.Record
		if err := rec.UnmarshalBinary(m.record); err != nil {
			return err
		}
		st.head, st.name = m.head, rec.Name
		byID := map[int64]index.Entry{}
		for row, err := range c.query(context.Background(), "SELECT "+entryColumns+" FROM entries") {
			var e index.Entry
			if err == nil {
				err = scanEntry(row, &e)
			}
			if err != nil {
				return err
			}
			byID[e.ID] = e
		}
		for _, id := range slices.Sorted(maps.Keys(byID)) {
			path := ""
			for e := byID[id]; e.ID != index.RootID; e = byID[e.Parent] {
				path = "/" + e.Name + path
			}
			if id != index.RootID {
				st.found = append(st.found, Found{Entry: byID[id], Path: rec.Root + path})
			}
		}
		return nil
	})
}

// want is the answer to a request from these states, one for each location.
func want(r *SearchRequest, states []naiveState) []Found {
	type placed struct {
		Found
		rank int
	}
	var all []placed
	for rank, st := range states {
		if !r.Query.MatchesLocation(st.name) {
			continue
		}
		for _, f := range st.found {
			if r.Query.Match(&f.Entry) && r.Query.MatchPath(f.Path) {
				all = append(all, placed{f, rank})
			}
		}
	}
	less := func(a, b placed) int {
		c := 0
		switch r.Order.By {
		case ByName:
			c = strings.Compare(a.Entry.Name, b.Entry.Name)
		case BySize:
			c = int(a.Entry.Size - b.Entry.Size)
		case ByTime:
			c = int(a.Entry.MTime - b.Entry.MTime)
		}
		switch {
		case c != 0 && r.Order.Descending:
			return -c
		case c != 0:
			return c
		case a.rank != b.rank:
			return a.rank - b.rank
		}
		return int(a.Entry.ID - b.Entry.ID)
	}
	slices.SortFunc(all, less)
	var out []Found
	for _, p := range all {
		if m := r.After; m != nil {
			at := placed{Found{Entry: index.Entry{ID: m.ID, Name: m.Key.Text, Size: m.Key.Number, MTime: m.Key.Number}}, slices.Index(r.Locations, m.Location)}
			if less(p, at) <= 0 {
				continue
			}
		}
		if out = append(out, p.Found); len(out) == r.Limit {
			break
		}
	}
	return out
}

// answer is what a search said.
type answer struct {
	r     SearchRequest
	found []Found
	err   error
}

// explained reports whether the answer is right for some states of the locations: those named in it, and any of the
// others'.
func (a *answer) explained(history map[index.Location][]naiveState) error {
	named := map[index.Location]index.SignedHead{}
	for _, f := range a.found {
		l := f.In.Location
		if h, ok := named[l]; ok && h != f.In.Head {
			return fmt.Errorf("%v answers from two heads, %d and %d", l, h.Seq, f.In.Head.Seq)
		}
		named[l] = f.In.Head
	}
	var first string
	var try func(states []naiveState) bool
	try = func(states []naiveState) bool {
		if len(states) == len(a.r.Locations) {
			got := slices.Clone(a.found)
			for i := range got {
				got[i].In = nil
			}
			d := cmp.Diff(want(&a.r, states), got)
			if first == "" {
				first = d
			}
			return d == ""
		}
		l := a.r.Locations[len(states)]
		for _, st := range history[l] {
			if h, ok := named[l]; ok && h != st.head {
				continue
			}
			if try(append(slices.Clone(states), st)) {
				return true
			}
		}
		return false
	}
	if !try(nil) {
		return fmt.Errorf("no states explain the answer to %v, order %+v, limit %d:\n%s", a.r.Query, a.r.Order, a.r.Limit, first)
	}
	return nil
}

// Names of folders, and of files.
var (
	drawnFolders = []string{"a", "b", "ab", "A", "é", "日本", "b\xff"}
	drawnFiles   = []string{"a.jpg", "report.pdf", "Report 2.PDF", ".b", "100%_[x].txt", "A.", "ab.c"}
)

// drawChange returns a put, in folders that it may make.
func drawChange(t *rapid.T) index.Change {
	parts := rapid.SliceOfN(rapid.SampledFrom(drawnFolders), 0, 3).Draw(t, "folders")
	if len(parts) > 0 && rapid.IntRange(0, 4).Draw(t, "folder") == 0 {
		c := put(strings.Join(parts, "/"), 0)
		c.Entry.Kind = index.KindDir
		return c
	}
	parts = append(parts, rapid.SampledFrom(drawnFiles).Draw(t, "file"))
	return put(strings.Join(parts, "/"), rapid.Int64Range(0, 5).Draw(t, "size"))
}

func drawSearch(t *rapid.T, locs []index.Location) SearchRequest {
	text := strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{
		"a", "A", "report", "-b", "type:f", "type:d", "ext:pdf,jpg", "size:>2", "modified:1970", "*a*", "[a-b]", "[!a]*", "kind:image", "name:a,é",
		"path:/l0/a", "path:b", "-path:ab", "/l*/a/*", "a/**", "**/b", "/l1/**/*.pdf", "location:l0,l2", "日", "path:/", "path:/nowhere",
	}), 1, 3).Draw(t, "query"), " ")
	q, err := query.Parse(text, time.Unix(0, 0))
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	r := SearchRequest{Query: q, Limit: rapid.SampledFrom([]int{0, 0, 1, 3, 10}).Draw(t, "limit")}
	r.Locations = rapid.Permutation(locs).Draw(t, "locations")[:rapid.IntRange(1, len(locs)).Draw(t, "of")]
	if by := rapid.IntRange(0, 5).Draw(t, "order"); by > 2 {
		r.Order = Order{OrderBy(by - 2), rapid.Bool().Draw(t, "descending")}
	}
	return r
}

// drawCommit returns changes to a location: deletions of what is there, each above or beside the others, and puts.
func drawCommit(t *rapid.T, st naiveState, root string) []index.Change {
	var cs []index.Change
	for range rapid.IntRange(0, min(2, len(st.found))).Draw(t, "deletions") {
		p := strings.TrimPrefix(rapid.SampledFrom(st.found).Draw(t, "gone").Path, root+"/")
		if !slices.ContainsFunc(cs, func(c index.Change) bool { return strings.HasPrefix(p+"/", c.Path+"/") }) {
			cs = append(cs, del(p))
		}
	}
	for range rapid.IntRange(1, 12).Draw(t, "puts") {
		cs = append(cs, drawChange(t))
	}
	return cs
}

// TestSearchIsNaive searches random trees for random things with any number of workers, while a writer commits. Every
// answer must be that of a plain loop over all rows, of one committed state of each location.
func TestSearchIsNaive(t *testing.T) {
	s := newStore(t)
	var locs []index.Location
	roots := map[index.Location]string{}
	for i := range 3 {
		root := fmt.Sprintf("/l%d", i)
		l, err := s.Create(context.Background(), testLibrary, index.Record{Name: root[1:], Root: root, Platform: "linux"})
		if err != nil {
			t.Fatal(err)
		}
		locs = append(locs, l)
		roots[l] = root
	}
	rapid.Check(t, func(t *rapid.T) {
		workers := rapid.IntRange(1, 5).Draw(t, "workers")
		s.limits = limits{chunkRows: 5, stageRows: 16, deltaRows: 10, searchers: workers, searchRows: rapid.Int64Range(1, 9).Draw(t, "ids"), sortPage: rapid.IntRange(1, 9).Draw(t, "page")}
		s.cpu = make(chan struct{}, rapid.IntRange(1, 3).Draw(t, "processors"))
		history := map[index.Location][]naiveState{}
		commits := map[index.Location][]index.Change{}
		for _, l := range locs {
			st, err := readNaive(s, l)
			if err != nil {
				t.Fatal(err)
			}
			history[l] = []naiveState{st}
			commits[l] = drawCommit(t, st, roots[l])
		}
		answers := make([]answer, rapid.IntRange(1, 3).Draw(t, "searches"))
		for i := range answers {
			answers[i].r = drawSearch(t, locs)
		}
		var wg sync.WaitGroup
		var writeErr error
		wg.Go(func() {
			for _, l := range locs {
				_, err := s.Commit(context.Background(), l, changes(commits[l]...), CommitOptions{AsOf: time.Now, Progress: func(int64) {
					st, err := readNaive(s, l)
					history[l] = append(history[l], st)
					writeErr = errors.Join(writeErr, err)
				}})
				st, readErr := readNaive(s, l)
				history[l] = append(history[l], st)
				writeErr = errors.Join(writeErr, err, readErr)
			}
		})
		for i := range answers {
			wg.Go(func() { answers[i].found, answers[i].err = collectFound(s, answers[i].r) })
		}
		wg.Wait()
		if writeErr != nil {
			t.Fatal(writeErr)
		}
		for i := range answers {
			if answers[i].err != nil {
				t.Fatal(answers[i].err)
			}
			if err := answers[i].explained(history); err != nil {
				t.Fatal(err)
			}
		}
		checkPages(t, s, answers[0].r)
	})
}

func collectFound(s *Store, r SearchRequest) (out []Found, err error) {
	for f, err := range s.Search(context.Background(), r) {
		if err != nil {
			return out, err
		}
		out = append(out, f)
	}
	return out, nil
}

// checkPages compares an answer with its pages, while nothing changes.
func checkPages(t *rapid.T, s *Store, r SearchRequest) {
	r.Limit = 0
	all, err := collectFound(s, r)
	if err != nil {
		t.Fatal(err)
	}
	var paged []Found
	for r.Limit = rapid.IntRange(1, 4).Draw(t, "a page"); ; {
		page, err := collectFound(s, r)
		if err != nil {
			t.Fatal(err)
		}
		if paged = append(paged, page...); len(page) < r.Limit {
			break
		}
		last := &page[len(page)-1]
		r.After = &Mark{last.In.Location, last.Entry.ID, r.Order.Key(&last.Entry)}
	}
	if d := cmp.Diff(all, paged); d != "" {
		t.Fatalf("%v, order %+v: pages of %d differ from the whole:\n%s", r.Query, r.Order, r.Limit, d)
	}
}

func mustQuery(t testing.TB, text string) query.Query {
	t.Helper()
	q, err := query.Parse(text, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return q
}

// filledStore returns a store with one location of n entries, read in parts of 100.
func filledStore(t testing.TB, n int) (*Store, index.Location) {
	t.Helper()
	s := newStore(t)
	s.limits.searchRows = 100
	l := newLocationIn(t, s)
	if _, err := s.Commit(context.Background(), l, generate(n, 1), CommitOptions{AsOf: time.Now}); err != nil {
		t.Fatal(err)
	}
	return s, l
}

// idleSweepers reports whether no search holds a connection of a location.
func (h *location) idleSweepers() bool { return len(h.sweepers.slots) == 0 }

// TestSearchStopsEarly leaves searches of every kind in the middle: nothing may be held afterwards, and nothing run.
func TestSearchStopsEarly(t *testing.T) {
	s, l := filledStore(t, 5000)
	before := goleak.IgnoreCurrent()
	for _, order := range []Order{{}, {By: ByName}, {By: BySize, Descending: true}} {
		for _, limit := range []int{0, 7} {
			n := 0
			for _, err := range s.Search(context.Background(), SearchRequest{Query: mustQuery(t, "type:f"), Locations: []index.Location{l}, Order: order, Limit: limit}) {
				if err != nil {
					t.Fatal(err)
				}
				if n++; limit == 0 && n == 3 {
					break
				}
			}
			if want := max(limit, 3); n != want {
				t.Errorf("%+v: %d entries, want %d", order, n, want)
			}
			ctx, cancel := context.WithCancel(context.Background())
			var last error
			for _, err := range s.Search(ctx, SearchRequest{Query: mustQuery(t, "type:f"), Locations: []index.Location{l}, Order: order}) {
				last = err
				cancel()
			}
			cancel()
			if !errors.Is(last, context.Canceled) && (order == Order{}) { // a sorted answer may be complete by then
				t.Errorf("%+v: cancelled, and ended with %v", order, last)
			}
		}
	}
	h, release, err := s.use(context.Background(), l)
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	if !h.idleSweepers() || len(s.cpu) != 0 {
		t.Errorf("%d connections and %d processors are held", len(h.sweepers.slots), len(s.cpu))
	}
	if err := goleak.Find(before); err != nil {
		t.Error(err)
	}
}

// TestSearchSkipsAndNames searches a location that is there beside one that is not and one that is damaged.
func TestSearchSkipsAndNames(t *testing.T) {
	s := newStore(t)
	var locs []index.Location
	for i := range 3 {
		l, err := s.Create(context.Background(), testLibrary, index.Record{Name: fmt.Sprint(i), Root: fmt.Sprintf("/%d", i)})
		if err != nil {
			t.Fatal(err)
		}
		commit(t, s, l, put("a", 1))
		locs = append(locs, l)
	}
	path, err := s.LocationFile(context.Background(), locs[1])
	if err != nil {
		t.Fatal(err)
	}
	if err := s.locs[locs[1]].retire(""); err != nil { // so that the file is opened anew
		t.Fatal(err)
	}
	delete(s.locs, locs[1])
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append([]byte("garbage!"), whole[8:]...), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, order := range []Order{{}, {By: ByName}} {
		r := SearchRequest{Query: mustQuery(t, "a"), Order: order, Locations: []index.Location{{Owner: s.Self()}, locs[0], locs[1], locs[2]}}
		found, err := collectFound(s, r)
		if le := (*LocationError)(nil); !errors.As(err, &le) || le.Location != locs[1] || !errors.Is(err, ErrCorrupt) {
			t.Errorf("%+v: %v", order, err)
		}
		if len(found) != 2 || found[0].In.Location != locs[0] || found[1].In.Location != locs[2] {
			t.Errorf("%+v: %+v", order, found)
		}
	}
	if err := os.WriteFile(path, whole, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestSearchStalls leaves an answer unread for too long: the search must end, and let go of the location's file.
func TestSearchStalls(t *testing.T) {
	for _, order := range []Order{{}, {By: ByName}} {
		s, l := filledStore(t, 20_000)
		s.limits.stall, s.limits.sortPage = time.Millisecond, 100
		h, release, err := s.use(context.Background(), l)
		if err != nil {
			t.Fatal(err)
		}
		var last error
		n := 0
		for _, last = range s.Search(context.Background(), SearchRequest{Query: mustQuery(t, "type:f"), Locations: []index.Location{l}, Order: order}) {
			if n++; n == 1 {
				for !h.idleSweepers() {
					runtime.Gosched()
				}
			}
		}
		if !errors.Is(last, ErrStalled) || n == 18_000 {
			t.Errorf("%+v: after %d entries %v", order, n, last)
		}
		release()
	}
}

// TestSearchAfterMove finds a file by its path, moves the folders above it, and finds it again.
func TestSearchAfterMove(t *testing.T) {
	s := newStore(t)
	l := newLocationIn(t, s)
	commit(t, s, l, put("a/b/file", 1), put("c/other", 1))
	r := SearchRequest{Query: mustQuery(t, "file"), Locations: []index.Location{l}}
	for _, c := range []struct{ move, under, as, want string }{
		{"", "", "", "/docs/a/b/file"}, {"a/b", "c", "b", "/docs/c/b/file"}, {"c", "", "d", "/docs/d/b/file"}, {"d/b/file", "a", "file", "/docs/a/file"},
	} {
		if c.move != "" {
			e, err := s.Lookup(context.Background(), l, c.move)
			if err != nil {
				t.Fatal(err)
			}
			under, err := s.Lookup(context.Background(), l, c.under)
			if err != nil {
				t.Fatal(err)
			}
			e.Parent, e.Name = under.ID, c.as
			commit(t, s, l, index.Change{Op: index.Put, Entry: e})
		}
		found, err := collectFound(s, r)
		if err != nil || len(found) != 1 || found[0].Path != c.want {
			t.Errorf("%+v: %+v, %v", c, found, err)
		}
		got, _, err := s.Get(context.Background(), l, found[0].Entry.ID, "")
		if err != nil || got.Path != c.want || got.In.Head != found[0].In.Head {
			t.Errorf("%+v: %+v, %v", c, got, err)
		}
	}
}

// TestManySearches runs more searches at once than there are connections, and reads beside them.
func TestManySearches(t *testing.T) {
	s, l := filledStore(t, 3000)
	m, err := s.Create(context.Background(), testLibrary, index.Record{Name: "m", Root: "/m"})
	if err != nil {
		t.Fatal(err)
	}
	commit(t, s, m, put("x", 1))
	var wg sync.WaitGroup
	for i := range 3 * maxSweepers {
		wg.Go(func() {
			r := SearchRequest{Query: mustQuery(t, "type:f"), Locations: []index.Location{l, m}, Order: Order{By: OrderBy(i % 4)}}
			if i%2 == 0 {
				slices.Reverse(r.Locations)
			}
			if found, err := collectFound(s, r); err != nil || len(found) != 2701 {
				t.Errorf("%d entries, %v", len(found), err)
			}
		})
		wg.Go(func() {
			if got, err := s.List(context.Background(), l, "", "", 100); err != nil || len(got.Entries) != 40 {
				t.Errorf("%d entries listed, %v", len(got.Entries), err)
			}
		})
	}
	wg.Wait()
}

// TestSweepSeesOneState begins sweeps while a writer moves the head many thousand times a second.
func TestSweepSeesOneState(t *testing.T) {
	s := newStore(t)
	l := newLocationIn(t, s)
	commit(t, s, l, put("a", 1))
	path, err := s.LocationFile(context.Background(), l)
	if err != nil {
		t.Fatal(err)
	}
	c, err := openConn(path, accessFull)
	if err != nil {
		t.Fatal(err)
	}
	defer c.close()
	if err := c.script("PRAGMA synchronous=OFF"); err != nil {
		t.Fatal(err)
	}
	m, err := readMeta(c)
	if err != nil {
		t.Fatal(err)
	}
	other := m
	if other.head.AsOf++; other.head.Verify() == nil {
		t.Fatal("a head that was not signed")
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for at := range alternate(done, &other, &m) {
			if err := c.tx(func() error { return writeMeta(c, at) }); err != nil {
				t.Error(err)
				return
			}
		}
	})
	most := 0
	for range 300 {
		w, err := s.openSweep(context.Background(), l, mustQuery(t, "a"), Order{}, 4)
		if err != nil {
			t.Error(err)
			break
		}
		for _, c := range w.all {
			if m, err := readMeta(c.conn); err != nil || m.head != w.at.Head {
				t.Errorf("%v, as of %d instead of %d", err, m.head.AsOf, w.at.Head.AsOf)
			}
		}
		most = max(most, len(w.all))
		w.done()
	}
	close(done)
	wg.Wait()
	if most < 2 {
		t.Error("no sweep had more than one connection")
	}
}

// alternate yields a and b in turn until done, and b last.
func alternate[T any](done <-chan struct{}, a, b T) func(func(T) bool) {
	return func(yield func(T) bool) {
		for {
			select {
			case <-done:
				return
			default:
				if !yield(a) || !yield(b) {
					return
				}
			}
		}
	}
}
