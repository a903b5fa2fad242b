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
	Nothing    Strategy = "nothing"      // there is nothing to do, or nobody to do it with
	BatchFull  Strategy = "batch-full"   // all rows in id order, then the delta
	Change     Strategy = "state-change" // the same, where it is so little that it would have been pushed: the push was missed
	BatchDelta Strategy = "batch-delta"  // rows and dead runs above our seq
	Compact    Strategy = "compact"      // a snapshot of the entries alone, then the delta
	Native     Strategy = "native"       // a snapshot with indexes, or a compact one where the provider has it sooner; then the delta
	Reconcile  Strategy = "reconcile"    // what differs, found by the hash tree, then the delta
	Touch      Strategy = "touch"        // the same state, known true at a later time
	Drop       Strategy = "drop"         // the owner removed the location
)

// Heard is what a device said of a location.
type Heard struct {
	Device    index.DeviceID
	Head      index.SignedHead
	Horizon   int64 // lowest seq from which it can serve a delta
	Size      int64 // of its file, as it says, in bytes; 0 = not known. Only to tell what a snapshot would cost
	Held      bool  // it holds a replica at this head, so that it can serve it
	Reachable bool  // connected at this moment
	Link      Link  // over which it would serve
}

// Link is what is known of the connection to a device.
type Link uint8

// The kinds of links.
const (
	LinkUnknown Link = iota
	LinkNear         // the same machine or local network, without a relay between
	LinkRelayed      // no other way than through a relay that is no member of the library
)

// Rules say which strategy fills a replica that has nothing to build on. The zero value has the defaults.
type Rules struct {
	// Always is one of [BatchFull], [Compact] and [Native], taken whatever the situation; "" = chosen.
	Always Strategy
	// SnapshotFrom is the number of entries from which snapshots are taken; 0 = 10,000.
	SnapshotFrom int64
}

// maxChange is how far a head may be above ours for a state change. So many rows and deletions are missing at most; how many
// exactly the provider says first.
const maxChange = 100

// defaultSnapshotFrom is where snapshots begin to pay: below, a transfer takes as long as a few round trips.
const defaultSnapshotFrom = 10_000

// Situation is what is known of one location of another device.
type Situation struct {
	Location index.Location
	Held     *index.SignedHead // what our replica stands at; nil without one
	Retired  index.RetiredState
	Frozen   bool
	// Same is the name of the own location that is the same folder, as a person said, so that there is nothing to fetch; "" = none.
	Same    string
	Damaged bool // the file of our replica is, so that nothing of it is used: Held is nil, and it is fetched anew
	Heard   []Heard
	Policy  Policy
	Metered bool // this device's network is paid for by what it carries
	// Avoid are providers that lately failed to serve this location; they are taken only if there is no other.
	Avoid []index.DeviceID
	// Busy are providers that asked to wait with the next request for this location; they are not asked now.
	Busy []index.DeviceID
	// NoSnapshot are providers that failed to serve a snapshot of this location twice; batches are pulled from them.
	NoSnapshot []index.DeviceID
	Rules      Rules
	// Unproved are the heads at which devices served what their owner did not sign; see [Unproved].
	Unproved []Unproved
	Moving   bool // a pushed change is being applied: nothing is fetched meanwhile
	Apart    bool // too much differs from what the owner has now to compare: as if there were no replica
}

// Plan is what to do about a location.
type Plan struct {
	Strategy Strategy
	Provider index.DeviceID   // who serves it, if somebody has to
	Offer    index.SignedHead // the head that the provider said it holds; a transfer may end at a newer one
	Target   index.SignedHead // the newest head heard
	Why      string           // in plain words
	// Nobody says that there is something to fetch and nobody to fetch it from at this moment.
	Nobody bool
	// Busy says that those who could serve it asked to wait.
	Busy bool
	// Quarantined says why nothing newer is fetched until the owner signs a higher head, "" if that is not so.
	Quarantined string
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
	case s.Retired == index.Retired && (s.Held != nil || s.Damaged):
		return Plan{Strategy: Drop, Target: newest, Why: "removed by its owner"}
	case s.Retired == index.Retired:
		return Plan{Strategy: Nothing, Target: newest, Why: "removed by its owner"}
	case s.Same != "":
		return Plan{Strategy: Nothing, Target: newest, Why: "it is the folder that this device indexes as " + s.Same}
	}
	if s.Moving {
		return Plan{Strategy: Nothing, Target: newest, Why: "a change is being applied"}
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
		return s.nobody(newest)
	}
	p := Plan{Provider: from.Device, Offer: from.Head, Target: newest}
	p.Strategy, p.Why = s.strategy(from)
	return p
}

// strategy says how to get what a provider holds.
func (s *Situation) strategy(from *Heard) (how Strategy, why string) {
	switch {
	case s.Damaged:
		return s.whole(from), "the file of the replica is damaged"
	case s.Held == nil:
		return s.whole(from), "no replica"
	case s.Apart:
		return s.whole(from), "too much differs to be compared"
	case s.Held.Epoch != from.Head.Epoch:
		return Reconcile, "its owner began a new epoch"
	case from.Horizon > s.Held.Seq:
		return Reconcile, "the replica is below the horizon of every provider"
	case s.doubts(from):
		return Reconcile, "the changes alone did not lead to what its owner signed"
	}
	if from.Head.Seq-s.Held.Seq <= maxChange {
		return Change, "a few changes were missed"
	}
	return BatchDelta, "a replica of the same epoch"
}

// nobody is the plan while no device can serve anything newer.
func (s *Situation) nobody(newest index.SignedHead) Plan {
	p := Plan{Strategy: Nothing, Target: newest, Nobody: true, Why: "no device that holds a newer head is connected"}
	if s.Held == nil {
		p.Why = "no device that holds it is connected"
	}
	refused, left := 0, 0
	for i := range s.Heard {
		switch h := &s.Heard[i]; {
		case !s.offers(h):
		case s.refuses(h):
			refused++
		default:
			left++
			p.Busy = p.Busy || h.Reachable // or it would have been chosen
		}
	}
	switch {
	case p.Busy:
		p.Why = "the devices that hold it are busy, and asked to wait"
	case refused > 0 && left == 0:
		p.Nobody = false
		p.Quarantined = "what is served as its newest state is not what its owner signed; it is fetched again when its owner signs another"
		p.Why = p.Quarantined
	case refused > 0:
		p.Why = "what the devices that are connected serve is not what its owner signed"
	}
	return p
}

// whole chooses how to fetch all rows from a provider.
func (s *Situation) whole(from *Heard) Strategy {
	least := s.Rules.SnapshotFrom
	if least == 0 {
		least = defaultSnapshotFrom
	}
	switch {
	case s.Rules.Always != "":
		return s.Rules.Always
	case from.Head.Count < least || slices.Contains(s.NoSnapshot, from.Device):
		return BatchFull
	}
	return Snapshot(from.Link, from.Device == s.Location.Owner)
}

// Snapshot chooses the variant. A native snapshot is ready at once and sooner proved, but half again as many bytes: over
// near links that takes less time than is won. A replica may lack dead runs, and so its native snapshot is worth less.
func Snapshot(l Link, owner bool) Strategy {
	if l == LinkNear && owner {
		return Native
	}
	return Compact
}

// offers reports whether a device holds something newer than we do.
func (s *Situation) offers(h *Heard) bool {
	if !h.Held || s.Held == nil {
		return h.Held
	}
	o := index.Compare(&h.Head.Head, &s.Held.Head)
	return o == index.Newer || o == index.NewEpoch
}

// provider picks the reachable device with the highest head above ours: one that did not fail lately before one
// that did, one that can serve a delta before one that can't, and the owner before a relay. One that was found to serve
// what can't be proved is not asked again at the same head.
func (s *Situation) provider() *Heard {
	var can []*Heard
	for i := range s.Heard {
		if h := &s.Heard[i]; h.Reachable && s.offers(h) && !s.refuses(h) && !slices.Contains(s.Busy, h.Device) {
			can = append(can, h)
		}
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

func (s *Situation) notAvoided(h *Heard) int {
	return rank(!slices.Contains(s.Avoid, h.Device) && !s.doubts(h))
}

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
