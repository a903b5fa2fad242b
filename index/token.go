package index

import (
	"errors"
	"fmt"

	"github.com/peerdex/peerdex/index/internal/canon"
)

// Mode is the order in which a transfer takes rows. Values are part of the formats.
type Mode uint8

// The modes of a transfer.
const (
	ModeFull  Mode = 1 // all live rows in id order, then the delta from the base
	ModeDelta Mode = 2 // rows and dead runs above a seq, in seq order
)

// Errors of a transfer's rule.
var (
	// ErrEpochChanged is returned when a page comes from another epoch than the transfer's: plan again.
	ErrEpochChanged = errors.New("the location began a new epoch")
	// ErrProviderBehind is returned when a provider's head is below the position: try another provider.
	ErrProviderBehind = errors.New("the provider is behind the position")
	// ErrBelowHorizon is returned when a provider no longer has the deltas from the position on.
	ErrBelowHorizon = errors.New("the position is below the provider's horizon")
	// ErrPageOrder is returned when a page's rows are not in order, or outside of what was asked.
	ErrPageOrder = errors.New("page out of order")
)

// Page is one piece of a transfer: rows, and in delta mode dead runs, above a position, read in one read transaction
// together with the head they were read at.
type Page struct {
	Head      SignedHead
	Record    []byte // canonical bytes of the location's record at Head
	Horizon   int64  // lowest seq from which this provider can still serve a delta
	Rows      []Entry
	Dead      []DeadRun // delta mode only
	UpTo      int64     // the position after this page: highest id, or highest seq, that it covers
	Exhausted bool      // nothing lies above UpTo at Head
	LeftRows  int64     // rows above the position before this page; exact on the first page of a request, else -1
	LeftDead  int64     // dead ids above the position, as LeftRows
}

// Token is the resume token of a transfer: all that a receiver must remember for any provider of the epoch to serve
// the next page. The rule: a full pass remembers the lowest head any of its pages came from (Base) and ends with the
// delta from there; a transfer is complete only when a delta page is exhausted at a head that is not below the
// highest head any page came from (Floor). The zero value is not usable: see [NewFull] and [NewDelta].
type Token struct {
	Location Location
	Epoch    Epoch
	Mode     Mode
	Position int64 // highest id taken (full), or highest seq taken (delta)
	Base     Head  // lowest head a page of ids came from, or the head a delta began at
	Floor    Head  // highest head a page came from
	Dead     Hash  // chain of dead runs folded so far, from Base.Dead on (delta)
}

// NewFull begins a full transfer.
func NewFull(l Location, e Epoch) Token { return Token{Location: l, Epoch: e, Mode: ModeFull} }

// NewDelta begins a delta from the head a replica holds.
func NewDelta(held Head) Token {
	return Token{
		Location: held.Location, Epoch: held.Epoch, Mode: ModeDelta, Position: held.Seq,
		Base: held, Floor: held, Dead: held.Dead,
	}
}

// Advance checks a page against the token and returns the token after it. fold continues the chain of dead runs (see
// package proof). done is true when the transfer has reached p.Head, whose count, record and chain then are what
// the receiver must hold. After an error the page is to be thrown away, and the old token still stands.
func (t Token) Advance(p *Page, fold func(Hash, DeadRun) Hash) (next Token, done bool, err error) {
	if p.Head.Location != t.Location {
		return t, false, fmt.Errorf("page of another location: %w", ErrPageOrder)
	}
	if p.Head.Epoch != t.Epoch {
		return t, false, ErrEpochChanged
	}
	if t.Mode == ModeFull {
		next, err = t.advanceFull(p)
		return next, false, err
	}
	return t.advanceDelta(p, fold)
}

func (t Token) advanceFull(p *Page) (Token, error) {
	last := t.Position
	for i := range p.Rows {
		r := &p.Rows[i]
		if r.ID <= last || r.ID > p.UpTo || r.ID >= p.Head.NextID || r.Seq > p.Head.Seq || r.Seq < 1 {
			return t, fmt.Errorf("id %d at seq %d: %w", r.ID, r.Seq, ErrPageOrder)
		}
		last = r.ID
	}
	if p.UpTo < t.Position || len(p.Dead) > 0 || (p.UpTo == t.Position && !p.Exhausted) {
		return t, fmt.Errorf("page up to %d from %d: %w", p.UpTo, t.Position, ErrPageOrder)
	}
	if t.Base.Seq == 0 || p.Head.Seq < t.Base.Seq {
		t.Base = p.Head.Head
	}
	if p.Head.Seq > t.Floor.Seq {
		t.Floor = p.Head.Head
	}
	t.Position = p.UpTo
	if p.Exhausted {
		t.Mode, t.Position, t.Dead = ModeDelta, t.Base.Seq, t.Base.Dead
	}
	return t, nil
}

func (t Token) advanceDelta(p *Page, fold func(Hash, DeadRun) Hash) (Token, bool, error) {
	switch {
	case p.Horizon > t.Position:
		return t, false, ErrBelowHorizon
	case p.Head.Seq < t.Position:
		return t, false, ErrProviderBehind
	case p.UpTo < t.Position || p.UpTo > p.Head.Seq || (p.Exhausted && p.UpTo != p.Head.Seq) ||
		(!p.Exhausted && p.UpTo == t.Position):
		return t, false, fmt.Errorf("page up to %d from %d at %d: %w", p.UpTo, t.Position, p.Head.Seq, ErrPageOrder)
	}
	last := t.Position
	for i := range p.Rows {
		r := &p.Rows[i]
		if r.Seq <= last || r.Seq > p.UpTo || r.ID >= p.Head.NextID {
			return t, false, fmt.Errorf("id %d at seq %d: %w", r.ID, r.Seq, ErrPageOrder)
		}
		last = r.Seq
	}
	last = t.Position
	for _, d := range p.Dead {
		if d.Seq <= last || d.Seq > p.UpTo || d.Hi >= p.Head.NextID {
			return t, false, fmt.Errorf("dead run at seq %d: %w", d.Seq, ErrPageOrder)
		}
		last = d.Seq
		t.Dead = fold(t.Dead, d)
	}
	if p.Head.Seq > t.Floor.Seq {
		t.Floor = p.Head.Head
	}
	t.Position = p.UpTo
	return t, p.Exhausted && p.Head.Seq >= t.Floor.Seq, nil
}

// MarshalBinary returns the canonical bytes: version u8 (1), owner, location, epoch counter u64, epoch random u64,
// mode u8, position u64, dead, then base and floor, each a presence byte and, if 1, the head's canonical bytes.
func (t *Token) MarshalBinary() ([]byte, error) {
	b := append([]byte(nil), 1)
	b = append(b, t.Location.Owner[:]...)
	b = append(b, t.Location.ID[:]...)
	b = canon.AppendU64(b, t.Epoch.Counter)
	b = canon.AppendU64(b, t.Epoch.Random)
	b = append(b, byte(t.Mode))
	b = canon.AppendU64(b, uint64(t.Position))
	b = append(b, t.Dead[:]...)
	for _, h := range []*Head{&t.Base, &t.Floor} {
		if h.Seq == 0 {
			b = append(b, 0)
			continue
		}
		b = h.AppendBytes(append(b, 1))
	}
	return b, nil
}

// UnmarshalBinary reads what MarshalBinary wrote and checks the relations between the fields.
func (t *Token) UnmarshalBinary(b []byte) error {
	c := canon.NewReader(b)
	if v := c.U8(); v != 1 {
		c.Fail(fmt.Errorf("token: version %d: %w", v, ErrInvalid))
	}
	var n Token
	c.Fixed(n.Location.Owner[:])
	c.Fixed(n.Location.ID[:])
	n.Epoch.Counter = c.U64()
	n.Epoch.Random = c.U64()
	n.Mode = Mode(c.U8())
	n.Position = int64(c.U64())
	c.Fixed(n.Dead[:])
	for _, h := range []*Head{&n.Base, &n.Floor} {
		switch p := c.U8(); p {
		case 0:
		case 1:
			*h = readHead(c)
		default:
			c.Fail(fmt.Errorf("token: presence byte %d: %w", p, ErrInvalid))
		}
	}
	if err := c.Close(); err != nil {
		return fmt.Errorf("token: %w", err)
	}
	if err := n.validate(); err != nil {
		return err
	}
	*t = n
	return nil
}

func (t *Token) validate() error {
	if t.Mode != ModeFull && t.Mode != ModeDelta || t.Position < 0 || t.Position > MaxSeq {
		return fmt.Errorf("token: mode %d at position %d: %w", t.Mode, t.Position, ErrInvalid)
	}
	if t.Mode == ModeDelta && t.Base.Seq == 0 || (t.Base.Seq == 0) != (t.Floor.Seq == 0) {
		return fmt.Errorf("token: base or floor missing: %w", ErrInvalid)
	}
	if t.Base.Seq > t.Floor.Seq || t.Mode == ModeDelta && t.Position < t.Base.Seq || t.Base.Seq == 0 && t.Position > 0 {
		return fmt.Errorf("token: position %d, base %d, floor %d: %w", t.Position, t.Base.Seq, t.Floor.Seq, ErrInvalid)
	}
	for _, h := range []*Head{&t.Base, &t.Floor} {
		if h.Seq == 0 {
			if *h != (Head{}) {
				return fmt.Errorf("token: head without a seq: %w", ErrInvalid)
			}
			continue
		}
		if err := h.Validate(); err != nil {
			return fmt.Errorf("token: %w", err)
		}
		if h.Location != t.Location || h.Epoch != t.Epoch {
			return fmt.Errorf("token: head of another location or epoch: %w", ErrInvalid)
		}
	}
	return nil
}
