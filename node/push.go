package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/change"
	"github.com/peerdex/peerdex/protocols/pace"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
)

const (
	// Changes of a location are pushed at once, and then not more often than this.
	pushEvery = 100 * time.Millisecond
	// The others are told of a commit when all pushes were answered, or after so long: who gets a push does not need to
	// hear of it first, and pull.
	pushWait = 250 * time.Millisecond
)

// pushRate is how many rounds of pushes there are of all locations together. Receivers take more.
func pushRate() pace.Rate { return pace.Rate{Burst: 100, Second: 50} }

// pushes is the sending side of pushed changes.
type pushes struct {
	pacer *pace.Pacer

	mu sync.Mutex
	on map[target]*pushing
}

// target is a location on a device that changes are pushed to.
type target struct {
	peer peer.ID
	loc  index.Location
}

// pushing is what is under way to a target, or went wrong.
type pushing struct {
	busy   bool
	again  bool       // something was committed meanwhile
	failed index.Head // state from which it could not be moved; nothing is pushed before it stands elsewhere
}

func newPushes() *pushes {
	return &pushes{pacer: pace.NewPacer(pushEvery, pushRate()), on: map[target]*pushing{}}
}

// begin reports whether a push from base begins now, or another one is under way, which another round follows.
func (s *pushes) begin(t target, base *index.Head) (begun, busy bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.on[t]
	if one == nil {
		one = new(pushing)
		s.on[t] = one
	}
	switch {
	case one.busy:
		one.again = true
		return false, true
	case one.failed == *base:
		return false, false
	}
	one.busy = true
	return true, false
}

// pending reports whether a push to a target is under way, or will begin soon if it can.
func (s *pushes) pending(t target) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.on[t]
	return one != nil && one.busy || one == nil && s.pacer.Due(t.loc)
}

// end says how a push from base went, and reports whether something was committed meanwhile.
func (s *pushes) end(t target, base *index.Head, err error) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	one := s.on[t]
	again := one.again
	if err == nil {
		delete(s.on, t)
		return again
	}
	*one = pushing{failed: *base}
	return false
}

// forget forgets what went wrong with a device: it is another connection.
func (s *pushes) forget(p peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t, one := range s.on {
		if t.peer == p && !one.busy {
			delete(s.on, t)
		}
	}
}

// pusher pushes what was committed, and then tells of it whoever did not get it that way, until ctx ends.
func (n *Node) pusher(ctx context.Context) error {
	n.pushes.pacer.Run(ctx, func(l index.Location) {
		reached, err := n.pushAll(ctx, l)
		if err != nil && ctx.Err() == nil {
			n.log.Warn("push changes", "location", l, "error", err)
		}
		n.spawn(func() {
			if !reached(ctx) {
				n.notify(l)
			}
			n.announce()
		})
	})
	return nil
}

// pushAll begins to push the newest state of an own location to all who want it. What it returns waits for the answers,
// for a moment, and reports whether all other members are known to hold that state then.
func (n *Node) pushAll(ctx context.Context, l index.Location) (reached func(context.Context) bool, err error) {
	nobody := func(context.Context) bool { return false }
	held, err := n.st.Held(ctx, l)
	if errors.Is(err, store.ErrNotFound) || damaged(err) || err == nil && held.Record.Retired != index.Active {
		return nobody, nil
	}
	var said []store.Heard
	if err == nil {
		said, err = n.heardOf(ctx, l)
	}
	if err != nil || n.isTwin(ctx, l) {
		return nobody, err
	}
	r := round{n: n, held: &held, by: map[int64]*change.StateChange{}}
	for i := range said {
		if err := r.begin(ctx, &said[i]); err != nil {
			return nobody, err
		}
	}
	return r.wait, nil
}

// round is one round of pushes of a location.
type round struct {
	n    *Node
	held *store.Held
	by   map[int64]*change.StateChange // by base; nil where there are too many changes

	wg    sync.WaitGroup
	later bool // to some device another push is under way
}

// begin pushes to one device, in the background, if it wants that and is near enough.
func (r *round) begin(ctx context.Context, to *store.Heard) error {
	n, base := r.n, &to.Head.Head
	if !r.near(to) {
		return nil
	}
	p, err := wire.PeerOf(to.Device)
	if err != nil {
		return err
	}
	c, err := r.change(ctx, base)
	if err != nil || c == nil {
		return err
	}
	t := target{p, base.Location}
	begun, busy := n.pushes.begin(t, base)
	if r.later = r.later || busy; !begun {
		return nil
	}
	next, send := *to, *c
	next.Head, next.Record = c.Head, r.held.Raw
	if base.Record == c.Head.Record {
		send.Record = nil
	}
	r.wg.Add(1)
	n.spawn(func() {
		err := n.push(ctx, p, &send)
		if err == nil {
			n.lately.put(next)
			n.aware.moved(p, &send.Head.Head)
		} else if ctx.Err() == nil {
			n.log.Debug("push", "peer", p, "location", t.loc, "error", err)
		}
		again := n.pushes.end(t, base, err)
		r.wg.Done()
		if again {
			n.pushes.pacer.Add(t.loc)
		}
		if err != nil {
			n.announce()
		}
	})
	return nil
}

// near reports whether a device is connected, wants changes, and holds a state that they can begin from.
func (r *round) near(to *store.Heard) bool {
	base, head := &to.Head.Head, &r.held.Head.Head
	_, member := r.n.lib.member(to.Device)
	return member && to.Device != r.n.st.Self() && to.Listed && to.Held && to.Wants &&
		base.Library == head.Library && base.Epoch == head.Epoch && base.Seq < head.Seq && base.Seq >= r.held.Horizon &&
		r.n.live.connected(to.Device)
}

// change reads what changed above a base; nil if that is too much to push.
func (r *round) change(ctx context.Context, base *index.Head) (*change.StateChange, error) {
	if c, ok := r.by[base.Seq]; ok {
		return c, nil
	}
	r.by[base.Seq] = nil
	p, err := r.n.st.Page(ctx, store.PageRequest{
		Location: base.Location, Epoch: base.Epoch, Mode: index.ModeDelta, Position: base.Seq, Limit: change.MaxChanges + 1,
	})
	if err != nil {
		return nil, fmt.Errorf("read changes: %w", err)
	}
	c := &change.StateChange{Base: base.Seq, Horizon: p.Horizon, Head: p.Head, Record: p.Record, Rows: p.Rows, Dead: p.Dead}
	if !p.Exhausted || c.Changes() > change.MaxChanges || p.Head.Record != r.held.Head.Record {
		return nil, nil
	}
	if err := r.n.st.Publish(ctx, &p.Head.Head); err != nil {
		return nil, err
	}
	r.by[base.Seq] = c
	return c, nil
}

// wait waits a moment for the answers, and reports whether all other members hold the state.
func (r *round) wait(ctx context.Context) bool {
	all := make(chan struct{})
	answered := all
	r.n.spawn(func() {
		r.wg.Wait()
		close(all)
	})
	if r.later {
		answered = nil
	}
	select {
	case <-answered:
	case <-time.After(pushWait):
	case <-ctx.Done():
	}
	said, err := r.n.heardOf(ctx, r.held.Head.Location)
	if err != nil {
		return false
	}
	for _, p := range r.n.lib.others() {
		if !slices.ContainsFunc(said, func(h store.Heard) bool { return r.holds(&h, p) }) {
			return false
		}
	}
	return true
}

// holds reports whether what is known of a device is that it is p and holds the state, or a later one.
func (r *round) holds(h *store.Heard, p peer.ID) bool {
	o := index.Compare(&h.Head.Head, &r.held.Head.Head)
	if !h.Held || o != index.Same && o != index.Newer && o != index.Later {
		return false
	}
	of, err := wire.PeerOf(h.Device)
	return err == nil && of == p
}

func (n *Node) push(ctx context.Context, p peer.ID, c *change.StateChange) error {
	ctx, cancel := context.WithTimeout(ctx, change.Timeout)
	defer cancel()
	s, err := n.host.Load().NewStream(network.WithNoDial(ctx, "change"), p, change.ID)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	return change.Push(ctx, s, c, n.wire())
}
