package node

import (
	"context"
	"errors"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/store"
)

// twinTime is how soon a second rollback of a location looks like a twin: a copy of this device that runs elsewhere.
const twinTime = 24 * time.Hour

// Settings about a location of this device, followed by its ID.
const (
	raisedSetting = "epoch_raised/" // when a new epoch was begun last, ns since 1970
	twinSetting   = "twin/"         // 1: nothing of it is published any more
)

// hearOwn looks at a head of one of our own locations that was recorded. One that we don't have means that this device was
// restored from a backup, or that its twin signs too: seqs that we would give were given. So a new epoch begins, above all
// that was heard, and the folder is scanned again. A second time within a day nothing is published until a person decides.
// One that says that we removed the location is obeyed, whenever we said so.
func (n *Node) hearOwn(ctx context.Context, heard index.SignedHead, rec *index.Record) error {
	n.own.Lock() // several devices may say the same at once; the first is enough
	defer n.own.Unlock()
	l := heard.Location
	held, err := n.st.Held(ctx, l)
	if errors.Is(err, store.ErrNotFound) || damaged(err) {
		return nil // removed, or lost: the syncer looks whether it can be taken back
	}
	if err != nil {
		return err
	}
	unknown, err := n.st.Unknown(ctx, &heard.Head)
	if err != nil {
		return err
	}
	if unknown && !n.isTwin(ctx, l) {
		err = n.outdo(ctx, heard, &held)
	}
	removed := rec.Retired == index.Retired || rec.Retired == index.Archived && held.Record.Retired == index.Active
	if err != nil || !removed {
		return err
	}
	return n.removeAgain(ctx, l, rec.Retired)
}

// removeAgain removes an own location that this device removed in a time that it forgot.
func (n *Node) removeAgain(ctx context.Context, l index.Location, state index.RetiredState) error {
	n.change.Lock()
	defer n.change.Unlock()
	loc, err := n.byRef(ctx, l)
	if err != nil {
		return err
	}
	n.log.Warn("another device knows that this location was removed: so it is", "location", loc.Name)
	_, err = n.remove(ctx, loc, state)
	return err
}

// outdo begins a new epoch above a head of ours that we don't have.
func (n *Node) outdo(ctx context.Context, heard index.SignedHead, held *store.Held) error {
	l := heard.Location
	last, err := n.st.Setting(ctx, raisedSetting+l.ID.String())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if at, _ := last.(int64); err == nil && time.Since(time.Unix(0, at)) < twinTime {
		n.log.Error("another device signs as this one; nothing is published any more", "location", held.Record.Name)
		return n.st.SetSetting(ctx, twinSetting+l.ID.String(), int64(1))
	}
	_, release, err := n.work.take(ctx, l)
	if err != nil {
		return err
	}
	head, err := n.st.NewEpoch(ctx, l, heard.Head)
	release()
	if err != nil {
		return err
	}
	n.log.Warn("a newer state of an own location was heard: it begins anew", "location", held.Record.Name, "epoch", head.Epoch)
	if err := n.st.SetSetting(ctx, raisedSetting+l.ID.String(), time.Now().UnixNano()); err != nil {
		return err
	}
	n.committed(l)
	n.scanSoon(l)
	return nil
}

// isTwin reports whether publishing of an own location was stopped.
func (v *view) isTwin(ctx context.Context, l index.Location) bool {
	_, err := v.st.Setting(ctx, twinSetting+l.ID.String())
	return err == nil
}

// describeTwin says so to people.
func (v *view) describeTwin(ctx context.Context, l index.Location, out *Location) {
	if v.isTwin(ctx, l) {
		out.State = api.StateFrozen
		out.Detail = "a copy of this device's data runs somewhere else; stop one of them, then remove this location and add it again"
	}
}
