package node

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/heads"
	"github.com/peerdex/peerdex/protocols/notice"
	"github.com/peerdex/peerdex/store"
)

// A notice of a head that nobody connected is known to hold makes us ask them, not more often than this: who comes to
// hold it tells us anyway.
const askEvery = 10 * time.Second

// herald is what the notice protocol asks of a node.
type herald struct{ n *Node }

var _ notice.Backend = herald{}

// noticeConfig configures the node's notices.
func (n *Node) noticeConfig() notice.Config {
	return notice.Config{Members: n.lib.hasPeer, Backend: herald{n}, Traffic: n.traffic, Log: n.log}
}

// Head returns the newest head of an own location, after it was remembered as published. That of a location that was
// removed is the last one, which says so.
func (h herald) Head(ctx context.Context, l index.Location) (index.SignedHead, bool, error) {
	n := h.n
	held, err := n.st.Held(ctx, l)
	switch {
	case errors.Is(err, store.ErrNotFound):
		said, err := n.st.HeardOf(ctx, l)
		for _, s := range said {
			if s.Device == n.st.Self() {
				return s.Head, true, err
			}
		}
		return index.SignedHead{}, false, err
	case damaged(err) || n.isTwin(ctx, l):
		return index.SignedHead{}, false, nil
	case err != nil:
		return index.SignedHead{}, false, err
	}
	return held.Head, true, n.st.Publish(ctx, &held.Head.Head)
}

// Old reports whether a newer head is known, or the location is frozen and this one doesn't thaw it.
func (h herald) Old(ctx context.Context, head index.SignedHead) (bool, error) {
	newest, ok, err := h.newest(ctx, head.Location)
	if err != nil || !ok {
		return false, err
	}
	if index.Compare(&head.Head, &newest.Head) == index.Older {
		return true, nil
	}
	frozen, err := h.n.st.Frozen(ctx)
	return frozen[head.Location] && head.Epoch.Counter <= newest.Epoch.Counter, err
}

// newest returns the newest head held or heard of a location, and false if there is none.
func (h herald) newest(ctx context.Context, l index.Location) (index.SignedHead, bool, error) {
	var best index.SignedHead
	held, err := h.n.st.Held(ctx, l)
	if err == nil {
		best = held.Head
	} else if !errors.Is(err, store.ErrNotFound) && !damaged(err) {
		return best, false, err
	}
	said, err := h.n.st.HeardOf(ctx, l)
	for _, s := range said {
		if o := index.Compare(&s.Head.Head, &best.Head); o == index.Later || o == index.Newer || o == index.NewEpoch {
			best = s.Head
		}
	}
	return best, best.Epoch.Counter > 0, err
}

// Heard records what a notice says: that its author, the owner, holds this head. The record comes with heads only, so a
// head whose record is not known yet is asked for instead.
func (h herald) Heard(ctx context.Context, b notice.BulkIndexComplete) error {
	n, l := h.n, b.Location()
	said, err := n.st.HeardOf(ctx, l)
	if err != nil {
		return err
	}
	a := heads.Announced{Head: b.Head, Held: true}
	for _, s := range said {
		if s.Device != b.Device() {
			continue
		}
		if index.Compare(&b.Head.Head, &s.Head.Head) == index.Older {
			return nil // it said more meanwhile
		}
		a.Horizon, a.Size = s.Horizon, s.Size
	}
	if a.Record, err = h.record(ctx, &b, said); err != nil {
		return err
	}
	if a.Record != nil {
		if err := n.hear(ctx, b.Device(), &a); err != nil {
			return err
		}
		n.syncer.Kick()
	}
	if !h.provided(&b, said) {
		poke(n.asked)
	}
	return nil
}

// record returns the record that a notice's head covers, nil if it is not known.
func (h herald) record(ctx context.Context, b *notice.BulkIndexComplete, said []store.Heard) ([]byte, error) {
	for _, s := range said {
		if s.Head.Record == b.Head.Record {
			return s.Record, nil
		}
	}
	held, err := h.n.st.Held(ctx, b.Location())
	switch {
	case errors.Is(err, store.ErrNotFound) || damaged(err):
		return nil, nil
	case err == nil && held.Head.Record == b.Head.Record:
		return held.Raw, nil
	}
	return nil, err
}

// provided reports whether a connected device is known to hold the head of a notice. The owner, when it is connected,
// tells what is missing itself.
func (h herald) provided(b *notice.BulkIndexComplete, said []store.Heard) bool {
	if h.n.live.connected(b.Device()) {
		return true
	}
	return slices.ContainsFunc(said, func(s store.Heard) bool {
		o := index.Compare(&s.Head.Head, &b.Head.Head)
		return s.Held && (o == index.Same || o == index.Later || o == index.Newer) && h.n.live.connected(s.Device)
	})
}

// asker asks connected devices for what a notice told of and nobody is known to hold.
func (n *Node) asker(ctx context.Context) error {
	return paced(ctx, n.asked, askEvery, n.everyone)
}

// paced does something whenever it is poked: after a short rest, since pokes come in groups, and not more often than
// every so long.
func paced(ctx context.Context, poked <-chan struct{}, every time.Duration, do func()) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-poked:
		}
		if !sleep(ctx, announceRest) {
			return nil
		}
		select {
		case <-poked: // came while we rested
		default:
		}
		start := time.Now()
		do()
		if !sleep(ctx, every-time.Since(start)) {
			return nil
		}
	}
}

// notify tells members of a new head of an own location by a notice, also those that are not connected.
func (n *Node) notify(l index.Location) { n.notices.Announce(l) }

// noticeLibrary is what notices need to know of the library.
func (n *Node) noticeLibrary() notice.Library {
	return notice.Library{ID: n.lib.id(), Secret: n.lib.snapshot().Secret}
}
