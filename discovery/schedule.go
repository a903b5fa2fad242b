package discovery

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/event"
	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"
)

const (
	firstDelay  = time.Second      // after the first failure, up to half as much again
	maxDelay    = 5 * time.Minute  // between attempts
	headStart   = time.Second      // of the smaller peer ID, up to twice as much
	stableAfter = time.Minute      // a connection that lasted this long was a good one
	foundEvery  = 10 * time.Second // a device that is found is dialed for it no more often
)

// schedule decides when a [Keeper] dials whom. It belongs to the goroutine of run.
type schedule struct {
	keeper  *Keeper
	self    peer.ID
	targets map[peer.ID]*target
	dials   int // under way
	resync  time.Time
	results chan dialResult
}

// target is a member.
type target struct {
	id        peer.ID
	connected bool
	since     time.Time // of the connection
	dialing   bool
	again     bool          // kicked during a dial, which may have been on its way to nowhere
	delay     time.Duration // before the latest attempt; 0 = no failure yet
	next      time.Time     // of the next attempt, while neither connected nor dialing
	found     []ma.Multiaddr
	foundAt   time.Time // when being found last brought an attempt forward
}

type dialResult struct {
	target *target
	err    error
}

// run is [Keeper.Run] with the host's events.
func (k *Keeper) run(ctx context.Context, self peer.ID, events <-chan any) {
	s := &schedule{keeper: k, self: self, targets: map[peer.ID]*target{}, results: make(chan dialResult)}
	timer := time.NewTimer(0)
	defer timer.Stop()
	s.sync(time.Now())
	for ctx.Err() == nil {
		s.dialDue(ctx, time.Now())
		timer.Reset(time.Until(s.wakeAt()))
		select {
		case <-ctx.Done():
		case <-k.wake:
			s.absorb(time.Now())
		case ev := <-events:
			if e, ok := ev.(event.EvtPeerConnectednessChanged); ok && s.targets[e.Peer] != nil {
				s.look(s.targets[e.Peer], time.Now())
			}
		case r := <-s.results:
			s.finished(r, time.Now())
		case <-timer.C:
			if now := time.Now(); !now.Before(s.resync) {
				s.sync(now)
			}
		}
	}
	for ; s.dials > 0; s.dials-- {
		<-s.results
	}
}

// sync takes over the list of members and the state of their connections.
func (s *schedule) sync(now time.Time) {
	s.resync = now.Add(resyncEvery)
	gone := map[peer.ID]bool{}
	for id := range s.targets {
		gone[id] = true
	}
	for _, id := range s.keeper.cfg.Members() {
		if id == s.self {
			continue
		}
		delete(gone, id)
		t := s.targets[id]
		if t == nil {
			t = &target{id: id}
			s.targets[id] = t
			s.keeper.dialer.Protect(id, true)
			s.reset(t, now)
		}
		s.look(t, now)
	}
	for id := range gone {
		delete(s.targets, id)
		s.keeper.dialer.Protect(id, false)
	}
}

// look takes over the state of a member's connection. The state is read, not taken from an event: events come late.
func (s *schedule) look(t *target, now time.Time) {
	was := t.connected
	t.connected = s.keeper.dialer.Connected(t.id)
	switch {
	case t.connected && !was:
		t.since = now
	case !t.connected && was && now.Sub(t.since) >= stableAfter:
		s.reset(t, now)
	case !t.connected && was:
		// A device that refuses us ends connections just so; at once again would make a tight loop of it.
		s.failed(t, now)
	}
}

// absorb takes over what Kick and Found left.
func (s *schedule) absorb(now time.Time) {
	k := s.keeper
	k.mu.Lock()
	all, kicked, found := k.kickAll, k.kicked, k.found
	k.kickAll, k.kicked, k.found = false, map[peer.ID]bool{}, map[peer.ID][]ma.Multiaddr{}
	k.mu.Unlock()
	s.sync(now)
	for id, addrs := range found {
		t := s.targets[id]
		if t == nil {
			continue
		}
		addrs = slices.DeleteFunc(addrs, func(a ma.Multiaddr) bool { return !k.cfg.Reach.Allowed(a) })
		t.found = uniqueAddrs(addrs, t.found)
		t.found = t.found[:min(len(t.found), maxFoundAddrs)]
		if len(addrs) > 0 && (t.foundAt.IsZero() || now.Sub(t.foundAt) >= foundEvery) && !t.connected {
			t.foundAt = now
			s.kick(t, now)
		}
	}
	for id, t := range s.targets {
		if all || kicked[id] {
			s.kick(t, now)
		}
	}
}

func (s *schedule) kick(t *target, now time.Time) {
	switch {
	case t.connected:
	case t.dialing:
		t.again = true
	case t.delay > 0: // else the next attempt is near anyway
		s.reset(t, now)
	}
}

// reset forgets the failures of a member: it is dialed at once, or after the head start that the other side has.
func (s *schedule) reset(t *target, now time.Time) {
	t.delay, t.next = 0, now
	if s.self > t.id {
		t.next = now.Add(s.between(headStart, 2*headStart))
	}
}

// failed puts off the next attempt.
func (s *schedule) failed(t *target, now time.Time) {
	if t.delay == 0 {
		t.delay = s.between(firstDelay, firstDelay*3/2)
	} else {
		t.delay = s.between(t.delay*3/2, t.delay*5/2)
	}
	if t.delay > maxDelay {
		t.delay = s.between(maxDelay*3/4, maxDelay)
	}
	t.next = now.Add(t.delay)
}

func (s *schedule) between(lo, hi time.Duration) time.Duration {
	return lo + time.Duration(s.keeper.random()*float64(hi-lo))
}

// waiting returns the members that wait for an attempt, in order.
func (s *schedule) waiting() []*target {
	var out []*target
	for _, t := range s.targets {
		if !t.connected && !t.dialing {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b *target) int {
		return cmp.Or(a.next.Compare(b.next), cmp.Compare(a.id, b.id))
	})
	return out
}

// dialDue starts the attempts that are due, as many as may run.
func (s *schedule) dialDue(ctx context.Context, now time.Time) {
	for _, t := range s.waiting() {
		if s.dials >= maxDials || t.next.After(now) {
			return
		}
		t.dialing = true
		s.dials++
		found := slices.Clone(t.found)
		go func() { s.results <- dialResult{t, s.keeper.attempt(ctx, t.id, found)} }()
	}
}

// wakeAt returns when there is something to do without any news.
func (s *schedule) wakeAt() time.Time {
	if waiting := s.waiting(); len(waiting) > 0 && s.dials < maxDials && waiting[0].next.Before(s.resync) {
		return waiting[0].next
	}
	return s.resync
}

// finished takes over the result of an attempt.
func (s *schedule) finished(r dialResult, now time.Time) {
	s.dials--
	t := r.target
	if s.targets[t.id] != t {
		return // no member any more, or one anew
	}
	again := t.again
	t.dialing, t.again = false, false
	was := t.connected
	s.look(t, now)
	switch {
	case t.connected || was: // or look has seen to it
	case again:
		s.reset(t, now)
	default:
		s.failed(t, now)
	}
}

// attempt dials a member once and tells the result.
func (k *Keeper) attempt(ctx context.Context, p peer.ID, found []ma.Multiaddr) error {
	addrs := uniqueAddrs(found, k.cfg.Addrs(p))
	addrs = slices.DeleteFunc(addrs, func(a ma.Multiaddr) bool { return !k.cfg.Reach.Allowed(a) })
	timed, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	addr, err := k.dialer.Dial(timed, p, addrs[:min(len(addrs), maxDialAddrs)])
	if err != nil && ctx.Err() != nil {
		return err // we are being stopped, which says nothing about the device
	}
	k.cfg.Logger.Debug("dialed", "peer", p, "addr", addr, "err", err)
	k.cfg.OnResult(p, addr, err)
	return err
}
