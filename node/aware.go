package node

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/protocols/heads"
	"github.com/peerdex/peerdex/store"
)

// awareness remembers what each connected device knows of this one, so that it is not told again: by an exchange of heads,
// and by a pushed change that it answered. It is a saving only. What is forgotten here costs one small exchange, and
// exchanges that come now and then anyway mend what is wrong here.
type awareness struct {
	mu sync.Mutex
	of map[peer.ID]*knowledge
}

// knowledge is what one device knows.
type knowledge struct {
	members int // records of membership
	heads   map[index.Location]fact
	pushed  map[index.Location]bool // locations of which changes reached it
}

// fact is what is said of one location.
type fact struct {
	head        index.Hash
	horizon     int64
	held, wants bool
}

func newAwareness() *awareness { return &awareness{of: map[peer.ID]*knowledge{}} }

// told says what a device knows after an exchange that this side began and that ended well.
func (k *awareness) told(p peer.ID, r *heads.Result) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.of[p]
	delete(k.of, p)
	if !r.Complete {
		return
	}
	one := &knowledge{members: r.Members, heads: make(map[index.Location]fact, len(r.Told)), pushed: map[index.Location]bool{}}
	if before != nil {
		one.pushed = before.pushed
	}
	for i := range r.Told {
		a := &r.Told[i]
		one.heads[a.Head.Location] = fact{a.Head.Digest(), a.Horizon, a.Held, a.Wants}
	}
	k.of[p] = one
}

// moved says that a device knows that this one holds another head of a location; nothing else is new.
func (k *awareness) moved(p peer.ID, h *index.Head) {
	k.mu.Lock()
	defer k.mu.Unlock()
	one := k.of[p]
	if one == nil {
		return
	}
	if f, ok := one.heads[h.Location]; ok {
		f.head = h.Digest()
		one.heads[h.Location] = f
		one.pushed[h.Location] = true
	}
}

// forget says that nothing is known of a device any more.
func (k *awareness) forget(p peer.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.of, p)
}

// all reports whether a device knows of so many members, and exactly these heads; or will know soon, since a push of it is
// pending.
func (k *awareness) all(p peer.ID, members int, now []heads.Announced, pending func(target) bool) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	one := k.of[p]
	if one == nil || one.members != members || len(one.heads) != len(now) {
		return false
	}
	for i := range now {
		a, l := &now[i], now[i].Head.Location
		before, is := one.heads[l], fact{a.Head.Digest(), a.Horizon, a.Held, a.Wants}
		if before.head != is.head && one.pushed[l] && pending(target{p, l}) {
			before.head = is.head
		}
		if before != is {
			return false
		}
	}
	return true
}

// tellNews talks with all connected members that don't know all there is, side by side.
func (n *Node) tellNews() {
	n.remember(n.ctx)
	now, err := gossip{n}.Heads(n.ctx)
	if err != nil {
		if n.ctx.Err() == nil {
			n.log.Warn("read heads", "error", err)
		}
		return
	}
	members := len(n.lib.encoded())
	var wg sync.WaitGroup
	for _, p := range n.lib.others() {
		if n.host.Load().Network().Connectedness(p) == network.Connected && !n.aware.all(p, members, now, n.pushes.pending) {
			wg.Go(func() { n.talk(p) })
		}
	}
	wg.Wait()
}

// lately has heads that pushed changes taught, until they are written to node.db together: that waits for the disk, and
// pushes should not.
type lately struct {
	mu sync.Mutex
	of map[teller]store.Heard
}

// teller is a device that says something of a location.
type teller struct {
	device index.DeviceID
	loc    index.Location
}

func newLately() *lately { return &lately{of: map[teller]store.Heard{}} }

// maxLately bounds the heads that wait. More are not remembered, and told again by the next exchange.
const maxLately = 10_000

// put remembers that a device is known to hold a head.
func (y *lately) put(h store.Heard) {
	h.Held, h.Listed, h.At = true, true, time.Now()
	at := teller{h.Device, h.Head.Location}
	y.mu.Lock()
	defer y.mu.Unlock()
	if old, ok := y.of[at]; ok && !isLater(&h.Head, &old.Head) || !ok && len(y.of) >= maxLately {
		return
	}
	y.of[at] = h
}

// over puts what waits in place of what was said before.
func (y *lately) over(said []store.Heard) {
	y.mu.Lock()
	defer y.mu.Unlock()
	for i := range said {
		if h, ok := y.of[teller{said[i].Device, said[i].Head.Location}]; ok && isLater(&h.Head, &said[i].Head) && !retired(said[i]) {
			said[i] = h
		}
	}
}

// take returns all that waits, which waits no more.
func (y *lately) take() map[teller]store.Heard {
	y.mu.Lock()
	defer y.mu.Unlock()
	all := y.of
	y.of = map[teller]store.Heard{}
	return all
}

// isLater reports whether a head says more than another one.
func isLater(a, b *index.SignedHead) bool {
	o := index.Compare(&a.Head, &b.Head)
	return o == index.Newer || o == index.Later || o == index.NewEpoch
}

// remember writes down what pushed changes taught, unless the devices said more since.
func (n *Node) remember(ctx context.Context) {
	var news []store.Heard
	for at, h := range n.lately.take() {
		said, err := n.st.HeardOf(ctx, at.loc)
		if err != nil {
			n.log.Warn("remember heads", "error", err)
			return
		}
		for i := range said {
			if said[i].Device == at.device && isLater(&h.Head, &said[i].Head) && !retired(said[i]) {
				news = append(news, h)
			}
		}
	}
	if len(news) == 0 {
		return
	}
	if err := n.st.SetHeard(ctx, news...); err != nil {
		n.log.Warn("remember heads", "error", err)
	}
}

// heardOf is what devices said of a location, and what pushed changes taught since.
func (n *Node) heardOf(ctx context.Context, l index.Location) ([]store.Heard, error) {
	said, err := n.st.HeardOf(ctx, l)
	n.lately.over(said)
	return said, err
}

// allHeard is what devices said of all locations, and what pushed changes taught since.
func (v *view) allHeard(ctx context.Context) (map[index.Location][]store.Heard, error) {
	all, err := v.st.AllHeard(ctx)
	if v.live != nil {
		for _, said := range all {
			v.live.n.lately.over(said)
		}
	}
	return all, err
}

// wantsPushes reports whether this device wants to be told at once what changes in a location, by its owner. It does for
// every replica that it keeps, if its policy and a pause don't say otherwise, but not of a folder that it indexes itself.
func (n *Node) wantsPushes(ctx context.Context, l index.Location) bool {
	if l.Owner == n.st.Self() {
		return false
	}
	set, err := n.st.Policies(ctx)
	if err != nil {
		n.log.Warn("read policies", "error", err)
		return false
	}
	if p := chosenPolicy(set, l); p != syncer.Auto && p != syncer.Full {
		return false
	}
	if own, err := n.instead(ctx, l); err != nil || own != "" {
		return false
	}
	paused, err := n.syncer.Paused(ctx, l)
	if err != nil {
		n.log.Warn("read the queue of transfers", "error", err)
	}
	return err == nil && !paused
}
