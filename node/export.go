package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/archive"
	"github.com/peerdex/peerdex/store"
)

// Export writes what this device holds of a location, or of all locations of a device, own ones and replicas, as one
// file, which [Node.Import] of any device of the library takes. Package archive describes it. Of a device's locations
// those of which nothing was received are left out. What was written before an error is not a whole file.
func (n *Node) Export(ctx context.Context, r ExportRequest, w io.Writer) error {
	defer n.activity.Begin()()
	ctx, release, err := n.hold(ctx)
	if err != nil {
		return err
	}
	defer release()
	return n.export(ctx, r, w, n.st.Publish)
}

// Export is [Node.Export] without a running node. For a moment it needs the folder for itself, if a location of this
// device was never shown to another one in the state that it has.
func (r *Reader) Export(ctx context.Context, req ExportRequest, w io.Writer) error {
	return r.export(ctx, req, w, r.publish)
}

// publish remembers that a head of an own location leaves this device.
func (r *Reader) publish(ctx context.Context, h *index.Head) (err error) {
	if unknown, err := r.st.Unknown(ctx, h); err != nil || !unknown {
		return err
	}
	st, err := store.Open(r.st.Dir())
	if err != nil {
		return fmt.Errorf("remember what is exported: %w", err)
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	return st.Publish(ctx, h)
}

// hold keeps the node open for a call: [Node.Close] ends the context that it returns, and waits for release.
func (n *Node) hold(ctx context.Context) (context.Context, func(), error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil, nil, errClosing
	}
	n.wg.Add(1)
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(n.ctx, func() { cancel(context.Cause(n.ctx)) })
	return ctx, func() {
		stop()
		cancel(nil)
		n.wg.Done()
	}, nil
}

func (v *view) export(ctx context.Context, r ExportRequest, w io.Writer, publish func(context.Context, *index.Head) error) error {
	locs, err := v.exported(ctx, r.Of)
	if err != nil {
		return humane(err)
	}
	m := archive.Manifest{Library: v.lib.id()}
	for i := range locs {
		m.Locations = append(m.Locations, locs[i].Ref())
	}
	var out *archive.Writer // begins when the first snapshot is there: until then nothing is written
	for i := range locs {
		err := v.exportLocation(ctx, locs[i].Ref(), publish, func(n *store.Snapshot, head *index.SignedHead) error {
			if out == nil {
				var err error
				if out, err = archive.NewWriter(w, m); err != nil {
					return err
				}
			}
			return out.Add(head, n.Record, n.Size, within{ctx, io.NewSectionReader(n, 0, n.Size)})
		})
		if err != nil {
			return exportError(&locs[i], err)
		}
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("write the export: %w", err)
	}
	return nil
}

// exportLocation makes a snapshot and hands it on, under the newest head of its state.
func (v *view) exportLocation(ctx context.Context, l index.Location, publish func(context.Context, *index.Head) error,
	add func(*store.Snapshot, *index.SignedHead) error,
) (err error) {
	if l.Owner == v.st.Self() {
		// Before the snapshot, since a reader that has to open the folder for writing takes away what is being made.
		held, err := v.st.Held(ctx, l)
		if err == nil {
			err = publish(ctx, &held.Head.Head)
		}
		if err != nil {
			return err
		}
	}
	n, err := v.st.Export(ctx, l, store.Compact)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	head := n.Head
	if held, err := v.st.Held(ctx, l); err == nil && index.Compare(&held.Head.Head, &head.Head) == index.Later {
		head = held.Head
	}
	if l.Owner == v.st.Self() { // it may have moved since
		if err := publish(ctx, &head.Head); err != nil {
			return err
		}
	}
	return add(n, &head)
}

// within is a reader that ends with its context.
type within struct {
	ctx context.Context
	r   io.Reader
}

func (w within) Read(p []byte) (int, error) {
	if err := context.Cause(w.ctx); err != nil {
		return 0, err
	}
	return w.r.Read(p)
}

func exportError(l *Location, err error) error {
	title := fmt.Sprintf("%s: %s can't be exported", l.Device, l.Name)
	switch {
	case errors.Is(err, store.ErrBusy):
		return explain(&Error{
			Code: api.CodeUnavailable, Title: title, Detail: "there is no space for it beside what other devices fetch at this moment",
			Hint: "try again in a while",
		}, err)
	case errors.Is(err, store.ErrNotFound):
		return explain(&Error{Code: api.CodeNotFound, Title: title, Detail: "it was removed meanwhile", Hint: "peerdex locations"}, err)
	case damaged(err):
		return explain(&Error{Code: api.CodeFailed, Title: title, Detail: err.Error(), Hint: "peerdex check --deep --repair"}, err)
	}
	return humane(fmt.Errorf("%s: %w", title, err))
}

// exported finds what is to be exported: one location, or all of a device.
func (v *view) exported(ctx context.Context, ref string) ([]Location, error) {
	all, err := v.Locations(ctx)
	if err != nil {
		return nil, err
	}
	one, of, err := v.resolve(all, ref)
	if err != nil {
		return nil, err
	}
	var out []Location
	for i := range all {
		l := &all[i]
		if one != nil && l.Ref() != one.Ref() || one == nil && l.Owner != of.ID || l.State == api.StateRetired {
			continue
		}
		switch _, err := v.st.Held(ctx, l.Ref()); {
		case errors.Is(err, store.ErrNotFound): // heard of, no more
		case err != nil:
			return nil, exportError(l, err)
		case l.Own && v.isTwin(ctx, l.Ref()):
			return nil, conflict(fmt.Sprintf("%s: %s can't be exported", l.Device, l.Name), l.Detail, "peerdex status")
		default:
			out = append(out, *l)
		}
	}
	switch {
	case len(out) > archive.MaxLocations:
		return nil, usage(fmt.Sprintf("%s has %d locations", of.Name, len(out)), fmt.Sprintf("one file holds %d at most", archive.MaxLocations),
			"export them one by one")
	case len(out) > 0:
		return out, nil
	case one != nil:
		return nil, notFound(fmt.Sprintf("this device holds nothing of %s: %s", one.Device, one.Name), "peerdex locations")
	}
	return nil, notFound("this device holds no location of "+of.Name, "peerdex locations")
}

// resolve finds out whether ref means a location or a device; one is nil for a device.
func (v *view) resolve(all []Location, ref string) (one *Location, of Device, err error) {
	if ref == "" {
		return nil, of, usage("nothing was named", "", "name a device or a location: peerdex locations")
	}
	if name, ok := strings.CutSuffix(ref, ":"); ok {
		of, err = v.findDevice(name)
		return nil, of, err
	}
	var found []*Location
	var names []string
	for i := range all {
		if called(&all[i], ref) {
			found = append(found, &all[i])
			names = append(names, all[i].Device+":"+all[i].Name)
		}
	}
	of, err = v.findDevice(ref)
	exact := err == nil && slices.Contains([]string{of.Name, of.ID.String(), of.Short, of.PeerID}, ref)
	switch {
	case len(found) > 0 && exact:
		return nil, of, usage(fmt.Sprintf("%q may be a device or a location", ref), "", "write "+strings.Join(append(names, of.Name+":"), " or "))
	case len(found) > 1:
		return nil, of, usage(fmt.Sprintf("several devices have a location %q", ref), "", "write "+strings.Join(names, " or "))
	case len(found) == 1:
		return found[0], of, nil
	case err != nil && api.AsError(err).Code == api.CodeNotFound:
		err = notFound(fmt.Sprintf("no device and no location %q", ref), "peerdex locations")
	}
	return nil, of, err
}
