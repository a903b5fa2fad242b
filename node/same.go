package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/store"
)

// One folder may be indexed by two devices: a share that both have mounted, or a disk that was moved. When a person says
// so, this device uses its own index of the folder and fetches that of the other device no more; what it holds of it stays,
// and a search lists the folder once. While the folder is away here (a share that is not mounted), it is as if nothing
// had been said, but that the one that was known true last is searched. The answer holds for the two folders as they were:
// it is forgotten when one of the records names another volume, when one of the locations is removed, and when the owners
// sign numbers of entries for a week that can't be those of one folder. The replica can't be compared: it is not fetched.

// sameDiffers is for how long two locations may be too different to be one folder.
const sameDiffers = 7 * 24 * time.Hour

// sameFolder is an answer that holds: a location of another device is the same folder as an own one.
type sameFolder struct {
	store.Same
	own  index.Location
	name string // of the own location
	root string
	asOf int64
	away bool // the own folder is not there, or its index is damaged
}

// instead is the name of the own location that is used instead of the other one; "" if none is.
func (x sameFolder) instead() string {
	if x.away {
		return ""
	}
	return x.name
}

// sames returns the answers that hold, by the other device's location, and those that hold no more.
func (v *view) sames(ctx context.Context, heard map[index.Location][]store.Heard) (map[index.Location]sameFolder, []store.Same, error) {
	rows, err := v.st.Sames(ctx)
	if err != nil || len(rows) == 0 {
		return nil, nil, err
	}
	out := map[index.Location]sameFolder{}
	var over []store.Same
	for _, row := range rows {
		x := sameFolder{Same: row, own: index.Location{Owner: v.st.Self(), ID: row.Own}}
		holds, err := v.holds(ctx, &x, heard[row.Location])
		switch {
		case err != nil:
			return nil, nil, err
		case !holds:
			over = append(over, row)
		case row.Yes:
			out[row.Location] = x
		}
	}
	return out, over, nil
}

// instead is the name of the own location that is used instead of one of another device; "" if none is.
func (v *view) instead(ctx context.Context, l index.Location) (string, error) {
	rows, err := v.st.Sames(ctx)
	if err != nil || !slices.ContainsFunc(rows, func(x store.Same) bool { return x.Location == l && x.Yes }) {
		return "", err
	}
	heard, err := v.st.AllHeard(ctx)
	if err != nil {
		return "", err
	}
	sames, _, err := v.sames(ctx, heard)
	return sames[l].instead(), err
}

// holds reports whether an answer is still about the two folders that it was given for, and adds what is known of the own
// one.
func (v *view) holds(ctx context.Context, x *sameFolder, heard []store.Heard) (bool, error) {
	held, err := v.st.Held(ctx, x.own)
	switch {
	case damaged(err):
		x.away = true
		return true, nil
	case errors.Is(err, store.ErrNotFound):
		return false, nil // removed
	case err != nil:
		return false, err
	}
	other, ok, err := v.record(ctx, x.Location, heard)
	if err != nil || !ok {
		return false, err
	}
	x.name, x.root, x.asOf = held.Record.Name, held.Record.Root, held.Head.AsOf
	st, err := v.st.ScanState(ctx, x.Own)
	if err != nil {
		return false, err
	}
	x.away = st.State == api.StateAway || st.State == api.StateUnreadable
	return held.Record.Retired == index.Active && other.Retired == index.Active &&
		!moved(x.Mine, held.Record.Filesystem) && !moved(x.Theirs, other.Filesystem) &&
		(x.Differs.IsZero() || time.Since(x.Differs) < sameDiffers), nil
}

// moved reports whether a record names another place than before. One that names none says nothing.
func moved(was, is string) bool { return was != "" && is != "" && was != is }

// record is the newest record of another device's location; false if none is known, or its owner is no member.
func (v *view) record(ctx context.Context, l index.Location, heard []store.Heard) (index.Record, bool, error) {
	var rec index.Record
	if _, member := v.lib.member(l.Owner); !member {
		return rec, false, nil
	}
	if slices.ContainsFunc(heard, retired) {
		return index.Record{Retired: index.Retired}, true, nil
	}
	held, err := v.st.Held(ctx, l)
	newest := newestHeard(heard)
	switch {
	case err == nil && (newest == nil || index.Compare(&newest.Head.Head, &held.Head.Head) == index.Older):
		return held.Record, true, nil
	case err != nil && !errors.Is(err, store.ErrNotFound) && !damaged(err):
		return rec, false, err
	case newest == nil:
		return rec, false, nil
	}
	return rec, rec.UnmarshalBinary(newest.Record) == nil, nil
}

// once leaves out of a search what it would list twice. What a query names by device, location or path is searched there.
func (v *view) once(ctx context.Context, r *store.SearchRequest) error {
	heard, err := v.st.AllHeard(ctx)
	if err != nil {
		return err
	}
	sames, _, err := v.sames(ctx, heard)
	if err != nil || len(sames) == 0 {
		return err
	}
	all := slices.Clone(r.Locations)
	for l, x := range sames {
		if r.After != nil && (r.After.Location == l || r.After.Location == x.own) || !slices.Contains(all, l) || !slices.Contains(all, x.own) {
			continue
		}
		held, err := v.st.Held(ctx, l)
		if errors.Is(err, store.ErrNotFound) || damaged(err) {
			continue // there is nothing of it to list
		}
		if err != nil {
			return err
		}
		covers := func(name, root string) bool { return r.Query.MatchesLocation(name) && r.Query.Reaches(root) }
		out := l
		switch {
		case !x.away && covers(x.name, x.root):
		case x.away && x.name != "" && held.Head.AsOf >= x.asOf && covers(held.Record.Name, held.Record.Base()):
			out = x.own
		default:
			continue
		}
		r.Locations = slices.DeleteFunc(r.Locations, func(y index.Location) bool { return y == out })
	}
	return nil
}

// tendSames forgets the answers that hold no more, and looks whether the others may still be right.
func (n *Node) tendSames(ctx context.Context) error {
	heard, err := n.st.AllHeard(ctx)
	if err != nil {
		return err
	}
	sames, over, err := n.sames(ctx, heard)
	for _, x := range over {
		n.log.Info("an answer on whether two folders are the same holds no more", "location", x.Location, "own", x.Own)
		err = errors.Join(err, n.st.ForgetSame(ctx, x))
	}
	for l, x := range sames {
		held, herr := n.st.Held(ctx, x.own)
		newest := newestHeard(heard[l])
		if herr != nil || newest == nil || x.away {
			continue // nothing to compare with
		}
		differs, known := farApart(&held.Head.Head, &newest.Head.Head)
		if known && differs == x.Differs.IsZero() {
			if x.Differs = (time.Time{}); differs {
				x.Differs = time.Now()
			}
			err = errors.Join(err, n.st.SetDiffers(ctx, x.Same))
		}
	}
	return err
}

// farApart reports whether two heads can't be of one folder, by the number of entries; known is false if they are of times
// too far apart to tell.
func farApart(a, b *index.Head) (differs, known bool) {
	if a.AsOf == 0 || b.AsOf == 0 || max(a.AsOf, b.AsOf)-min(a.AsOf, b.AsOf) > int64(24*time.Hour) {
		return false, false
	}
	return !near(a.Count, b.Count), true
}

// near reports whether two numbers of entries may be of one folder at two times, by two devices that may not be able to
// read the same.
func near(a, b int64) bool { return max(a, b)-min(a, b) <= max(a, b)/5+64 }

// Same lists what looks like one folder and was not answered yet, then what was answered.
func (v *view) Same(ctx context.Context) ([]Sameness, error) {
	locs, err := v.Locations(ctx)
	if err != nil {
		return nil, err
	}
	out, err := v.offers(ctx, locs)
	if err != nil {
		return nil, humane(err)
	}
	rows, err := v.st.Sames(ctx)
	if err != nil {
		return nil, humane(err)
	}
	for i := range rows {
		if s, ok := v.answered(&rows[i], locs); ok {
			out = append(out, s)
		}
	}
	return out, nil
}

// answered is what people see of an answer; false if one of the locations is gone.
func (v *view) answered(x *store.Same, locs []Location) (Sameness, bool) {
	own := slices.IndexFunc(locs, func(l Location) bool { return l.Own && l.ID == x.Own })
	other := slices.IndexFunc(locs, func(l Location) bool { return l.Ref() == x.Location })
	if own < 0 || other < 0 {
		return Sameness{}, false
	}
	s := Sameness{Own: locs[own], Other: locs[other], Evidence: x.Evidence, Answer: api.AnswerDifferent, At: x.At}
	if s.Detail = describeEvidence(x.Evidence, x.Mine); x.Yes {
		s.Answer = api.AnswerSame
	}
	return s, true
}

// SetSame takes a person's answer to whether a location of this device is the same folder as one of another device. Two
// that nothing speaks for can't be made the same.
func (n *Node) SetSame(ctx context.Context, r SameRequest) (Sameness, error) {
	n.change.Lock()
	defer n.change.Unlock()
	own, err := n.location(ctx, r.Location)
	if err != nil {
		return Sameness{}, err
	}
	locs, err := n.Locations(ctx)
	if err != nil {
		return Sameness{}, err
	}
	other, err := n.ofOther(locs, r.With)
	if err != nil {
		return Sameness{}, err
	}
	x := store.Same{Location: other.Ref(), Own: own.ID, Yes: !r.Different, At: time.Now()}
	like, err := n.likeness(ctx, &own, other)
	if err != nil {
		return Sameness{}, humane(err)
	}
	x.Evidence, x.Mine, x.Theirs = like.evidence, like.mine, like.theirs
	if x.Yes && like.evidence == "" {
		return Sameness{}, conflict(fmt.Sprintf("%s doesn't look like the same folder as %s of %s", own.Name, other.Name, other.Device), like.why,
			"to see what looks the same: peerdex same")
	}
	if x.Yes { // what is under way would be for nothing
		if err := n.syncer.Cancel(ctx, other.Ref()); err != nil && !errors.Is(err, syncer.ErrNoJob) {
			return Sameness{}, humane(err)
		}
	}
	if err := n.st.SetSame(ctx, x); err != nil {
		return Sameness{}, humane(err)
	}
	n.syncer.Retry()
	n.updated(api.EventLocationUpdated, other.Ref())
	if locs, err = n.Locations(ctx); err != nil {
		return Sameness{}, err
	}
	s, _ := n.answered(&x, locs)
	return s, nil
}

// ofOther finds one location of another device.
func (n *Node) ofOther(locs []Location, ref string) (*Location, error) {
	hint := "write DEVICE:LOCATION: peerdex locations"
	if ref == "" {
		return nil, usage("which location of another device?", "", hint)
	}
	others := slices.DeleteFunc(slices.Clone(locs), func(l Location) bool { return l.Own })
	one, of, err := n.resolve(others, ref)
	if err == nil && one == nil {
		err = usage(fmt.Sprintf("%q is a device", of.Name), "", hint)
	}
	return one, err
}
