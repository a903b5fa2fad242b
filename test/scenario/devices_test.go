package scenario

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/test/harness/cluster"
)

// TestRelay has a device get an index from one that is not its owner, who is off.
func TestRelay(t *testing.T) {
	t.Parallel()
	for _, s := range strategies()[1:] {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			a, b := cluster.New(t, "a"), cluster.New(t, "b", s.configure)
			small, large := a.Feed("small", entries(t, 200)), a.Feed("large", entries(t, 10_500))
			a.Pair(b)
			b.Current(a, small, large)
			c := cluster.New(t, "c", s.configure)
			c.Stop()
			c.Knows(a)
			a.Stop()
			c.Start()
			b.Pair(c)
			c.Current(a, small, large)
			c.Equal(a, small, large)

			// What the owner does next comes to it by c. It has to hear first that c is a device of the library.
			a.Start()
			cluster.Eventually(t, "a knows c", func() bool {
				all, err := a.Devices(t.Context())
				return err == nil && len(all) == 3
			})
			b.Stop()
			edit(t, a, large, 300, 1)
			c.Current(a, small, large)
			a.Stop()
			b.Start()
			b.Current(a, small, large)
			for _, d := range []*cluster.Device{b, c} {
				d.Equal(a, small, large)
			}
		})
	}
}

// TestOwnerIsWiped takes everything from an owner but its key. It takes its locations back, and goes on.
func TestOwnerIsWiped(t *testing.T) {
	t.Parallel()
	owner, peer, away := cluster.New(t, "owner"), cluster.New(t, "peer"), cluster.New(t, "away")
	peer.Pair(owner) // so that the owner is no stranger when it comes again
	peer.Pair(away)
	l := owner.Feed("location", entries(t, 3_000))
	away.Current(owner, l)
	away.Stop()
	edit(t, owner, l, 200, 1)
	peer.Current(owner, l)
	before := owner.Head(l)
	owner.Stop()
	owner.Wipe()
	owner.Start()
	peer.Pair(owner)
	cluster.Eventually(t, "the owner has its location back", func() bool {
		x, ok := owner.Location(l)
		return ok && x.Newest()
	})
	if h := owner.Head(l); h.Epoch.Counter <= before.Epoch.Counter || h.Seq <= before.Seq || h.Count != before.Count || h.NextID < before.NextID {
		t.Errorf("was %+v, is %+v", before, h)
	}
	edit(t, owner, l, 200, 2)
	away.Start()
	late := cluster.New(t, "late")
	peer.Pair(late)
	for _, d := range []*cluster.Device{peer, away, late} {
		d.Current(owner, l)
		d.Equal(owner, l)
	}
}

// TestOwnerIsRestored puts an old backup in place of an owner's data. The others follow what it has then.
func TestOwnerIsRestored(t *testing.T) {
	t.Parallel()
	owner, peer := cluster.New(t, "owner"), cluster.New(t, "peer")
	owner.Pair(peer)
	l := owner.Feed("location", entries(t, 2_000))
	peer.Current(owner, l)
	owner.Stop()
	backup := filepath.Join(t.TempDir(), "backup")
	if err := os.CopyFS(backup, os.DirFS(owner.Config.Dir)); err != nil {
		t.Fatal(err)
	}
	owner.Start()
	edit(t, owner, l, 100, 1)
	peer.Current(owner, l)
	before := owner.Head(l)
	owner.Stop()
	if err := os.RemoveAll(owner.Config.Dir); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(owner.Config.Dir, os.DirFS(backup)); err != nil {
		t.Fatal(err)
	}
	owner.Start()
	edit(t, owner, l, 20, 2)
	cluster.Eventually(t, "the owner begins a new epoch", func() bool {
		h := owner.Head(l)
		return h.Epoch.Counter > before.Epoch.Counter && h.Seq > before.Seq
	})
	edit(t, owner, l, 20, 3)
	peer.Current(owner, l)
	peer.Equal(owner, l)
}

// TestOwnerIsFaster has an owner commit without a rest while its peers pull.
func TestOwnerIsFaster(t *testing.T) {
	t.Parallel()
	owner := cluster.New(t, "owner")
	l := owner.Feed("location", entries(t, 12_000))
	var peers []*cluster.Device
	for _, s := range strategies() {
		d := cluster.New(t, s.name, s.configure)
		owner.Pair(d)
		peers = append(peers, d)
	}
	for i := range 60 {
		edit(t, owner, l, 50, uint64(i))
	}
	for _, d := range peers {
		d.Current(owner, l)
		d.Equal(owner, l)
	}
}

// TestProviderIsKilled kills the process that serves a device in the middle. It goes on with another provider, or with the
// same one once it is there again.
func TestProviderIsKilled(t *testing.T) {
	t.Parallel()
	for _, s := range strategies()[1:] {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			owner, other := cluster.New(t, "owner"), cluster.New(t, "other")
			first, second := cluster.New(t, "first", s.configure), cluster.New(t, "second", s.configure)
			for _, d := range []*cluster.Device{other, first, second} {
				owner.Pair(d)
			}
			first.Stop()
			first.Knows(other)
			second.Stop()
			l := owner.Feed("location", entries(t, 60_000))
			other.Current(owner, l)
			owner.Stop()

			other.Stop()
			interrupt(t, owner, first, l)
			other.Start()
			first.Current(owner, l)
			first.Equal(owner, l)

			other.Stop()
			first.Stop()
			interrupt(t, owner, second, l)
			owner.Check()
			owner.Start()
			second.Current(owner, l)
			second.Equal(owner, l)
		})
	}
}

// interrupt runs the owner in another process, and kills it as soon as something of its location comes.
func interrupt(t *testing.T, owner, d *cluster.Device, l index.Location) {
	t.Helper()
	_, kill := elsewhere(t, owner)
	d.Start()
	ctx, cancel := context.WithTimeout(t.Context(), cluster.Patience)
	defer cancel()
	var last node.Progress
	for ev := range d.Events(ctx) {
		if ev.Type != api.EventTransferProgress || ev.Progress.Location != l {
			continue
		}
		if last = *ev.Progress; last.Finished {
			break
		}
		kill()
	}
	if !last.Finished || last.Error == "" || d.Head(l).Seq != 0 {
		t.Fatalf("it was not interrupted: %+v", last)
	}
}
