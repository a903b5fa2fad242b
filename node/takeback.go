package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
)

// A location of this device whose file is gone or damaged is lost. While it is, nothing reads the folder for it, nothing
// is committed to it and nothing served, and what lies on the disk stays as it is. It ends in one of three ways, each
// under a new epoch:
//
//   - It is taken back, as soon as a device that holds a replica is connected: from the one with the highest head.
//   - It begins anew by a scan of its folder, if nobody can have a replica: every other member has said since this node
//     started that it holds none.
//   - It begins anew because somebody says so: peerdex check --repair.

// settleTime is how long the devices that are connected have to say what they hold before a lost location is taken back
// from the one that holds most.
const settleTime = 3 * time.Second

// losses remembers which own locations are known to be lost, and which are to be scanned soon.
type losses struct {
	mu    sync.Mutex
	since map[index.Location]time.Time
	scan  map[index.Location]bool
}

func newLosses() *losses {
	return &losses{since: map[index.Location]time.Time{}, scan: map[index.Location]bool{}}
}

// note returns since when a location is known to be lost, and whether that is news.
func (x *losses) note(l index.Location) (since time.Time, first bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	since, known := x.since[l]
	if !known {
		since = time.Now()
		x.since[l] = since
	}
	return since, !known
}

func (x *losses) forget(l index.Location) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.since, l)
}

// takeScan reports whether a location is to be scanned now, once.
func (x *losses) takeScan(l index.Location) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	due := x.scan[l]
	delete(x.scan, l)
	return due
}

// scanSoon has a location scanned in the background, whenever it was scanned last.
func (n *Node) scanSoon(l index.Location) {
	n.losses.mu.Lock()
	n.losses.scan[l] = true
	n.losses.mu.Unlock()
	n.wakeScan()
}

// isLost reports whether a situation is that of an own location whose index is gone or damaged. One that was removed, or
// of which this device has no file and no device a replica, is not.
func (v *view) isLost(ctx context.Context, s *syncer.Situation) bool {
	if s.Location.Owner != v.st.Self() || s.Held != nil || s.Retired == index.Retired {
		return false
	}
	if slices.ContainsFunc(s.Heard, func(h syncer.Heard) bool { return h.Held }) {
		return true
	}
	_, err := v.st.LocationFile(ctx, s.Location) // that node.db names, whether it is there or not
	return err == nil
}

// wanted reports whether a situation is one that the syncer has to look at: of another device's location, or of an own
// one that is to be taken back now.
func (n *Node) wanted(ctx context.Context, s *syncer.Situation) bool {
	l := s.Location
	if l.Owner != n.st.Self() {
		return true
	}
	if !n.isLost(ctx, s) {
		n.losses.forget(l)
		return false
	}
	since, first := n.losses.note(l)
	if first {
		n.tellLost(ctx, l)
	}
	if n.nobodyHolds(ctx, l) {
		n.wakeScan() // which begins it anew
		return false
	}
	if n.heardAll(func(d index.DeviceID) bool { return n.live.connected(d) }) || time.Since(since) > settleTime {
		return true
	}
	if first {
		n.spawn(func() {
			if sleep(n.ctx, settleTime+time.Millisecond) {
				n.syncer.Kick()
			}
		})
	}
	return false
}

func (n *Node) tellLost(ctx context.Context, l index.Location) {
	loc, err := n.byRef(ctx, l)
	if err != nil {
		return
	}
	n.log.Warn("the index of an own location is lost", "location", l, "name", loc.Name, "detail", loc.Detail)
	n.events.emit(Event{Type: api.EventLocationLost, Location: &loc})
}

// heardAll reports whether every other member that counts has said what it holds since this node started.
func (n *Node) heardAll(counts func(index.DeviceID) bool) bool {
	for _, m := range n.lib.members() {
		if m.Device == n.st.Self() || !counts(m.Device) {
			continue
		}
		p, err := wire.PeerOf(m.Device)
		if err != nil || n.talks.last(p).IsZero() {
			return false
		}
	}
	return true
}

// nobodyHolds reports whether it is certain that no other member holds a replica of an own location.
func (n *Node) nobodyHolds(ctx context.Context, l index.Location) bool {
	heard, err := n.st.AllHeard(ctx)
	if err != nil || slices.ContainsFunc(heard[l], func(h store.Heard) bool { return h.Held }) {
		return false
	}
	return n.heardAll(func(index.DeviceID) bool { return true })
}

// takeBack takes an own location back from a device that holds a replica of it. Unless force is set it does nothing if
// the location is not lost any more.
func (n *Node) takeBack(ctx context.Context, l index.Location, p syncer.Plan, force bool) error {
	done, err := n.pullBack(ctx, l, p, force)
	if err != nil || !done {
		return err
	}
	if err := n.settleIn(ctx, l); err != nil {
		return err
	}
	held, err := n.st.Held(ctx, l)
	if err != nil {
		return err
	}
	n.log.Warn("the lost index of an own location was taken back", "location", l, "name", held.Record.Name,
		"from", n.lib.name(p.Provider), "entries", held.Head.Count, "epoch", held.Head.Epoch)
	n.updated(api.EventLocationTakenBack, l)
	n.announce()
	n.scanSoon(l)
	return nil
}

// pullBack is takeBack while nothing else works on the location.
func (n *Node) pullBack(ctx context.Context, l index.Location, p syncer.Plan, force bool) (bool, error) {
	turn := n.work.begin // behind somebody who was told to do the same
	if force {
		turn = n.work.take
	}
	ctx, release, err := turn(ctx, l)
	if err != nil {
		return false, err
	}
	defer release()
	if _, err := n.st.Held(ctx, l); err == nil && !force {
		return false, nil
	}
	p.Strategy = syncer.BatchFull
	if err := n.pull(ctx, l, p); err != nil {
		return false, err
	}
	n.losses.forget(l)
	return true, n.st.SetScanState(ctx, l.ID, store.ScanState{State: api.StateNever})
}

// settleIn makes an own location that came back get along with those that were added meanwhile: one of the same folder
// gives way to it, and it gets a name of its own.
func (n *Node) settleIn(ctx context.Context, l index.Location) error {
	n.change.Lock()
	defer n.change.Unlock()
	all, err := n.Locations(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(all, func(x Location) bool { return x.Ref() == l })
	if at < 0 {
		return nil // removed meanwhile
	}
	back := all[at]
	all = slices.DeleteFunc(all, func(x Location) bool { return !x.Own || x.Ref() == l })
	for i := range all {
		if x := &all[i]; scannable(&back) && scannable(x) && !lost(x) && x.Root == back.Root {
			n.log.Warn("a location gives way to one of the same folder that was taken back", "name", x.Name, "id", x.ID)
			if _, err := n.remove(ctx, *x, index.Retired); err != nil {
				return err
			}
			all = slices.Delete(all, i, i+1)
			break
		}
	}
	name := unique(back.Name, func(s string) bool { return slices.ContainsFunc(all, func(x Location) bool { return x.Name == s }) })
	if name == back.Name {
		return nil
	}
	_, err = n.st.SetRecord(ctx, l, func(r *index.Record) { r.Name = name })
	return err
}

// beginAnew gives a lost or damaged own location an empty index under a new epoch, to be filled by a scan.
func (n *Node) beginAnew(ctx context.Context, l index.Location) error {
	_, release, err := n.work.take(ctx, l)
	if err != nil {
		return err
	}
	defer release()
	if err := n.st.Renew(ctx, l); err != nil {
		return err
	}
	if err := n.st.EnterLibrary(ctx, n.lib.id()); err != nil {
		return err
	}
	if err := n.st.SetScanState(ctx, l.ID, store.ScanState{State: api.StateNever}); err != nil {
		return err
	}
	n.losses.forget(l)
	n.log.Warn("the index of an own location begins anew", "location", l)
	n.updated(api.EventLocationUpdated, l)
	n.announce()
	return nil
}

// lost reports whether a location, as people see it, is an own one without an index.
func lost(l *Location) bool {
	return l.Own && (l.State == api.StateLost || l.State == api.StateSyncing)
}

// describeLost says how an own location is that has no index.
func (v *view) describeLost(s *syncer.Situation, out *Location) {
	var near, all []string
	for _, h := range s.Heard {
		if !h.Held {
			continue
		}
		all = append(all, v.lib.name(h.Device))
		if h.Reachable {
			near = append(near, v.lib.name(h.Device))
		}
	}
	what := "its index on this device is gone"
	if out.Detail != "" {
		what = "its index on this device is damaged" // how, the log says
	}
	anew := "; to begin it anew instead: peerdex check --repair " + out.Name
	out.State = api.StateLost
	switch {
	case v.live != nil && v.live.syncing(s.Location):
		out.State, out.Detail = api.StateSyncing, "its lost index is taken back from "+v.live.provider(s.Location)
	case len(near) > 0:
		out.Detail = what + "; it is taken back from " + strings.Join(near, " or ")
	case len(all) > 0:
		out.Detail = what + "; it is taken back when " + strings.Join(all, " or ") + " is connected" + anew
	default:
		out.Detail = what + "; it is taken back when a device that holds a copy is connected" + anew
	}
}

// unavailable is the error for what needs the index of a lost location.
func unavailable(l *Location) *Error {
	return &Error{Code: api.CodeUnavailable, Title: "the index of " + l.Name + " is lost on this device", Detail: l.Detail, Hint: "peerdex status"}
}

// repairOwn takes a damaged own location back from a device that is connected, or begins it anew if there is none, or if
// that device got the damage too. One that an application feeds begins anew only if nobody can have it, since nothing
// brings its entries back then.
func (n *Node) repairOwn(ctx context.Context, res *CheckResult) error {
	l := res.Location.Ref()
	fed := res.Location.Root == ""
	from, err := n.takeBackNow(ctx, l)
	switch {
	case ctx.Err() != nil:
		return err
	case from != "" && err == nil:
		res.Repaired, res.Hint = true, "its index was taken back from "+from
		if err := n.scanRepaired(ctx, res); err != nil {
			return err
		}
		// What came of the damage before it was found may have been signed, too.
		err := n.st.CheckLocation(ctx, l, store.CheckOptions{Deep: true})
		if fed || !errors.Is(err, store.ErrCorrupt) {
			return err
		}
		n.log.Warn("what was taken back is damaged too", "location", l, "from", from, "error", err)
	case from != "" && fed:
		res.Hint = "taking its index back from " + from + " did not work, so it stays as it is: " + humane(err).Error()
		return nil
	case err != nil:
		n.log.Warn("take a location back", "location", l, "from", from, "error", err)
	}
	if fed && !n.nobodyHolds(ctx, l) {
		res.Hint = "connect a device that holds a copy of it: only from there its entries can come back"
		return nil
	}
	switch err := n.beginAnew(ctx, l); {
	case errors.Is(err, store.ErrCorrupt):
		return nil // the hint says what is left to do
	case errors.Is(err, store.ErrRetired):
		res.Repaired, res.Hint = true, "it was removed before; its file is deleted"
		return n.st.Drop(ctx, l)
	case err != nil:
		return fmt.Errorf("begin the damaged index anew: %w", err)
	}
	res.Repaired, res.Hint = true, "its index begins anew"
	if fed {
		res.Hint += "; the application that feeds it has to do so from the beginning"
	}
	return n.scanRepaired(ctx, res)
}

// takeBackNow takes an own location back whatever state it is in, and returns the name of the device that it came from, or
// was to come from; "" if none is connected.
func (n *Node) takeBackNow(ctx context.Context, l index.Location) (from string, err error) {
	sits, err := n.situations(ctx)
	if err != nil {
		return "", err
	}
	at := slices.IndexFunc(sits, func(s syncer.Situation) bool { return s.Location == l })
	if at < 0 {
		return "", nil
	}
	sits[at].Held = nil
	p := syncer.Decide(&sits[at])
	if p.Provider.IsZero() {
		return "", nil
	}
	return n.lib.name(p.Provider), n.takeBack(ctx, l, p, true)
}

// scanRepaired scans the folder of a repaired location, if it has one.
func (n *Node) scanRepaired(ctx context.Context, res *CheckResult) error {
	if res.Location.Root == "" {
		return nil
	}
	res.Hint += ", and the folder was scanned"
	_, err := n.scanLocation(ctx, res.Location.Ref(), time.Time{})
	return err
}
