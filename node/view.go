package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/store"
)

// view answers questions from the store. With a running node beside it, it also knows what moves at this moment.
type view struct {
	st  *store.Store
	lib *library
	// live is nil without a running node.
	live *live
	// likes remembers which locations look the same; nil = it is found out anew each time.
	likes *likes
}

// Devices lists the members of the library, this device first.
func (v *view) Devices(ctx context.Context) ([]Device, error) {
	contacts, err := v.st.Contacts(ctx)
	if err != nil {
		return nil, humane(err)
	}
	var out []Device
	for _, m := range v.lib.members() {
		d := v.lib.device(m.Device)
		c := contacts[m.Device]
		d.LastSeen, d.LastError = c.Seen, c.Error
		if len(c.Addrs) > 0 {
			d.Address = c.Addrs[0]
		}
		if v.live != nil {
			v.live.describe(&d)
		}
		if d.Self {
			d.Connected, d.LastSeen, d.LastError, d.Address = v.live != nil, time.Time{}, "", ""
			out = append([]Device{d}, out...)
			continue
		}
		out = append(out, d)
	}
	return out, nil
}

// situations says how every location stands, own ones too: what is held, and what was heard.
func (v *view) situations(ctx context.Context) ([]syncer.Situation, error) {
	heard, err := v.allHeard(ctx)
	if err != nil {
		return nil, err
	}
	frozen, err := v.st.Frozen(ctx)
	if err != nil {
		return nil, err
	}
	policies, err := v.st.Policies(ctx)
	if err != nil {
		return nil, err
	}
	locs, err := v.st.Locations(ctx)
	if err != nil {
		return nil, err
	}
	for l := range heard {
		if !slices.Contains(locs, l) {
			locs = append(locs, l)
		}
	}
	sames, _, err := v.sames(ctx, heard)
	if err != nil {
		return nil, err
	}
	out := make([]syncer.Situation, 0, len(locs))
	for _, l := range locs {
		s := syncer.Situation{
			Location: l, Frozen: frozen[l], Same: sames[l].instead(), Policy: v.policyOf(policies, l), Metered: v.metered(),
		}
		record := []byte(nil)
		held, err := v.st.Held(ctx, l)
		switch {
		case err == nil:
			s.Held, record = &held.Head, held.Raw
		case damaged(err): // as if there were none: a replica is fetched anew
			s.Damaged = true
		case !errors.Is(err, store.ErrNotFound):
			return nil, err
		}
		if v.live != nil {
			s.Unproved = v.live.n.syncer.Unproved(l)
		}
		for _, h := range heard[l] {
			reachable := v.live != nil && v.live.connected(h.Device)
			s.Heard = append(s.Heard, syncer.Heard{
				Device: h.Device, Head: h.Head, Horizon: h.Horizon, Size: h.Size, Held: h.Held, Reachable: reachable, Link: v.live.link(h.Device),
			})
		}
		if newest, ok := s.Newest(); ok {
			for _, h := range heard[l] {
				if h.Head.Record == newest.Record {
					record = h.Record
				}
			}
		}
		var rec index.Record
		if err := rec.UnmarshalBinary(record); err == nil {
			s.Retired = rec.Retired
		}
		if slices.ContainsFunc(heard[l], retired) { // for ever, also if its owner forgot it since
			s.Retired = index.Retired
		}
		out = append(out, s)
	}
	return out, nil
}

// retired reports whether a head heard says that its owner removed the location.
func retired(h store.Heard) bool {
	var rec index.Record
	return rec.UnmarshalBinary(h.Record) == nil && rec.Retired == index.Retired
}

// newestHeard is the one of the heads of one location that its owner signed last; nil if there is none.
func newestHeard(heard []store.Heard) *store.Heard {
	var best *store.Heard
	for i := range heard {
		h := &heard[i]
		if best == nil || cmp.Or(cmp.Compare(h.Head.Epoch.Counter, best.Head.Epoch.Counter), cmp.Compare(h.Head.Seq, best.Head.Seq)) > 0 {
			best = h
		}
	}
	return best
}

// Locations lists what is known of all locations, own ones first, then by device and name.
func (v *view) Locations(ctx context.Context) ([]Location, error) {
	sits, err := v.situations(ctx)
	if err != nil {
		return nil, humane(err)
	}
	heard, err := v.allHeard(ctx)
	if err != nil {
		return nil, humane(err)
	}
	files, err := v.st.Files(ctx)
	if err != nil {
		return nil, humane(err)
	}
	queue, err := v.queue(ctx)
	if err != nil {
		return nil, humane(err)
	}
	jobs := map[index.Location]*syncer.Job{}
	for i := range queue {
		jobs[queue[i].Location] = &queue[i]
	}
	checked := map[index.Location]time.Time{}
	for _, f := range files {
		checked[f.Location] = f.Checked
	}
	out := make([]Location, 0, len(sits))
	for i := range sits {
		if s := &sits[i]; s.Location.Owner == v.st.Self() && s.Held == nil && !v.isLost(ctx, s) {
			continue // removed
		}
		loc, err := v.describe(ctx, &sits[i], heard[sits[i].Location], jobs)
		if err != nil {
			return nil, humane(err)
		}
		loc.Checked = checked[sits[i].Location]
		if !loc.Own || loc.State != api.StateRetired {
			out = append(out, loc)
		}
	}
	slices.SortStableFunc(out, func(a, b Location) int {
		if a.Own != b.Own {
			if a.Own {
				return -1
			}
			return 1
		}
		if c := strings.Compare(a.Device, b.Device); c != 0 {
			return c
		}
		return strings.Compare(a.Name, b.Name)
	})
	return out, nil
}

// describe makes what people see of one location.
func (v *view) describe(ctx context.Context, s *syncer.Situation, heard []store.Heard, jobs map[index.Location]*syncer.Job) (Location, error) {
	l := s.Location
	out := Location{Owner: l.Owner, ID: l.ID, Device: v.lib.name(l.Owner), Own: l.Owner == v.st.Self()}
	newest, _ := s.Newest()
	record := []byte(nil)
	for _, h := range heard {
		if h.Head.Record == newest.Record {
			record = h.Record
		}
	}
	if held, err := v.st.Held(ctx, l); err == nil {
		h := held.Head
		out.Entries, out.AsOf, out.Epoch, out.Seq = h.Count, h.Time(), h.Epoch.String(), h.Seq
		record = held.Raw
	} else if damaged(err) {
		out.Detail = describeDamage(err)
	} else if !errors.Is(err, store.ErrNotFound) {
		return out, err
	}
	f := v.facts(s, &newest, jobs)
	f.damage, out.Transfer = out.Detail, f.transfer
	var rec index.Record
	if err := rec.UnmarshalBinary(record); err == nil {
		out.Name, out.Root = rec.Name, rec.Root
	}
	if out.Own && s.Held == nil {
		v.describeLost(s, &out)
		return out, nil
	}
	if out.Own {
		return out, v.describeOwn(ctx, f, &out)
	}
	if newest.Seq > out.Seq || newest.Epoch.String() != out.Epoch {
		out.HeardSeq = newest.Seq
	}
	st := f.replica()
	out.State, out.Detail, out.Behind = st.state, st.detail, st.behind
	out.Policy = string(s.Policy)
	if out.State == api.StateLazy && s.Held == nil { // what would be found
		out.Entries, out.AsOf = newest.Count, newest.Time()
	}
	return out, nil
}

// facts gathers what decides how a location stands.
func (v *view) facts(s *syncer.Situation, newest *index.SignedHead, jobs map[index.Location]*syncer.Job) *facts {
	f := &facts{sit: s, newest: newest, job: jobs[s.Location], allPaused: jobs[syncer.All] != nil, same: s.Same}
	if v.live != nil {
		f.running, f.ownerHere, f.transfer = true, v.live.connected(s.Location.Owner), v.live.moves(s.Location)
		f.scanning, f.scanFailed = v.live.scanning(s.Location), v.live.scanFailed(s.Location)
	}
	switch p := syncer.Decide(s); {
	case s.Policy == syncer.Off:
		f.policy = string(syncer.Off)
	case s.Policy == syncer.Lazy, p.Strategy == syncer.OnDemand:
		f.policy = string(syncer.Lazy)
	}
	return f
}

// damaged reports whether a location's own file is at fault. The others go on.
func damaged(err error) bool { return errors.Is(err, store.ErrCorrupt) }

// warn tells of trouble with one location that does not stop the rest.
func (v *view) warn(what string, l index.Location, err error) {
	if v.live != nil {
		v.live.n.log.Warn(what, "location", l, "error", err)
	}
}

// describeOwn says how a location of this device stands.
func (v *view) describeOwn(ctx context.Context, f *facts, out *Location) error {
	l := f.sit.Location
	st, err := v.st.ScanState(ctx, l.ID)
	if err != nil {
		return err
	}
	f.scan, f.root = st, out.Root
	is := f.own()
	if out.State, out.Detail = is.state, is.detail; f.sit.Retired != index.Active {
		return nil
	}
	out.Unreadable, out.UnreadablePaths, out.HeldDeletions = st.Unreadable, st.Paths, st.HeldCount
	if st.State != api.StateNever {
		out.LastScan, out.LastScanDuration = st.Started, st.Took
	}
	v.describeTwin(ctx, l, out)
	return nil
}

// location finds a location of this device by name, path or id.
func (v *view) location(ctx context.Context, ref string) (Location, error) {
	locs, err := v.Locations(ctx)
	if err != nil {
		return Location{}, err
	}
	var names []string
	for _, l := range locs {
		if l.Own && (l.Name == ref || l.ID.String() == ref || l.Root != "" && l.Root == cleanPath(ref)) {
			return l, nil
		}
		if l.Own {
			names = append(names, l.Name)
		}
	}
	hint := "this device has no locations yet: peerdex add FOLDER"
	if len(names) > 0 {
		hint = "this device has: " + strings.Join(names, ", ")
	}
	return Location{}, notFound(fmt.Sprintf("no location %q on this device", ref), hint)
}

// findDevice finds a device by name, or by the only beginning of a name or an id.
func (v *view) findDevice(ref string) (Device, error) {
	var found []Device
	var names []string
	for _, m := range v.lib.members() {
		d := v.lib.device(m.Device)
		if d.Name == ref {
			return d, nil
		}
		names = append(names, d.Name)
		if ref != "" && (strings.HasPrefix(d.Name, ref) || strings.HasPrefix(d.ID.String(), ref) ||
			strings.HasPrefix(d.Short, strings.ToUpper(ref)) || strings.HasPrefix(d.PeerID, ref)) {
			found = append(found, d)
		}
	}
	hint := "the devices are: " + strings.Join(names, ", ")
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return Device{}, notFound(fmt.Sprintf("no device %q", ref), hint)
	}
	return Device{}, usage(fmt.Sprintf("%q may be several devices", ref), "", hint)
}

// Status is one screen about this device.
func (v *view) Status(ctx context.Context) (Status, error) {
	var out Status
	devices, err := v.Devices(ctx)
	if err != nil {
		return out, err
	}
	for _, d := range devices {
		if d.Self {
			out.Device = d
			continue
		}
		out.Devices = append(out.Devices, d)
	}
	if out.Locations, err = v.Locations(ctx); err != nil {
		return out, err
	}
	out.Library = v.lib.id().String()
	if v.live != nil {
		v.live.status(&out)
	}
	out.Notes = append(out.Notes, notes(&out)...)
	offers, err := v.offers(ctx, out.Locations)
	if err != nil {
		return out, humane(err)
	}
	out.Notes = append(out.Notes, offerNotes(offers)...)
	return out, nil
}

// notes says in words what a person should know.
func notes(s *Status) []string {
	var out []string
	for _, l := range s.Locations {
		switch l.State {
		case api.StateAway:
			out = append(out, fmt.Sprintf("%s: %s; its index is kept", l.Name, l.Detail))
		case api.StateUnreadable:
			out = append(out, fmt.Sprintf("%s can't be read: %s; its index is kept", l.Name, l.Detail))
		case api.StateQuarantined:
			out = append(out, fmt.Sprintf("%s of %s is quarantined: %s", l.Name, l.Device, l.Detail))
		case api.StateFrozen:
			out = append(out, fmt.Sprintf("%s of %s is frozen: %s", l.Name, l.Device, l.Detail))
		case api.StateLost:
			out = append(out, fmt.Sprintf("%s: %s; no file in the folder is concerned", l.Name, l.Detail))
		}
		if strings.HasPrefix(l.Detail, lastScanFailed) {
			out = append(out, l.Name+": "+l.Detail)
		}
		if l.HeldDeletions > 0 {
			out = append(out, fmt.Sprintf("%s: %d entries are gone; they are deleted from the index when a second scan agrees (peerdex scan %s)",
				l.Name, l.HeldDeletions, l.Name))
		}
		if l.Unreadable > 0 {
			out = append(out, fmt.Sprintf("%s: %d folders or entries could not be read; what was known of them is kept", l.Name, l.Unreadable))
		}
	}
	for _, d := range s.Devices {
		if s.Running && !d.Connected && d.LastSeen.IsZero() {
			out = append(out, d.Name+" was never connected since it joined")
		}
	}
	return out
}
