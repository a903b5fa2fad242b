package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/archive"
	"github.com/peerdex/peerdex/store"
)

// Reasons why a location of a file is refused.
var (
	errOtherLibrary = errors.New("it belongs to another library")
	errNoMember     = errors.New("its owner is not a member of the library")
	errFrozen       = errors.New("its owner signed two states that cannot both be true")
)

// Import takes a file that [Node.Export] of a device of the library wrote, and makes its locations replicas of this
// device, as a transfer over the network would: nothing but what a member signed is taken. Each location is taken or
// refused by itself, and the result says which; an error says that the file as a whole can't be used, or that ctx or the
// node ended. A reader that blocks for ever keeps [Node.Close] waiting.
func (n *Node) Import(ctx context.Context, r io.Reader) (ImportResult, error) {
	defer n.activity.Begin()()
	ctx, release, err := n.hold(ctx)
	if err != nil {
		return ImportResult{}, err
	}
	defer release()
	begun, in := time.Now(), &counted{within: within{ctx, r}}
	file, err := archive.NewReader(in)
	if err != nil {
		return ImportResult{}, fileError(err)
	}
	defer file.Close()
	if file.Manifest().Library != n.lib.id() {
		return ImportResult{}, explain(&Error{
			Code: api.CodeDenied, Title: "the file is of another library", Detail: "this device is not paired with the one that made it",
			Hint: "pair them first: peerdex invite",
		}, errOtherLibrary)
	}
	res := ImportResult{Locations: []ImportedLocation{}}
	for l, err := range file.Locations() {
		if l == nil {
			res.Problem = n.cutShort(ctx, file.Manifest().Locations[len(res.Locations):], err)
			break
		}
		res.Locations = append(res.Locations, n.importLocation(ctx, l, err))
		if ctx.Err() != nil {
			break
		}
	}
	res.Bytes, res.Duration = in.n, time.Since(begun)
	if err := context.Cause(ctx); err != nil {
		return res, err
	}
	return res, nil
}

// counted counts what is read.
type counted struct {
	within
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.within.Read(p)
	c.n += int64(n)
	return n, err
}

// fileError says in words for people what is wrong with a file as a whole.
func fileError(err error) error {
	e := Error{Code: api.CodeFailed, Title: "the file can't be read", Detail: err.Error()}
	switch {
	case errors.Is(err, archive.ErrFormat):
		e = Error{Code: api.CodeUsage, Title: archive.ErrFormat.Error(), Hint: "peerdex export makes such files"}
	case errors.Is(err, archive.ErrNewer):
		e = Error{Code: api.CodeFailed, Title: archive.ErrNewer.Error(), Hint: "update this program"}
	case errors.Is(err, archive.ErrTruncated):
		e.Title, e.Detail, e.Hint = archive.ErrTruncated.Error(), "it was not copied to its end", "copy it again"
	case errors.Is(err, archive.ErrDamaged):
		e.Title, e.Hint = archive.ErrDamaged.Error(), "copy it again, or export it again: peerdex export"
	}
	return explain(&e, err)
}

// cutShort is the problem of a file that can't be read to its end.
func (n *Node) cutShort(ctx context.Context, left []index.Location, err error) *Error {
	e := *api.AsError(fileError(err))
	if len(left) == 0 {
		return &e
	}
	var names []string
	for _, l := range left {
		names = append(names, n.title(ctx, l))
	}
	e.Detail = strings.TrimPrefix(e.Detail+"; ", "; ") + "not reached: " + strings.Join(names, ", ")
	return &e
}

// title is what people call a location, as far as it is known here.
func (n *Node) title(ctx context.Context, l index.Location) string {
	loc, err := n.byRef(ctx, l)
	if err != nil || loc.Name == "" {
		return n.lib.name(l.Owner) + ": " + l.ID.String()
	}
	return loc.Device + ": " + loc.Name
}

// importLocation takes one location, or says why not. bad is what is wrong with it in the file.
func (n *Node) importLocation(ctx context.Context, l *archive.Location, bad error) ImportedLocation {
	begun := time.Now()
	var out ImportedLocation
	err := bad
	if err == nil {
		out.Outcome, err = n.adopt(ctx, l)
	}
	loc, lerr := n.byRef(context.WithoutCancel(ctx), l.Ref)
	if lerr != nil || loc.Name == "" { // this device does not know it, so this is what the file says
		loc = Location{Owner: l.Ref.Owner, ID: l.Ref.ID, Device: n.lib.name(l.Ref.Owner), Name: l.Ref.ID.String()}
		if bad == nil {
			loc.Name, loc.Root = l.Record.Name, l.Record.Root
			loc.Entries, loc.AsOf, loc.Epoch, loc.Seq = l.Head.Count, l.Head.Time(), l.Head.Epoch.String(), l.Head.Seq
		}
	}
	out.Location, out.Duration = loc, time.Since(begun)
	if err != nil {
		n.log.Warn("import refused", "location", l.Ref, "error", err)
		out.Outcome, out.Problem = api.ImportRefused, refusal(&loc, err)
	}
	return out
}

// refusal says in words for people why a location was not imported.
func refusal(l *Location, err error) *Error {
	e := &Error{Code: api.CodeFailed, Title: fmt.Sprintf("%s: %s was not imported", l.Device, l.Name), Detail: err.Error()}
	if h := humane(err); h != nil {
		if shown := api.AsError(h); shown.Detail != "" {
			e.Detail, e.Hint = shown.Title+": "+shown.Detail, shown.Hint
		}
	}
	const again = "copy the file again, or export it again: peerdex export"
	switch {
	case errors.Is(err, errOtherLibrary), errors.Is(err, errNoMember):
		e.Code, e.Detail, e.Hint = api.CodeDenied, err.Error(), "peerdex devices"
	case errors.Is(err, errFrozen):
		e.Hint = "peerdex status"
	case errors.Is(err, store.ErrBusy):
		e.Code, e.Detail, e.Hint = api.CodeUnavailable, "it is being received from another device at this moment", "peerdex status"
	case errors.Is(err, archive.ErrTruncated):
		e.Detail, e.Hint = "the file ends in the middle of it", "copy the file again"
	case errors.Is(err, archive.ErrDamaged), errors.Is(err, store.ErrCorrupt):
		e.Detail, e.Hint = "its part of the file is damaged: "+err.Error(), again
	case errors.Is(err, store.ErrMismatch), errors.Is(err, index.ErrBadSignature):
		e.Detail, e.Hint = "the file holds something else than its owner signed: "+err.Error(), again
	}
	return e
}

// adopt makes a location of a file a replica of this device, if it is newer than what is held.
func (n *Node) adopt(ctx context.Context, l *archive.Location) (outcome string, err error) {
	if l.Ref.Owner == n.st.Self() {
		return api.ImportOwn, nil
	}
	if outcome, err = n.vet(ctx, l); outcome != "" || err != nil {
		return outcome, err
	}
	in := &importing{n: n, l: l, start: time.Now(), at: Progress{
		Location: l.Ref, Name: l.Record.Name, Phase: api.PhaseImport, Strategy: api.PhaseImport, TotalEntries: l.Head.Count,
	}}
	n.report(in.at, &in.tick)
	err = n.st.Import(ctx, l.Ref, in, l.Head, l.Raw, store.Compact)
	if err == nil {
		err = n.stillWelcome(ctx, l)
	}
	n.endReport(l.Ref, api.PhaseImport, err)
	switch {
	case errors.Is(err, store.ErrOlder): // received from another device meanwhile
		return api.ImportHeld, nil
	case err != nil:
		return "", err
	}
	n.imported(l.Ref)
	return api.ImportDone, nil
}

// imported tells of a replica that moved, and has what is newer fetched.
func (n *Node) imported(l index.Location) {
	n.updated(api.EventLocationUpdated, l)
	n.announce()
	n.syncer.Retry()
}

// vet says whether there is something to import, by what is known of the location: "" means that there is. What the
// file says counts as heard, so two heads that can't both be true freeze the location.
func (n *Node) vet(ctx context.Context, l *archive.Location) (outcome string, err error) {
	if err := n.belongs(&l.Head.Head); err != nil {
		return "", err
	}
	heard, err := n.st.AllHeard(ctx)
	if err != nil {
		return "", err
	}
	held, err := n.st.Held(ctx, l.Ref)
	switch {
	case err == nil:
		heard[l.Ref] = append(heard[l.Ref], store.Heard{Head: held.Head, Record: held.Raw})
	case !errors.Is(err, store.ErrNotFound) && !damaged(err):
		return "", err
	}
	retired, fresh := l.Record.Retired == index.Retired, true
	for _, h := range heard[l.Ref] {
		order := index.Compare(&l.Head.Head, &h.Head.Head)
		if order == index.Equivocation {
			if err := n.judge(ctx, l.Head, h.Head); err != nil {
				return "", err
			}
		}
		fresh = fresh && order == index.NewEpoch
		var rec index.Record
		if order == index.Older && rec.UnmarshalBinary(h.Record) == nil && rec.Retired == index.Retired {
			retired = true
		}
	}
	if fresh { // above all that was ever heard
		if err := n.st.Thaw(ctx, l.Ref); err != nil {
			return "", err
		}
	}
	frozen, err := n.st.Frozen(ctx)
	switch {
	case err != nil:
		return "", err
	case frozen[l.Ref]:
		return "", errFrozen
	case retired:
		return api.ImportRemoved, nil
	}
	return n.compare(ctx, l, &held.Head)
}

// compare says whether a file is newer than what is held, which is zero if nothing is. A later "as of" alone moves at
// once.
func (n *Node) compare(ctx context.Context, l *archive.Location, held *index.SignedHead) (outcome string, err error) {
	switch index.Compare(&l.Head.Head, &held.Head) {
	case index.Older, index.Same:
		return api.ImportHeld, nil
	case index.Later:
		if err := n.st.AdvanceAsOf(ctx, l.Head); err != nil {
			return "", err
		}
		n.imported(l.Ref)
		return api.ImportDone, nil
	}
	return "", nil
}

// belongs says whether a head is one of this library.
func (n *Node) belongs(h *index.Head) error {
	if h.Library != n.lib.id() {
		return errOtherLibrary
	}
	if _, ok := n.lib.member(h.Location.Owner); !ok {
		return errNoMember
	}
	return nil
}

// stillWelcome takes a replica back if this device entered another library while it was imported.
func (n *Node) stillWelcome(ctx context.Context, l *archive.Location) error {
	n.change.Lock()
	defer n.change.Unlock()
	err := n.belongs(&l.Head.Head)
	if err == nil {
		return nil
	}
	if derr := n.st.Drop(context.WithoutCancel(ctx), l.Ref); derr != nil && !errors.Is(derr, store.ErrNotFound) {
		err = errors.Join(err, derr)
	}
	return err
}

// importing tells how far the import of a location is. Its entries come evenly with its bytes, nearly.
type importing struct {
	n     *Node
	l     *archive.Location
	start time.Time
	at    Progress
	tick  throttle
	read  int64
}

func (i *importing) Read(p []byte) (int, error) {
	n, err := i.l.Read(p)
	if i.read += int64(n); i.l.Size > 0 {
		i.at.DoneEntries = int64(float64(i.l.Head.Count) * float64(i.read) / float64(i.l.Size))
	}
	i.at.DoneBytes, i.at.Elapsed = i.read, time.Since(i.start)
	i.n.report(i.at, &i.tick)
	return n, err
}
