package store

import (
	"context"
	"fmt"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
)

// Apply moves a replica forward by one small delta that is at hand: page returns it for a replica that stands at a head,
// with all rows and dead runs above that head's seq; an empty record stands for the one held. What comes of it is proved
// like any other transfer, and a larger one that was under way is given up, since the replica moved. It returns what is
// held then.
//
// Nothing changes after an error: [ErrNotFound] without a replica, [ErrBusy] while a transfer fills the location,
// [index.ErrEpochChanged] and [index.ErrBelowHorizon] if the page doesn't begin where the replica stands, [ErrMismatch]
// if what comes out is not what the owner signed.
func (s *Store) Apply(ctx context.Context, l index.Location, page func(held *index.Head) index.Page) (Held, error) {
	if l.Owner == s.self {
		return Held{}, fmt.Errorf("location %v is our own: %w", l, index.ErrInvalid)
	}
	if err := s.claim(l); err != nil {
		return Held{}, err
	}
	held, err := s.applyPage(ctx, &Intake{s: s, loc: l, kind: stageDelta}, page)
	s.unclaim(l)
	if err != nil {
		return held, fmt.Errorf("apply: %w", err)
	}
	return held, nil
}

func (s *Store) applyPage(ctx context.Context, in *Intake, page func(*index.Head) index.Page) (Held, error) {
	held, err := s.Held(ctx, in.loc)
	if err != nil {
		return held, err
	}
	p := page(&held.Head.Head)
	if len(p.Record) == 0 {
		p.Record = held.Raw
	}
	next, done, err := index.NewDelta(held.Head.Head).Advance(&p, proof.FoldDead)
	if err == nil && !done {
		err = fmt.Errorf("page without an end: %w", index.ErrPageOrder)
	}
	if err != nil {
		return held, err
	}
	in.rows, in.dead, in.token = p.Rows, p.Dead, next
	if err := in.finish(ctx, &p); err != nil {
		return held, err
	}
	held.Head, held.Raw = p.Head, p.Record
	if err := held.Record.UnmarshalBinary(p.Record); err != nil {
		return held, err
	}
	return held, s.dropStaging(in.loc) // what lies there leads on from where the replica was
}
