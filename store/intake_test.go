package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
)

// pull moves a replica to a head of provider, page by page, and returns the token's error if it can't.
func pull(ctx context.Context, from, to *Store, l index.Location, limit int) error {
	held, err := from.Held(ctx, l)
	if err != nil {
		return err
	}
	in, err := intake(ctx, to, l, held.Head.Epoch)
	if err != nil {
		return err
	}
	for {
		done, err := step(ctx, from, in, limit)
		if done || err != nil {
			return errors.Join(err, in.Close())
		}
	}
}

// intake begins a delta if there is a replica that is not quarantined, else a full transfer.
func intake(ctx context.Context, s *Store, l index.Location, e index.Epoch) (*Intake, error) {
	mode := index.ModeDelta
	if _, err := s.Held(ctx, l); errors.Is(err, ErrNotFound) || errors.Is(err, ErrCorrupt) {
		mode = index.ModeFull
	}
	return s.Intake(ctx, l, e, mode)
}

// step takes one page.
func step(ctx context.Context, from *Store, in *Intake, limit int) (bool, error) {
	tok := in.Token()
	p, err := from.Page(ctx, PageRequest{Location: tok.Location, Epoch: tok.Epoch, Mode: tok.Mode, Position: tok.Position, Limit: limit})
	if err != nil {
		return false, err
	}
	next, done, err := tok.Advance(&p, proof.FoldDead)
	if err != nil {
		return false, err
	}
	return done, in.Put(ctx, &p, next, done)
}

func equal(t testing.TB, a, b *Store, l index.Location) {
	t.Helper()
	if x, y := dump(t, a, l), dump(t, b, l); !slices.EqualFunc(x, y, func(p, q index.Entry) bool {
		return p.ID == q.ID && p.Seq == q.Seq && p.SameContent(&q)
	}) {
		t.Fatalf("replicas differ:\n%v\n%v", x, y)
	}
	fa, _ := a.LocationFile(t.Context(), l)
	fb, _ := b.LocationFile(t.Context(), l)
	if rows, diff, err := Diff(t.Context(), fa, fb); err != nil || diff != "" || rows != int64(len(dump(t, a, l))) {
		t.Fatalf("compare: %d rows, %q, %v", rows, diff, err)
	}
}

func TestReplicaFollowsItsOwner(t *testing.T) {
	owner, replica := newStore(t), newStore(t)
	l := newLocationIn(t, owner)
	commit(t, owner, l, put("a/b/c.txt", 3), put("a/d.txt", 4), put("e.txt", 5))
	for round, cs := range [][]index.Change{
		nil,
		{put("a/d.txt", 40), put("new/x", 1)},
		{del("a"), put("a/again", 2)},
		{del("new"), del("e.txt")},
	} {
		commit(t, owner, l, cs...)
		for _, limit := range []int{1000, 1} {
			if err := pull(t.Context(), owner, replica, l, limit); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
			equal(t, owner, replica, l)
		}
	}
	anew, err := replica.Intake(t.Context(), l, index.Epoch{}, index.ModeDelta)
	if !errors.Is(err, index.ErrEpochChanged) || anew != nil {
		t.Fatalf("delta of another epoch: %v", err)
	}
	mine, _ := owner.Held(t.Context(), l)
	theirs, err := replica.Held(t.Context(), l)
	if err != nil || mine.Head != theirs.Head || theirs.Horizon == 0 {
		t.Fatalf("heads %+v, %+v, %v", mine.Head, theirs.Head, err)
	}
}

// TestLargeDeltaGoesThroughStaging runs a delta too large for memory, cut in the middle and resumed by another Intake.
func TestLargeDeltaGoesThroughStaging(t *testing.T) {
	owner, replica := newStore(t), newStore(t)
	l := newLocationIn(t, owner)
	if _, err := owner.Commit(t.Context(), l, generate(3*deltaInMemory, 1), CommitOptions{AsOf: time.Now}); err != nil {
		t.Fatal(err)
	}
	if err := pull(t.Context(), owner, replica, l, 4096); err != nil {
		t.Fatal(err)
	}
	edit := func(yield func(index.Change, error) bool) {
		for _, e := range dump(t, owner, l) {
			if e.ID > 1 && e.Kind == index.KindFile {
				if e.Size++; !yield(index.Change{Op: index.Put, Entry: e}, nil) {
					return
				}
			}
		}
		for _, e := range dump(t, owner, l) {
			if e.Parent == 1 && e.Kind == index.KindDir {
				yield(index.Change{Op: index.Delete, Entry: index.Entry{ID: e.ID}}, nil)
				return
			}
		}
	}
	if _, err := owner.Commit(t.Context(), l, edit, CommitOptions{AsOf: time.Now}); err != nil {
		t.Fatal(err)
	}
	held, _ := owner.Held(t.Context(), l)
	in, err := intake(t.Context(), replica, l, held.Head.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := intake(t.Context(), replica, l, held.Head.Epoch); !errors.Is(err, ErrBusy) {
		t.Fatalf("a second intake: %v", err)
	}
	for in.stage == nil {
		if done, err := step(t.Context(), owner, in, 1000); done || err != nil {
			t.Fatalf("before the cut: %v, %v", done, err)
		}
	}
	at := in.Token().Position
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if in, err = intake(t.Context(), replica, l, held.Head.Epoch); err != nil || in.Token().Position != at {
		t.Fatalf("resumed at %d, want %d: %v", in.Token().Position, at, err)
	}
	for done := false; !done; {
		if done, err = step(t.Context(), owner, in, 1000); err != nil {
			t.Fatal(err)
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	equal(t, owner, replica, l)
	if left, _ := os.ReadDir(replica.dir + "/staging"); len(left) != 0 {
		t.Errorf("left in staging: %v", left)
	}
}

// TestFullTransferResumesAfterRestart cuts a first sync, reopens the store, and goes on where it was.
func TestFullTransferResumesAfterRestart(t *testing.T) {
	owner := newStore(t)
	l := newLocationIn(t, owner)
	if _, err := owner.Commit(t.Context(), l, generate(12_000, 1), CommitOptions{AsOf: time.Now}); err != nil {
		t.Fatal(err)
	}
	held, _ := owner.Held(t.Context(), l)
	dir := t.TempDir()
	replica, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	in, err := intake(t.Context(), replica, l, held.Head.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	for range 8 {
		if _, err := step(t.Context(), owner, in, 1000); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(in.Close(), replica.Close()); err != nil {
		t.Fatal(err)
	}
	replica = openStore(t, dir)
	if _, err := replica.Held(t.Context(), l); !errors.Is(err, ErrNotFound) {
		t.Fatalf("an unfinished replica is visible: %v", err)
	}
	if in, err = intake(t.Context(), replica, l, held.Head.Epoch); err != nil || in.Token().Position != 8000 {
		t.Fatalf("resumed at %+v: %v", in.Token(), err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if err := pull(t.Context(), owner, replica, l, 1000); err != nil {
		t.Fatal(err)
	}
	equal(t, owner, replica, l)
}

// TestWhatWasNotSignedIsRefused changes pages on the way. The replica must stay as it was.
func TestWhatWasNotSignedIsRefused(t *testing.T) {
	owner := newStore(t)
	l := newLocationIn(t, owner)
	commit(t, owner, l, put("a", 1), put("b", 2), put("c", 3))
	for name, tamper := range map[string]func(*index.Page){
		"a row hidden":       func(p *index.Page) { p.Rows = p.Rows[:max(len(p.Rows)-1, 0)] },
		"a row changed":      func(p *index.Page) { p.Rows[0].Size++ },
		"a row renamed":      func(p *index.Page) { p.Rows[len(p.Rows)-1].Name = "made up" },
		"another record":     func(p *index.Page) { p.Record = append([]byte{1}, p.Record...) },
		"a dead run hidden":  func(p *index.Page) { p.Dead = nil },
		"a dead run changed": func(p *index.Page) { tamperDead(p) },
	} {
		replica := newStore(t)
		if err := pull(t.Context(), owner, replica, l, 100); err != nil {
			t.Fatal(err)
		}
		commit(t, owner, l, put("a", 10+rand.Int64N(1000)), put("d"+name, 4), del("b"), put("b", rand.Int64N(1000)))
		before := dump(t, replica, l)
		held, _ := owner.Held(t.Context(), l)
		in, err := intake(t.Context(), replica, l, held.Head.Epoch)
		if err != nil {
			t.Fatal(err)
		}
		tok := in.Token()
		p, err := owner.Page(t.Context(), PageRequest{Location: l, Epoch: tok.Epoch, Mode: tok.Mode, Position: tok.Position, Limit: 100})
		if err != nil {
			t.Fatal(err)
		}
		tamper(&p)
		next, done, err := tok.Advance(&p, proof.FoldDead)
		if err != nil || !done {
			t.Fatalf("%s: advance: %v, %v", name, done, err)
		}
		if err := in.Put(t.Context(), &p, next, done); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s: %v, want a mismatch", name, err)
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		if after := dump(t, replica, l); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("%s: rows became visible", name)
		}
	}
}

func tamperDead(p *index.Page) {
	for i := range p.Dead {
		p.Dead[i].Hi = p.Dead[i].Lo + 1
	}
}

// TestFirstSyncIsProved changes one byte of a first sync: nothing of it becomes visible.
func TestFirstSyncIsProved(t *testing.T) {
	owner, replica := newStore(t), newStore(t)
	l := newLocationIn(t, owner)
	commit(t, owner, l, put("a", 1), put("b", 2))
	held, _ := owner.Held(t.Context(), l)
	in, err := intake(t.Context(), replica, l, held.Head.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	for done := false; !done && err == nil; {
		tok := in.Token()
		p, perr := owner.Page(t.Context(), PageRequest{Location: l, Epoch: tok.Epoch, Mode: tok.Mode, Position: tok.Position, Limit: 100})
		if perr != nil {
			t.Fatal(perr)
		}
		if len(p.Rows) > 0 {
			p.Rows[1].MTime ^= 1
		}
		var next index.Token
		if next, done, err = tok.Advance(&p, proof.FoldDead); err != nil {
			t.Fatal(err)
		}
		err = in.Put(t.Context(), &p, next, done)
	}
	if !errors.Is(err, ErrMismatch) {
		t.Errorf("a changed time: %v, want a mismatch", err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := replica.Held(t.Context(), l); !errors.Is(err, ErrNotFound) {
		t.Errorf("rows became visible: %v", err)
	}
}

// TestResumeRule is the property behind every transfer: whatever the owner does meanwhile, however far behind the
// providers of single pages are, whatever they forgot of deletions, and wherever it is cut, a transfer that says it is done
// holds exactly the rows of the head it names. Providers are real stores that pull from the owner only now and then, and
// prune their dead runs when they like.
func TestResumeRule(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ctx := context.Background()
		dirs, err := os.MkdirTemp(memoryDir(), "peerdex-test-")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dirs)
		open := func(name string) *Store {
			s, err := Open(dirs + fmt.Sprintf("/%s-%d", name, rand.Uint64()))
			if err != nil {
				rt.Fatal(err)
			}
			s.limits.minDead, s.limits.maxDead = 2, 4
			return s
		}
		stores := []*Store{open("owner"), open("relay1"), open("relay2"), open("receiver")}
		defer func() {
			for _, s := range stores {
				if err := errors.Join(s.Check(ctx), s.Close()); err != nil {
					rt.Fatal(err)
				}
			}
		}()
		owner, receiver := stores[0], stores[3]
		providers := stores[:3]
		l := newLocationIn(t, owner)
		signed := map[int64][]index.Entry{} // the rows of every state, by seq
		ops := func() {
			randomOps(rt, owner, l)
			held, err := owner.Held(ctx, l)
			if err != nil {
				rt.Fatal(err)
			}
			signed[held.Head.Seq] = dump(t, owner, l)
		}
		for range 4 {
			ops()
		}
		for _, relay := range stores[1:3] {
			if err := pull(ctx, owner, relay, l, 3); err != nil {
				rt.Fatal(err)
			}
		}
		for round := range rapid.IntRange(1, 3).Draw(rt, "rounds") {
			transfer(rt, providers, receiver, l, ops)
			held, err := receiver.Held(ctx, l)
			if err != nil {
				rt.Fatalf("round %d: %v", round, err)
			}
			if got, want := dump(t, receiver, l), signed[held.Head.Seq]; !slices.EqualFunc(got, want, func(a, b index.Entry) bool {
				return a.ID == b.ID && a.Seq == b.Seq && a.SameContent(&b)
			}) {
				rt.Fatalf("round %d: at seq %d the receiver has\n%+v\nits owner had\n%+v", round, held.Head.Seq, got, want)
			}
		}
	})
}

// memoryDir is a folder whose fsync is free, so that the property runs on many cases; "" where there is none.
func memoryDir() string {
	if _, err := os.Stat("/dev/shm"); err == nil {
		return "/dev/shm"
	}
	return ""
}

// transfer moves the receiver forward once, each page from a provider drawn by lot, with cuts. When nobody has the deltas
// from its position any more, it begins anew.
func transfer(rt *rapid.T, providers []*Store, receiver *Store, l index.Location, ops func()) {
	ctx := context.Background()
	must := func(err error) {
		rt.Helper()
		if err != nil {
			rt.Fatal(err)
		}
	}
	held, err := providers[0].Held(ctx, l)
	must(err)
	in, err := intake(ctx, receiver, l, held.Head.Epoch)
	must(err)
	for n := 0; ; n++ {
		from := providers[rapid.IntRange(0, len(providers)-1).Draw(rt, "provider")]
		if n > 60 {
			from = providers[0]
		}
		switch rapid.IntRange(0, 10).Draw(rt, "meanwhile") {
		case 0, 1, 2:
			if n < 40 {
				ops()
			}
		case 3:
			relay := providers[rapid.IntRange(1, 2).Draw(rt, "relay")]
			if err := pull(ctx, providers[0], relay, l, 2); !errors.Is(err, index.ErrBelowHorizon) {
				must(err)
			}
		case 4:
			must(in.Close())
			in, err = intake(ctx, receiver, l, held.Head.Epoch)
			must(err)
		case 5:
			_, err := rapid.SampledFrom(providers).Draw(rt, "forgetful").Prune(ctx, l)
			must(err)
		}
		done, err := step(ctx, from, in, rapid.IntRange(1, 4).Draw(rt, "limit"))
		switch {
		case errors.Is(err, index.ErrBelowHorizon) && n > 60:
			must(errors.Join(in.Discard(), in.Close()))
			in, err = receiver.Intake(ctx, l, held.Head.Epoch, index.ModeFull)
			must(err)
		case !errors.Is(err, index.ErrProviderBehind) && !errors.Is(err, index.ErrBelowHorizon):
			must(err)
		}
		if done {
			must(in.Close())
			return
		}
	}
}

// randomOps commits a few changes of every sort: new entries, edits, moves, deletions of trees.
func randomOps(rt *rapid.T, s *Store, l index.Location) {
	ctx := context.Background()
	rows := map[int64]index.Entry{}
	held, err := s.Held(ctx, l)
	if err != nil {
		rt.Fatal(err)
	}
	for e, err := range s.Children(ctx, l, 1) {
		if err != nil {
			rt.Fatal(err)
		}
		rows[e.ID] = e
	}
	var folders, all []int64
	for id, e := range rows {
		all = append(all, id)
		if e.Kind == index.KindDir {
			folders = append(folders, id)
		}
	}
	slices.Sort(all)
	slices.Sort(folders)
	var cs []index.Change
	next := held.Head.NextID
	for range rapid.IntRange(1, 5).Draw(rt, "new") {
		kind := index.KindFile
		if rapid.Bool().Draw(rt, "folder") {
			kind = index.KindDir
		}
		parent := int64(1)
		if len(folders) > 0 && rapid.Bool().Draw(rt, "below") {
			parent = rapid.SampledFrom(folders).Draw(rt, "parent")
		}
		cs = append(cs, index.Change{Op: index.Put, Entry: index.Entry{ID: next, Parent: parent, Name: fmt.Sprintf("n%d", next), Kind: kind}})
		next++
	}
	if len(all) > 2 {
		victim := rapid.SampledFrom(all).Draw(rt, "victim")
		e := rows[victim]
		switch rapid.IntRange(0, 2).Draw(rt, "op") {
		case 0:
			e.MTime++
			cs = append(cs, index.Change{Op: index.Put, Entry: e})
		case 1:
			if len(folders) > 0 {
				e.Parent = rapid.SampledFrom(folders).Draw(rt, "target")
				if e.Parent != e.ID {
					cs = append(cs, index.Change{Op: index.Put, Entry: e})
				}
			}
		case 2:
			cs = append(cs, index.Change{Op: index.Delete, Entry: index.Entry{ID: victim}})
		}
	}
	if _, err := s.Commit(ctx, l, changes(cs...), CommitOptions{AsOf: time.Now}); err != nil {
		rt.Fatalf("%v: %+v", err, cs)
	}
}
