package store

import (
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"testing"

	"github.com/peerdex/peerdex/index"
)

// TestBeside changes, adds and deletes entries at random, where a second connection hashes half of the leaves beside the
// writer, at the owner and at its replica: the trees have to be those of the rows.
func TestBeside(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			ctx := context.Background()
			owner, replica := newStore(t), newStore(t)
			for _, s := range []*Store{owner, replica} {
				s.limits.besideLeaves = 1
			}
			l := newLocationIn(t, owner)
			commit(t, owner, l, all(generate(6000, seed))...)
			r := rand.New(rand.NewPCG(seed, 5))
			for round := range 5 {
				if err := pull(ctx, owner, replica, l, 500); err != nil {
					t.Fatal(err)
				}
				for _, s := range []*Store{owner, replica} {
					if err := s.CheckLocation(ctx, l, CheckOptions{Deep: true}); err != nil {
						t.Fatalf("round %d: %v", round, err)
					}
				}
				commit(t, owner, l, scattered(t, owner, l, r)...)
			}
		})
	}
}

// all collects a stream of changes that has no errors.
func all(stream iter.Seq2[index.Change, error]) (out []index.Change) {
	for ch := range stream {
		out = append(out, ch)
	}
	return out
}

// scattered makes changes all over a location: some rows twice, some deleted after they were changed, some new.
func scattered(t *testing.T, s *Store, l index.Location, r *rand.Rand) []index.Change {
	t.Helper()
	held, err := s.Held(context.Background(), l)
	if err != nil {
		t.Fatal(err)
	}
	var out []index.Change
	next := held.Head.NextID
	gone := map[int64]bool{}
	for range 60 {
		id := 2 + r.Int64N(held.Head.NextID-2)
		e, err := s.Entry(context.Background(), l, id)
		if err != nil || gone[id] || e.Kind == index.KindDir {
			continue
		}
		for range 1 + r.IntN(2) {
			e.Size++
			out = append(out, index.Change{Op: index.Put, Entry: e})
		}
		switch r.IntN(4) {
		case 0:
			out = append(out, index.Change{Op: index.Delete, Entry: index.Entry{ID: id}})
			gone[id] = true
		case 1:
			e.ID, e.Name = next, fmt.Sprintf("new %d", next)
			next++
			out = append(out, index.Change{Op: index.Put, Entry: e})
		}
	}
	return out
}
