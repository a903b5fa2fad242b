package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
)

// answerOf is an answer about a location at its head.
func answerOf(t testing.TB, s *Store, l index.Location, body string) *Answer {
	t.Helper()
	held, err := s.Held(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	return &Answer{Head: held.Head, Record: held.Raw, Device: index.DeviceID{4}, Found: body != "", Body: []byte(body)}
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := newLocationIn(t, s)
	ctx := t.Context()
	q1, q2 := index.Hash{1}, index.Hash{2}
	if _, err := s.Answer(ctx, l, q1); !errors.Is(err, ErrNotFound) {
		t.Errorf("nothing was kept: %v", err)
	}
	if exists(s.cache.path) {
		t.Error("asking made a file")
	}
	if err := s.ForgetAnswers(ctx, l); err != nil {
		t.Errorf("forget nothing: %v", err)
	}
	for _, body := range []string{"first", "second", ""} {
		want := answerOf(t, s, l, body)
		if err := s.KeepAnswer(ctx, q1, want); err != nil {
			t.Fatal(err)
		}
		got, err := s.Answer(ctx, l, q1)
		if err != nil || !bytes.Equal(got.Body, want.Body) {
			t.Fatalf("%q: %+v, %v", body, got, err)
		}
		got.Body, want.Body = nil, nil
		if d := cmp.Diff(*want, got); d != "" {
			t.Errorf("%q (-want +got):\n%s", body, d)
		}
	}
	other := l
	other.ID[0] ^= 1
	for _, miss := range []struct {
		l index.Location
		q index.Hash
	}{{l, q2}, {other, q1}} {
		if _, err := s.Answer(ctx, miss.l, miss.q); !errors.Is(err, ErrNotFound) {
			t.Errorf("another question: %v", err)
		}
	}
	r, err := OpenReadOnly(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Answer(ctx, l, q1); err != nil {
		t.Errorf("read beside: %v", err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
	for _, want := range []bool{true, false} {
		if has, err := s.HasAnswers(ctx, l); has != want || err != nil {
			t.Errorf("has %v, want %v: %v", has, want, err)
		}
		if err := s.ForgetAnswers(ctx, l); err != nil {
			t.Error(err)
		}
	}
}

// TestAnswersAreBounded keeps more than may be kept, by number and by size: those used last stay.
func TestAnswersAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for what, limit := range map[string]func(k *cache){
			"number": func(k *cache) { k.max.answers, k.max.bytes = 50, 1<<20 },
			"size":   func(k *cache) { k.max.bytes = 50 * (1000 + answerOverhead + 300) },
		} {
			s := newStore(t)
			l := newLocationIn(t, s)
			limit(s.cache)
			body := string(make([]byte, 1000))
			keep := func(i byte) {
				t.Helper()
				if err := s.KeepAnswer(t.Context(), index.Hash{i}, answerOf(t, s, l, body)); err != nil {
					t.Fatal(err)
				}
				time.Sleep(time.Second)
			}
			has := func(i byte) bool {
				_, err := s.Answer(context.Background(), l, index.Hash{i})
				return err == nil
			}
			keep(1)
			keep(2)
			for i := byte(10); i < 200; i++ {
				if time.Sleep(usedEvery); !has(1) {
					t.Fatalf("%s: one that is used was forgotten after %d others", what, i-10)
				}
				keep(i)
			}
			n := 0
			for i := range byte(200) {
				if has(i) {
					n++
				}
			}
			if has(2) || has(10) || !has(199) || n < 40 || n > 60 {
				t.Errorf("%s: %d are kept", what, n)
			}
			if err := s.KeepAnswer(t.Context(), index.Hash{201}, answerOf(t, s, l, string(make([]byte, 1<<20)))); err != nil || has(201) {
				t.Errorf("%s: larger than the cache: %v", what, err)
			}
		}
	})
}

// TestAnswersOfAnotherLibrary drops what was answered before this device entered its library.
func TestAnswersOfAnotherLibrary(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := newLocationIn(t, s)
	a := answerOf(t, s, l, "x")
	if err := s.KeepAnswer(t.Context(), index.Hash{1}, a); err != nil {
		t.Fatal(err)
	}
	if err := s.EnterLibrary(t.Context(), a.Head.Library); err != nil {
		t.Fatal(err)
	}
	if has, err := s.HasAnswers(t.Context(), l); !has || err != nil {
		t.Errorf("the same library: %v, %v", has, err)
	}
	if err := s.EnterLibrary(t.Context(), index.LibraryID{9}); err != nil {
		t.Fatal(err)
	}
	if has, err := s.HasAnswers(t.Context(), l); has || err != nil {
		t.Errorf("another library: %v, %v", has, err)
	}
}

// TestDamagedAnswers damages the file of the cache, before it is opened and while it is open.
func TestDamagedAnswers(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := newLocationIn(t, s)
	ctx := t.Context()
	if err := os.WriteFile(s.cache.path, bytes.Repeat([]byte("nonsense"), 1000), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Answer(ctx, l, index.Hash{1}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a damaged file: %v", err)
	}
	if err := s.KeepAnswer(ctx, index.Hash{1}, answerOf(t, s, l, "x")); err != nil {
		t.Errorf("keep after damage: %v", err)
	}
	err := s.cache.with(ctx, false, func(c *conn) error {
		return c.script("UPDATE answer SET head = x'00'")
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Answer(ctx, l, index.Hash{1}); !errors.Is(err, ErrCorrupt) {
		t.Errorf("a damaged row: %v", err)
	}
	if _, err := s.Answer(ctx, l, index.Hash{1}); !errors.Is(err, ErrNotFound) {
		t.Errorf("after that: %v", err)
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	ctx := t.Context()
	one := index.Location{Owner: index.DeviceID{1}, ID: index.LocationID{2}}
	device := index.Location{Owner: index.DeviceID{1}}
	want := map[index.Location]string{}
	for _, step := range []struct {
		l      index.Location
		policy string
	}{{one, "lazy"}, {device, "off"}, {one, "full"}, {device, ""}, {device, ""}, {one, ""}} {
		if err := s.SetPolicy(ctx, step.l, step.policy); err != nil {
			t.Fatal(err)
		}
		if want[step.l] = step.policy; step.policy == "" {
			delete(want, step.l)
		}
		got, err := s.Policies(ctx)
		if d := cmp.Diff(want, got); d != "" || err != nil {
			t.Errorf("after %+v: %v\n%s", step, err, d)
		}
	}
}

// TestSize compares with the file once its log is in it.
func TestSize(t *testing.T) {
	s := newStore(t)
	l := newLocationIn(t, s)
	if _, err := s.Size(t.Context(), index.Location{Owner: s.Self()}); !errors.Is(err, ErrNotFound) {
		t.Errorf("of none: %v", err)
	}
	before, err := s.Size(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	var files []index.Change
	for i := range 1000 {
		files = append(files, put(fmt.Sprintf("a file with a long name, number %d", i), 1))
	}
	commit(t, s, l, files...)
	after, err := s.Size(t.Context(), l)
	if err != nil || after <= before {
		t.Errorf("%d bytes, then %d, %v", before, after, err)
	}
	snap, err := s.Export(t.Context(), l, Native)
	if err != nil {
		t.Fatal(err)
	}
	if snap.Size != after {
		t.Errorf("%d bytes, a native snapshot has %d", after, snap.Size)
	}
	if err := snap.Close(); err != nil {
		t.Error(err)
	}
}

// TestTotals adds up folders, and compares with adding up what a dump has.
func TestTotals(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := newLocationIn(t, s)
	ctx := t.Context()
	const large = 1<<62 + 5
	commit(t, s, l, put("a/b/c.txt", 5), put("a/d.txt", 1<<40), put("e.txt", 7), put("huge/1", large), put("huge/2", 3), put("over/1", large), put("over/2", large))
	root := dump(t, s, l)
	for _, c := range []struct {
		path string
		want Totals
	}{
		{"", Totals{Entries: int64(len(root)) - 1, Folders: 4, Bytes: 1<<63 - 1}},
		{"a", Totals{Entries: 3, Folders: 1, Bytes: 5 + 1<<40}},
		{"a/b", Totals{Entries: 1, Bytes: 5}},
		{"e.txt", Totals{Bytes: 7}},
		{"huge", Totals{Entries: 2, Bytes: large + 3}},
		{"over", Totals{Entries: 2, Bytes: 1<<63 - 1}},
	} {
		f, got, err := s.Totals(ctx, l, 0, c.path)
		if d := cmp.Diff(c.want, got); d != "" || err != nil {
			t.Errorf("%q: %v\n%s", c.path, err, d)
		}
		if byID, same, err := s.Totals(ctx, l, f.Entry.ID, ""); err != nil || same != got || byID.In.Head != f.In.Head {
			t.Errorf("%q by id: %+v, %v", c.path, same, err)
		}
	}
	for what, get := range map[string]func() (Found, error){
		"totals": func() (Found, error) { f, _, err := s.Totals(ctx, l, 0, "none"); return f, err },
		"get":    func() (Found, error) { f, _, err := s.Get(ctx, l, 999, ""); return f, err },
		"list": func() (Found, error) {
			got, err := s.ListFolder(ctx, l, 0, "none", "", 1)
			return Found{In: &State{Head: got.Head}}, err
		},
	} {
		if f, err := get(); !errors.Is(err, ErrNotFound) || f.In == nil || f.In.Head.Seq == 0 {
			t.Errorf("%s of nothing: %+v, %v", what, f.In, err)
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, _, err := s.Totals(ended, l, 1, ""); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
}

// TestSearchTellsStates checks that a search that finds nothing says of which state.
func TestSearchTellsStates(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	l := newLocationIn(t, s)
	res := commit(t, s, l, put("a.txt", 1))
	for _, by := range []OrderBy{ByLocation, ByName} {
		var seen []*State
		r := SearchRequest{Query: mustQuery(t, "nothing"), Locations: []index.Location{l}, Order: Order{By: by}, Seen: func(st *State) { seen = append(seen, st) }}
		if found, err := collectFound(s, r); len(found) > 0 || err != nil || len(seen) != 1 || seen[0].Head != res.Head {
			t.Errorf("%d found, %v, seen %+v", len(found), err, seen)
		}
	}
}
