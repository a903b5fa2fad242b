package syncer

import (
	"cmp"
	"slices"

	"github.com/peerdex/peerdex/index"
)

// Strategy says how a replica is moved forward.
type Strategy string

// The strategies.
const (
	Nothing    Strategy = "nothing"     // there is nothing to do, or nobody to do it with
	BatchFull  Strategy = "batch-full"  // all rows in id order, then the delta
	BatchDelta Strategy = "batch-delta" // rows and dead runs above our seq
	Touch      Strategy = "touch"       // the same state, known true at a later time
	Drop       Strategy = "drop"        // the owner removed the location
)

// Heard is what a device said of a location.
type Heard struct {
	Device    index.DeviceID
	Head      index.SignedHead
	Horizon   int64 // lowest seq from which it can serve a delta
	Held      bool  // it holds a replica at this head, so that it can serve it
	Reachable bool  // connected at this moment
	Relayed   bool  // through a relay that is no member
}

// Situation is what is known of one location of another device.
type Situation struct {
	Location index.Location
	Held     *index.SignedHead // what our replica stands at; nil without one
	Retired  index.RetiredState
	Frozen   bool
	Heard    []Heard
	Policy   Policy
	Metered  bool // this device's network is paid for by what it carries
	// Avoid are providers that lately failed to serve this location; they are taken only if there is no other.
	Avoid []index.DeviceID
}

// Plan is what to do about a location.
type Plan struct {
	Strategy Strategy
	Provider index.DeviceID   // who serves it, for the batch strategies
	Offer    index.SignedHead // the head that the provider said it holds; a transfer may end at a newer one
	Target   index.SignedHead // the newest head heard
	Why      string           // in plain words
}

// Newest returns the newest head heard or held of a location, and false if there is none. Equivocating heads do not
// compare; the first stays.
func (s *Situation) Newest() (index.SignedHead, bool) {
	var best index.SignedHead
	ok := false
	consider := func(h *index.SignedHead) {
		if o := index.Compare(&h.Head, &best.Head); !ok || o == index.Newer || o == index.NewEpoch || o == index.Later {
			best, ok = *h, true
		}
	}
	if s.Held != nil {
		consider(s.Held)
	}
	for i := range s.Heard {
		consider(&s.Heard[i].Head)
	}
	return best, ok
}

// Decide chooses the strategy for one location. It is a pure function: the first rule that matches wins.
func Decide(s *Situation) Plan {
	newest, ok := s.Newest()
	switch {
	case !ok:
		return Plan{Strategy: Nothing, Why: "no head heard"}
	case s.Frozen:
		return Plan{Strategy: Nothing, Target: newest, Why: "frozen: two heads that cannot both be true"}
	case s.Retired == index.Retired && s.Held != nil:
		return Plan{Strategy: Drop, Target: newest, Why: "removed by its owner"}
	case s.Retired == index.Retired:
		return Plan{Strategy: Nothing, Target: newest, Why: "removed by its owner"}
	}
	if s.Held != nil {
		switch index.Compare(&newest.Head, &s.Held.Head) {
		case index.Later:
			return Plan{Strategy: Touch, Target: newest, Why: "the same state, known true later"}
		case index.Newer, index.NewEpoch:
		default:
			return Plan{Strategy: Nothing, Target: newest, Why: "the newest head heard is held"}
		}
	}
	if p, decided := s.byPolicy(&newest); decided {
		return p
	}
	from := s.provider()
	if from == nil {
		return Plan{Strategy: Nothing, Target: newest, Why: "no device that holds a newer head is connected"}
	}
	p := Plan{Strategy: BatchFull, Provider: from.Device, Offer: from.Head, Target: newest, Why: "no replica of this epoch"}
	if s.Held != nil && s.Held.Epoch == from.Head.Epoch {
		if from.Horizon <= s.Held.Seq {
			p.Strategy, p.Why = BatchDelta, "a replica of the same epoch"
		} else {
			p.Why = "the replica is below the horizon of every provider"
		}
	}
	return p
}

// provider picks the reachable device with the highest head above ours: one that did not fail lately before one
// that did, one that can serve a delta before one that can't, and the owner before a relay.
func (s *Situation) provider() *Heard {
	var can []*Heard
	for i := range s.Heard {
		h := &s.Heard[i]
		if !h.Reachable || !h.Held {
			continue
		}
		if s.Held != nil {
			if o := index.Compare(&h.Head.Head, &s.Held.Head); o != index.Newer && o != index.NewEpoch {
				continue
			}
		}
		can = append(can, h)
	}
	if len(can) == 0 {
		return nil
	}
	return slices.MaxFunc(can, func(a, b *Heard) int {
		if d := s.notAvoided(a) - s.notAvoided(b); d != 0 {
			return d
		}
		if d := cmp.Compare(a.Head.Epoch.Counter, b.Head.Epoch.Counter); d != 0 {
			return d
		}
		if d := s.serves(a) - s.serves(b); d != 0 {
			return d
		}
		switch index.Compare(&a.Head.Head, &b.Head.Head) {
		case index.Newer, index.NewEpoch:
			return 1
		case index.Older:
			return -1
		}
		return s.owns(a) - s.owns(b)
	})
}

func (s *Situation) notAvoided(h *Heard) int { return rank(!slices.Contains(s.Avoid, h.Device)) }

func (s *Situation) serves(h *Heard) int {
	return rank(s.Held == nil || s.Held.Epoch != h.Head.Epoch || h.Horizon <= s.Held.Seq)
}

func (s *Situation) owns(h *Heard) int { return rank(h.Device == s.Location.Owner) }

func rank(yes bool) int {
	if yes {
		return 1
	}
	return 0
}
