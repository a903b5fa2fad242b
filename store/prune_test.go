package store

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/peerdex/peerdex/index"
)

func TestHowManyDeadRunsStay(t *testing.T) {
	x := limits{minDead: 1_000, maxDead: 100_000}
	for _, c := range []struct{ runs, live, keep int64 }{
		{0, 1, 0},
		{1_000, 1, 1_000},
		{1_001, 1, 500},
		{5_000, 5_000, 5_000},
		{5_001, 5_000, 2_500},
		{100_000, 1_000_000, 100_000},
		{100_001, 1_000_000, 50_000},
	} {
		if got := x.keepDead(c.runs, c.live); got != c.keep {
			t.Errorf("%d of %d runs stay beside %d entries, want %d", got, c.runs, c.live, c.keep)
		}
	}
}

// deleting commits n entries and deletes them one by one, so that each is a run of its own.
func deleting(t *testing.T, s *Store, l index.Location, name string, n int) {
	t.Helper()
	var cs []index.Change
	for i := range n {
		cs = append(cs, put(fmt.Sprintf("%s%d", name, i), 1), put(fmt.Sprintf("kept after %s%d", name, i), 1))
	}
	for i := range n {
		cs = append(cs, del(fmt.Sprintf("%s%d", name, i)))
	}
	commit(t, s, l, cs...)
}

// TestPrune follows an owner and two replicas, each of which prunes by itself, and one that was away meanwhile.
func TestPrune(t *testing.T) {
	owner, near, away, third := newStore(t), newStore(t), newStore(t), newStore(t)
	for _, s := range []*Store{owner, near, away} {
		s.limits.minDead, s.limits.maxDead = 4, 10
	}
	l := newLocationIn(t, owner)
	deleting(t, owner, l, "a", 8)
	for _, s := range []*Store{near, away} {
		if err := pull(t.Context(), owner, s, l, 5); err != nil {
			t.Fatal(err)
		}
	}
	before, _ := owner.Held(t.Context(), l)
	if n, err := owner.Prune(t.Context(), l); n != 0 || err != nil {
		t.Fatalf("few dead runs: %d pruned, %v", n, err)
	}
	deleting(t, owner, l, "b", 8)
	if err := pull(t.Context(), owner, near, l, 5); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*Store{owner, near} {
		was, _ := s.Held(t.Context(), l)
		rows := dump(t, s, l)
		if n, err := s.Prune(t.Context(), l); err != nil || s == owner && n != 11 || s == near && n != 0 {
			t.Fatalf("%d pruned, %v", n, err) // the replica had a full transfer first: it has the 8 runs since
		}
		now, _ := s.Held(t.Context(), l)
		if now.Head != was.Head || s == owner && now.Horizon <= before.Head.Seq || len(dump(t, s, l)) != len(rows) {
			t.Fatalf("pruning changed %+v to %+v", was, now)
		}
		if err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	// Below the horizon of the owner there is a typed error; another provider may still have the delta.
	if err := pull(t.Context(), owner, away, l, 5); !errors.Is(err, index.ErrBelowHorizon) {
		t.Fatalf("a delta from below the horizon: %v", err)
	}
	if err := pull(t.Context(), near, away, l, 5); err != nil {
		t.Fatal(err)
	}
	equal(t, owner, away, l)
	deleting(t, owner, l, "c", 3)
	if err := pull(t.Context(), owner, near, l, 5); err != nil {
		t.Fatalf("a delta from above the horizon: %v", err)
	}
	equal(t, owner, near, l)
	if n, err := near.Prune(t.Context(), l); n != 6 || err != nil {
		t.Fatalf("the replica: %d pruned, %v", n, err)
	}
	// A native snapshot brings the runs that are left, and proves them.
	for _, from := range []*Store{owner, near} {
		if _, err := take(t.Context(), from, third, l, Native); err != nil {
			t.Fatal(err)
		}
		a, errA := readState(from, l)
		b, errB := readState(third, l)
		if errA != nil || errB != nil || len(a.dead) == 0 || !slices.Equal(a.dead, b.dead) || b.horizon < a.horizon || b.horizon >= firstDead(b) {
			t.Fatalf("dead runs %q from %d on, the snapshot's %q from %d on, %v %v", a.dead, a.horizon, b.dead, b.horizon, errA, errB)
		}
		if err := third.Drop(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
}

func firstDead(st state) int64 {
	var seq int64
	_, _ = fmt.Sscanf(st.dead[0], "D %d", &seq)
	return seq
}

// TestPruneIsRefused on what can't be written.
func TestPruneIsRefused(t *testing.T) {
	s := newStore(t)
	l := newLocationIn(t, s)
	reader, err := OpenReadOnly(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Prune(t.Context(), l); !errors.Is(err, index.ErrInvalid) {
		t.Errorf("read-only: %v", err)
	}
	if err := reader.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Prune(t.Context(), index.Location{}); !errors.Is(err, ErrNotFound) {
		t.Errorf("no location: %v", err)
	}
}
