package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/store"
)

// Check checks what this device holds: locations of its own and replicas. A damaged one is part of the answer, not an
// error. Repair is for a running node.
func (v *view) Check(ctx context.Context, r CheckRequest) ([]CheckResult, error) {
	if r.Repair {
		return nil, usage("nothing is repaired without the daemon", "replicas are fetched from other devices, folders scanned", "peerdex up")
	}
	return v.check(ctx, r, v.st.CheckLocation)
}

// Check checks what this device holds. What is damaged is quarantined: a replica is fetched again from any device that
// holds one; a location of this device is taken back from one, or begins anew if nobody can have it, both under a new
// epoch, and is scanned. With Repair it begins anew also if nobody is connected, and Check waits for that.
func (n *Node) Check(ctx context.Context, r CheckRequest) ([]CheckResult, error) {
	defer n.activity.Begin()()
	one := n.inspect
	if r.Repair {
		one = n.inspectForRepair
	}
	results, err := n.check(ctx, r, one)
	if err != nil {
		return results, err
	}
	for i := range results {
		res := &results[i]
		switch {
		case res.OK:
		case res.Location.Own && r.Repair:
			if err := n.repairOwn(ctx, res); err != nil {
				return results, humane(err)
			}
		case n.isQuarantined(ctx, res.Location.Ref()):
			res.Location.State = api.StateQuarantined
			res.Hint = "it is fetched again from a device that holds it: peerdex status shows when"
			if res.Location.Own {
				res.Hint = "it is taken back from another device, or begun anew: peerdex status shows when"
			}
		}
	}
	return results, nil
}

func (n *Node) isQuarantined(ctx context.Context, l index.Location) bool {
	f, err := n.file(ctx, l)
	return err == nil && f.Quarantine != ""
}

func (v *view) check(ctx context.Context, r CheckRequest, one func(context.Context, index.Location, store.CheckOptions) error) ([]CheckResult, error) {
	sits, err := v.situations(ctx)
	if err != nil {
		return nil, humane(err)
	}
	named, err := v.st.Locations(ctx)
	if err != nil {
		return nil, humane(err)
	}
	heard, err := v.st.AllHeard(ctx)
	if err != nil {
		return nil, humane(err)
	}
	out := []CheckResult{}
	for i := range sits {
		l := sits[i].Location
		if !slices.Contains(named, l) && !v.isLost(ctx, &sits[i]) {
			continue // held by others only
		}
		loc := v.outline(ctx, l, heard[l])
		if !called(&loc, r.Location) {
			continue
		}
		begun := time.Now()
		err := one(ctx, l, store.CheckOptions{Deep: r.Deep})
		if ctx.Err() != nil {
			return out, ctx.Err()
		}
		took := time.Since(begun)
		if f, err := v.file(ctx, l); err == nil {
			loc.Checked = f.Checked
		}
		out = append(out, checkResult(loc, err, took))
	}
	if r.Location != "" && len(out) == 0 {
		return nil, notFound(fmt.Sprintf("this device holds no location %q", r.Location), "peerdex locations")
	}
	return out, nil
}

// outline says as much of a location as can be read when its file is damaged.
func (v *view) outline(ctx context.Context, l index.Location, heard []store.Heard) Location {
	loc := Location{Owner: l.Owner, ID: l.ID, Device: v.lib.name(l.Owner), Own: l.Owner == v.st.Self(), Name: l.ID.String()}
	var record []byte
	if held, err := v.st.Held(ctx, l); err == nil {
		loc.Entries, loc.AsOf, loc.Epoch, loc.Seq = held.Head.Count, held.Head.Time(), held.Head.Epoch.String(), held.Head.Seq
		record = held.Raw
	} else if newest := newestHeard(heard); newest != nil {
		record = newest.Record
	}
	var rec index.Record
	if rec.UnmarshalBinary(record) == nil {
		loc.Name, loc.Root = rec.Name, rec.Root
	}
	return loc
}

// called reports whether a location is meant by ref: by its name, its path, or its id, alone or after its device's
// name; "" means all.
func called(l *Location, ref string) bool {
	if device, rest, ok := strings.Cut(ref, ":"); ok && device == l.Device {
		ref = rest
	}
	return ref == "" || ref == l.Name || ref == l.ID.String() || l.Root != "" && cleanPath(ref) == l.Root
}

func checkResult(loc Location, err error, took time.Duration) CheckResult {
	res := CheckResult{Location: loc, OK: err == nil, Problems: []string{}, Duration: took}
	if err == nil {
		return res
	}
	res.Problems = strings.Split(err.Error(), "\n")
	if errors.Is(err, store.ErrNotFound) {
		res.Problems = []string{"its index is not on this device"}
	}
	if q, ok := errors.AsType[*store.QuarantineError](err); ok {
		res.Location.State, res.Problems = api.StateQuarantined, []string{q.Why}
		res.Hint = "it is replaced when the daemon runs: peerdex up"
		return res
	}
	switch {
	case !errors.Is(err, store.ErrCorrupt) && !errors.Is(err, store.ErrNotFound):
		res.Hint = "the file could not be read: check the disk, and try again"
	case loc.Own && loc.Name == loc.ID.String(): // nothing is known of it
		res.Hint = "index the folder anew: peerdex add FOLDER; no file of yours is touched"
	case loc.Own:
		res.Hint = "take its index back from another device, or begin it anew: peerdex check --deep --repair; no file of yours is touched"
	default:
		res.Hint = "fetch it again from another device: peerdex check --deep --repair"
	}
	return res
}
