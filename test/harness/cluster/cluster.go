// Package cluster makes devices for tests: real nodes in the process of the test, which meet over loopback.
//
// [New] starts a device, [Device.Pair] takes another into its library, [Device.Feed] makes a location,
// [Device.Current] waits until a replica is what its owner has, and [Device.Equal] proves it: equal heads, and equal rows
// by SQL that is not the store's. At the end of its test every device is stopped and its whole store is checked.
package cluster

import (
	"context"
	"errors"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/store"
	"github.com/peerdex/peerdex/test/harness/dump"
)

// Patience is how long [Eventually] waits. Only a fault lets it pass, also on a busy machine.
const Patience = 2 * time.Minute

// Device is a node that can be stopped and started again.
type Device struct {
	*node.Node
	Config node.Config

	t  testing.TB
	on bool
}

// New makes a device in a folder of its own and starts it. With change its configuration can be another one.
func New(t testing.TB, name string, change ...func(*node.Config)) *Device {
	t.Helper()
	d := &Device{t: t, Config: node.Config{
		Dir: filepath.Join(t.TempDir(), name), DeviceName: name, Reach: "loopback", ScanEvery: -1, ConfirmAfter: time.Hour,
	}}
	for _, f := range change {
		if f != nil {
			f(&d.Config)
		}
	}
	d.Start()
	t.Cleanup(func() {
		d.Stop()
		d.Check()
	})
	return d
}

// Start starts a device that was stopped.
func (d *Device) Start() {
	d.t.Helper()
	n, err := node.Open(d.Config)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := n.Start(context.Background()); err != nil {
		d.t.Fatal(err, n.Close())
	}
	d.Node, d.on = n, true
}

// Stop stops a device. One that is stopped already stays so.
func (d *Device) Stop() {
	d.t.Helper()
	if !d.on {
		return
	}
	d.on = false
	if err := d.Close(); err != nil {
		d.t.Errorf("stop %s: %v", d.Config.DeviceName, err)
	}
}

// Check checks everything that a stopped device has on its disk.
func (d *Device) Check() {
	d.t.Helper()
	st, err := store.Open(d.Config.Dir)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := errors.Join(st.Check(context.Background()), st.Close()); err != nil {
		d.t.Errorf("store of %s: %v", d.Config.DeviceName, err)
	}
}

// Wipe takes everything from a stopped device but its key.
func (d *Device) Wipe() {
	d.t.Helper()
	all, err := os.ReadDir(d.Config.Dir)
	for _, e := range all {
		if e.Name() != "identity.key" {
			err = errors.Join(err, os.RemoveAll(filepath.Join(d.Config.Dir, e.Name())))
		}
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// Pair takes another device into the library of d.
func (d *Device) Pair(other *Device) {
	d.t.Helper()
	inv, err := d.Invite(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	if _, err := other.Join(d.t.Context(), node.JoinRequest{Ticket: inv.Ticket}); err != nil {
		d.t.Fatal(err)
	}
	if out, err := d.WaitInvite(d.t.Context(), inv.ID); err != nil || !out.Joined {
		d.t.Fatalf("invite ended with %+v, %v", out, err)
	}
}

// Knows tells d, which may be running or not, the address of a running device, from the next start of d on. Devices that were
// connected before, as pairing connects them, find each other without it.
func (d *Device) Knows(other *Device) {
	d.t.Helper()
	s, err := other.Status(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	d.Config.Peers = append(d.Config.Peers, s.Addresses...)
}

// Feed makes a location of what rows yields, and returns its name in the library.
func (d *Device) Feed(name string, rows iter.Seq2[index.Change, error]) index.Location {
	d.t.Helper()
	l, err := d.AddLocation(d.t.Context(), node.AddRequest{Name: name})
	if err != nil {
		d.t.Fatal(err)
	}
	d.Put(l.Ref(), rows)
	return l.Ref()
}

// Put commits changes to a location of d.
func (d *Device) Put(l index.Location, changes iter.Seq2[index.Change, error]) {
	d.t.Helper()
	if _, err := d.Commit(d.t.Context(), l, changes); err != nil {
		d.t.Fatal(err)
	}
}

// Location describes a location as d sees it, and says whether d knows it.
func (d *Device) Location(l index.Location) (node.Location, bool) {
	d.t.Helper()
	all, err := d.Locations(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	i := slices.IndexFunc(all, func(x node.Location) bool { return x.Ref() == l })
	if i < 0 {
		return node.Location{}, false
	}
	return all[i], true
}

// Read calls f with the data folder of d, running or not, opened for reading.
func (d *Device) Read(f func(s *store.Store) error) {
	d.t.Helper()
	s, err := store.OpenReadOnly(d.Config.Dir)
	if err != nil {
		d.t.Fatal(err)
	}
	if err := errors.Join(f(s), s.Close()); err != nil {
		d.t.Fatal(err)
	}
}

// Head is the head at which d holds a location; the zero head if it holds none.
func (d *Device) Head(l index.Location) (h index.SignedHead) {
	d.t.Helper()
	d.Read(func(s *store.Store) error {
		held, err := s.Held(d.t.Context(), l)
		h = held.Head
		if errors.Is(err, store.ErrNotFound) {
			return nil
		}
		return err
	})
	return h
}

// Current waits until d holds each location as it is at its owner, who may be stopped.
func (d *Device) Current(owner *Device, locations ...index.Location) {
	d.t.Helper()
	for _, l := range locations {
		want := owner.Head(l)
		Eventually(d.t, d.Config.DeviceName+" holds what "+owner.Config.DeviceName+" has", func() bool {
			x, ok := d.Location(l)
			return ok && x.Newest() && x.Seq >= want.Seq && x.Epoch == want.Epoch.String()
		})
	}
}

// Equal compares what two devices hold of locations: the heads, with the roots of their trees, and every row.
func (d *Device) Equal(other *Device, locations ...index.Location) {
	d.t.Helper()
	for _, l := range locations {
		a, b := d.Head(l), other.Head(l)
		if a.Root != b.Root || a.Seq != b.Seq || a.Epoch != b.Epoch || a.Count != b.Count {
			d.t.Errorf("%s stands at %+v, %s at %+v", d.Config.DeviceName, a, other.Config.DeviceName, b)
			continue
		}
		rows, first, err := dump.Compare(d.t.Context(), d.File(l), other.File(l))
		if err != nil {
			d.t.Fatal(err)
		}
		if first != "" || rows != a.Count {
			d.t.Errorf("%s and %s, %d rows of %d: %s", d.Config.DeviceName, other.Config.DeviceName, rows, a.Count, first)
		}
	}
}

// File is the database file of a location.
func (d *Device) File(l index.Location) (file string) {
	d.t.Helper()
	d.Read(func(s *store.Store) (err error) {
		file, err = s.LocationFile(d.t.Context(), l)
		return err
	})
	return file
}

// Eventually waits until a condition holds.
func Eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	late := time.NewTimer(Patience)
	defer late.Stop()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for !holds() {
		select {
		case <-again.C:
		case <-late.C:
			t.Fatalf("does not come true: %s", what)
		}
	}
}

// Changes yields changes one after the other.
func Changes(changes ...index.Change) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		for _, c := range changes {
			if !yield(c, nil) {
				return
			}
		}
	}
}
