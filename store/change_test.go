package store

import (
	"errors"
	"testing"

	"github.com/peerdex/peerdex/index"
)

// above returns the changes of a location from a seq on, as a page for whoever stands at or above it.
func above(t *testing.T, s *Store, l index.Location, seq int64) func(*index.Head) index.Page {
	t.Helper()
	held, err := s.Held(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	return func(at *index.Head) index.Page {
		t.Helper()
		if at.Seq < seq {
			return index.Page{Head: held.Head, Horizon: seq, UpTo: held.Head.Seq, Exhausted: true}
		}
		p, err := s.Page(t.Context(), PageRequest{Location: l, Epoch: held.Head.Epoch, Mode: index.ModeDelta, Position: at.Seq, Limit: 1000})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
}

// TestApply moves a replica by changes that are at hand.
func TestApply(t *testing.T) {
	owner, replica := newStore(t), newStore(t)
	l := newLocationIn(t, owner)
	commit(t, owner, l, put("a/b", 1), put("a/c", 2))
	if _, err := replica.Apply(t.Context(), l, above(t, owner, l, 0)); !errors.Is(err, ErrNotFound) {
		t.Fatalf("without a replica: %v", err)
	}
	if err := pull(t.Context(), owner, replica, l, 100); err != nil {
		t.Fatal(err)
	}
	// A large delta is half received, and given up when the replica moves by something else.
	in, err := intake(t.Context(), replica, l, mustHold(t, owner, l).Head.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := replica.Apply(t.Context(), l, above(t, owner, l, 0)); !errors.Is(err, ErrBusy) {
		t.Fatalf("while a transfer is under way: %v", err)
	}
	if err := errors.Join(in.openStage(in.Token()), in.Close()); err != nil {
		t.Fatal(err)
	}
	commit(t, owner, l, put("a/d", 3), del("a/b"))
	same := func(at *index.Head) index.Page { // the record is the one held
		p := above(t, owner, l, 0)(at)
		p.Record = nil
		return p
	}
	for name, page := range map[string]func(*index.Head) index.Page{
		"a row changed": func(at *index.Head) index.Page { p := same(at); p.Rows[0].Size++; return p },
		"a row less":    func(at *index.Head) index.Page { p := same(at); p.Rows = p.Rows[1:]; return p },
		"no deletion":   func(at *index.Head) index.Page { p := same(at); p.Dead = nil; return p },
		"other record":  func(at *index.Head) index.Page { p := same(at); p.Record = []byte("record"); return p },
	} {
		if _, err := replica.Apply(t.Context(), l, page); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s: %v", name, err)
		}
	}
	before := mustHold(t, replica, l)
	if _, err := replica.Apply(t.Context(), l, above(t, owner, l, before.Head.Seq+1)); !errors.Is(err, index.ErrBelowHorizon) {
		t.Errorf("above the replica: %v", err)
	}
	if mustHold(t, replica, l).Head != before.Head {
		t.Error("the replica moved")
	}
	held, err := replica.Apply(t.Context(), l, same)
	if err != nil || held.Head != mustHold(t, owner, l).Head || mustHold(t, replica, l).Head != held.Head {
		t.Fatalf("%+v, %v", held.Head, err)
	}
	equal(t, owner, replica, l)
	if exists(replica.stagingPath(l, stageDelta)) {
		t.Error("what was staged for the state before is still there")
	}
	if _, err := owner.Apply(t.Context(), l, same); !errors.Is(err, index.ErrInvalid) {
		t.Errorf("our own location: %v", err)
	}
}

func mustHold(t *testing.T, s *Store, l index.Location) Held {
	t.Helper()
	held, err := s.Held(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	return held
}
