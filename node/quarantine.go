package node

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/protocols/batch"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
)

// A location whose file is found damaged is quarantined: nothing of the file is shown, searched, served or announced any
// more, not even with a warning, since whatever is shown is under a signed head. A replica is fetched anew from any device
// that holds one, and the file deleted when that is in place.

// file says what is known of the file of a location.
func (v *view) file(ctx context.Context, l index.Location) (store.File, error) {
	files, err := v.st.Files(ctx)
	if err != nil {
		return store.File{}, err
	}
	if i := slices.IndexFunc(files, func(f store.File) bool { return f.Location == l }); i >= 0 {
		return files[i], nil
	}
	return store.File{}, store.ErrNotFound
}

// inspect checks a location's file. That it is good is remembered if all of it was read; if it is damaged it is
// quarantined.
func (n *Node) inspect(ctx context.Context, l index.Location, opt store.CheckOptions) error {
	return n.inspectFile(ctx, l, opt, true)
}

// inspectForRepair is inspect, but leaves damaged own locations to who repairs them at once.
func (n *Node) inspectForRepair(ctx context.Context, l index.Location, opt store.CheckOptions) error {
	return n.inspectFile(ctx, l, opt, l.Owner != n.st.Self())
}

func (n *Node) inspectFile(ctx context.Context, l index.Location, opt store.CheckOptions, aside bool) error {
	f, err := n.file(ctx, l) // before the check: what it finds is said of no later file
	if err != nil {
		return err
	}
	err = n.st.CheckLocation(ctx, l, opt)
	switch {
	case err == nil && opt.Deep:
		if err := n.st.SetChecked(ctx, l, f.Generation, time.Now()); err != nil {
			n.log.Warn("remember a check", "location", l, "error", err)
		}
		n.updated(api.EventLocationChecked, l)
	case damaged(err) && aside:
		n.quarantine(f, err)
	}
	return err
}

// quarantine sets a damaged file aside and has it replaced, whoever has lost interest in the check that found it.
func (n *Node) quarantine(f store.File, why error) {
	l := f.Location
	line, _, _ := strings.Cut(why.Error(), "\n")
	done, err := n.st.Quarantine(n.ctx, l, f.Generation, line)
	if err != nil && n.ctx.Err() == nil {
		n.log.Error("quarantine", "location", l, "error", err)
	}
	if !done {
		return // somebody else did, or it is not in use any more
	}
	n.log.Error("the file of a location is damaged; it is quarantined", "location", l, "name", n.locationName(n.ctx, l), "why", why)
	n.updated(api.EventLocationQuarantined, l)
	n.announce() // it is held no more
	n.syncer.Retry()
}

// attempt carries out a plan of the syncer. Data that can't be proved are held against the device that served them,
// unless the file that they were to change is at fault.
func (n *Node) attempt(ctx context.Context, sit syncer.Situation, p syncer.Plan) error {
	if !p.Provider.IsZero() {
		defer n.activity.Begin()()
	}
	err := patience(n.sync(ctx, sit, p))
	n.applyKept(ctx, sit.Location)
	// A snapshot that can't be proved says less than batches that can't: those are tried next.
	if !unproved(err) || errors.Is(err, errMixed) || errors.Is(err, syncer.ErrNoSnapshot) {
		return err
	}
	if sit.Held != nil && p.Strategy != syncer.BatchFull {
		cerr := n.inspect(ctx, sit.Location, store.CheckOptions{Deep: true})
		if cerr != nil {
			return errors.Join(err, cerr)
		}
	}
	return &syncer.UnprovedError{Head: p.Offer, Delta: p.Strategy == syncer.BatchDelta || p.Strategy == syncer.Change, Err: err}
}

// errMixed says that what can't be proved came from more than one device.
var errMixed = errors.New("received from more than one device")

// unproved reports whether a provider served what can't lead to the head that it offered.
func unproved(err error) bool {
	return slices.ContainsFunc([]error{store.ErrMismatch, batch.ErrMismatch, wire.ErrMalformed, index.ErrPageOrder, index.ErrBadSignature},
		func(e error) bool { return errors.Is(err, e) })
}

// damagedOf returns the error of a location of a device that can't be read, nil if all can but those passed over.
func (v *view) damagedOf(ctx context.Context, d *Device, but func(index.Location) bool) error {
	locs, err := v.st.Locations(ctx)
	if err != nil {
		return err
	}
	for _, l := range locs {
		if l.Owner == d.ID && !but(l) {
			if _, err := v.st.Held(ctx, l); damaged(err) {
				return err
			}
		}
	}
	return nil
}

// describeDamage says what is wrong with a location's file.
func describeDamage(err error) string {
	what := "its file on this device is damaged"
	if q, ok := errors.AsType[*store.QuarantineError](err); ok {
		what += " (" + strings.TrimPrefix(q.Why, store.ErrCorrupt.Error()+": ") + ")"
	}
	return what
}

// whenFetched says when a quarantined replica comes back.
func whenFetched(p *syncer.Plan) string {
	if p.Strategy == syncer.Nothing {
		return "it is fetched again from another device: " + p.Why
	}
	return "it is fetched again from another device"
}
