package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/protocols/change"
	"github.com/peerdex/peerdex/protocols/heads"
	"github.com/peerdex/peerdex/protocols/notice"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
)

// Pushed changes that can't be applied yet, in all and of one location. They are small; what is above is forgotten, and
// pulled.
const (
	maxKept           = 64
	maxKeptOfLocation = 8
)

// taker is what the change protocol asks of a node: the receiving side of pushed changes.
type taker struct{ n *Node }

var _ change.Backend = taker{}

// Take applies a change that its owner pushed, or else keeps it and has the replica pulled.
func (t taker) Take(ctx context.Context, c *change.StateChange) error {
	n, l := t.n, c.Head.Location
	n.activity.Touch()
	if err := n.verifyHead(&c.Head); err != nil {
		return fmt.Errorf("%w: %w", wire.ErrDenied, err)
	}
	if !n.wantsPushes(ctx, l) {
		return wire.ErrNoReplica
	}
	err := n.takeChange(ctx, c)
	if err == nil {
		if p, err := wire.PeerOf(l.Owner); err == nil {
			n.aware.moved(p, &c.Head.Head) // it will know by the answer
		}
		n.tookChange(c)
		return nil
	}
	if ctx.Err() != nil {
		return err
	}
	n.log.Debug("pushed change not applied", "location", l, "base", c.Base, "head", c.Head, "error", err)
	return errors.Join(err, n.heardOfChange(ctx, c))
}

// takeChange applies a change if the replica stands where it can be applied, and nothing speaks against it.
func (n *Node) takeChange(ctx context.Context, c *change.StateChange) error {
	l := c.Head.Location
	n.taking.begin(l)
	defer func() {
		if n.taking.end(l) {
			n.syncer.Kick()
		}
	}()
	said, err := n.st.HeardOf(ctx, l)
	if err != nil {
		return err
	}
	if err := n.judgeAll(ctx, c.Head, said); err != nil {
		return err
	}
	frozen, err := n.st.Frozen(ctx)
	if err != nil {
		return err
	}
	var rec index.Record
	if frozen[l] || slices.ContainsFunc(said, retired) || len(c.Record) > 0 && (rec.UnmarshalBinary(c.Record) != nil || rec.Retired != index.Active) {
		return wire.ErrNoReplica
	}
	return n.applyChange(ctx, c)
}

// applyChange moves a replica to the head of a change. It does nothing if the replica is there already.
func (n *Node) applyChange(ctx context.Context, c *change.StateChange) error {
	held, err := n.st.Held(ctx, c.Head.Location)
	if errors.Is(err, store.ErrNotFound) || damaged(err) {
		return wire.ErrNoReplica
	}
	if err != nil {
		return err
	}
	switch index.Compare(&c.Head.Head, &held.Head.Head) {
	case index.Newer:
	case index.Later:
		return n.st.AdvanceAsOf(ctx, c.Head)
	case index.Older, index.Same:
		if c.Head.Epoch == held.Head.Epoch {
			return nil
		}
		return index.ErrEpochChanged
	case index.NewEpoch:
		return index.ErrEpochChanged
	default:
		return wire.ErrNoReplica // frozen
	}
	if held.Head.Seq < c.Base {
		n.kept.put(c)
		return index.ErrProviderBehind
	}
	_, err = n.st.Apply(ctx, c.Head.Location, func(held *index.Head) index.Page { return c.Page(held.Seq) })
	if errors.Is(err, store.ErrBusy) {
		n.kept.put(c)
		return fmt.Errorf("%w: %w", wire.ErrBusy, err)
	}
	return err
}

// tookChange tells and remembers that a change was applied.
func (n *Node) tookChange(c *change.StateChange) {
	l := c.Head.Location
	h := store.Heard{Device: l.Owner, Head: c.Head, Record: c.Record, Horizon: c.Horizon}
	n.spawn(func() {
		if held, err := n.st.Held(n.ctx, l); err == nil && held.Head.Record == h.Head.Record {
			h.Record = held.Raw
			n.lately.put(h)
		}
		n.updated(api.EventLocationUpdated, l)
		n.announce()
	})
}

// heardOfChange makes of a change that was not applied what a notice would say: the owner holds a newer head.
func (n *Node) heardOfChange(ctx context.Context, c *change.StateChange) error {
	l := c.Head.Location
	record := c.Record
	if len(record) == 0 {
		said, err := n.st.HeardOf(ctx, l)
		if err == nil {
			record, err = herald{n}.record(ctx, &notice.BulkIndexComplete{Head: c.Head}, said)
		}
		if err != nil {
			return err
		}
	}
	if len(record) > 0 {
		if err := n.hear(ctx, l.Owner, &heads.Announced{Head: c.Head, Record: record, Horizon: c.Horizon, Held: true}); err != nil {
			return err
		}
	}
	n.syncer.Kick()
	return nil
}

// applyKept tries the changes of a location that were kept while it was filled.
func (n *Node) applyKept(ctx context.Context, l index.Location) {
	for _, c := range n.kept.take(l) {
		held, err := n.st.Held(ctx, l)
		if err != nil || index.Compare(&c.Head.Head, &held.Head.Head) != index.Newer {
			continue
		}
		if err := n.takeChange(ctx, c); err != nil {
			n.log.Debug("kept change not applied", "location", l, "base", c.Base, "head", c.Head, "error", err)
			continue
		}
		n.tookChange(c)
	}
}

// kept has changes that came too early. Safe for concurrent use.
type kept struct {
	mu  sync.Mutex
	of  map[index.Location][]*change.StateChange
	all int
}

func newKept() *kept { return &kept{of: map[index.Location][]*change.StateChange{}} }

// put keeps a change. Of a location that has too many the lowest goes.
func (k *kept) put(c *change.StateChange) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l := c.Head.Location
	list := append(slices.Clone(k.of[l]), c)
	slices.SortFunc(list, func(a, b *change.StateChange) int {
		return cmp.Or(cmp.Compare(a.Head.Epoch.Counter, b.Head.Epoch.Counter), cmp.Compare(a.Head.Seq, b.Head.Seq), cmp.Compare(a.Base, b.Base))
	})
	list = slices.CompactFunc(list, func(a, b *change.StateChange) bool { return a.Head == b.Head && a.Base == b.Base })
	if len(list) > maxKeptOfLocation {
		list = list[1:]
	}
	if all := k.all + len(list) - len(k.of[l]); all <= maxKept {
		k.of[l], k.all = list, all
	}
}

// take returns the changes of a location, lowest first, and keeps them no more.
func (k *kept) take(l index.Location) []*change.StateChange {
	k.mu.Lock()
	defer k.mu.Unlock()
	list := k.of[l]
	delete(k.of, l)
	k.all -= len(list)
	return list
}

// taking says which locations a pushed change is being applied to, so that the same is not pulled as well. Safe for
// concurrent use.
type taking struct {
	mu    sync.Mutex
	on    map[index.Location]int
	asked map[index.Location]bool // something else could have been done
}

func newTaking() *taking {
	return &taking{on: map[index.Location]int{}, asked: map[index.Location]bool{}}
}

func (t *taking) begin(l index.Location) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.on[l]++
}

// end reports whether it is time to plan again.
func (t *taking) end(l index.Location) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.on[l]--; t.on[l] > 0 {
		return false
	}
	asked := t.asked[l]
	delete(t.on, l)
	delete(t.asked, l)
	return asked
}

// has reports whether a change is being applied to a location; then end will say that it was asked.
func (t *taking) has(l index.Location) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.on[l] == 0 {
		return false
	}
	t.asked[l] = true
	return true
}
