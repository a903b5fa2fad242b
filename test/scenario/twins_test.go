package scenario

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/test/harness/cluster"
)

// TestOwnerRunsTwice starts a copy of an owner's data, in turns with the owner. Each signs what the other does not know.
// The first time one notices it, it begins anew; the second time within a day it stops, and the other goes on.
func TestOwnerRunsTwice(t *testing.T) {
	t.Parallel()
	owner, peer := cluster.New(t, "owner"), cluster.New(t, "peer")
	owner.Pair(peer)
	l := owner.Feed("location", entries(t, 500))
	peer.Current(owner, l)
	owner.Stop()
	dir := filepath.Join(t.TempDir(), "twin")
	if err := os.CopyFS(dir, os.DirFS(owner.Config.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(dir, "identity.key"), 0o600); err != nil {
		t.Fatal(err)
	}
	owner.Start()
	edit(t, owner, l, 20, 1)
	peer.Current(owner, l)
	owner.Stop()

	// What the twin makes before it hears of the owner's state has the same seqs.
	twin := cluster.New(t, "twin", func(c *node.Config) { c.Dir = dir })
	edit(t, twin, l, 30, 2)
	counter := func(d *cluster.Device) uint64 { return uint64(d.Head(l).Epoch.Counter) }
	cluster.Eventually(t, "the twin begins anew", func() bool { return counter(twin) == 2 })
	peer.Current(twin, l)
	peer.Equal(twin, l)
	twin.Stop()

	owner.Start()
	cluster.Eventually(t, "the owner begins anew", func() bool { return counter(owner) == 3 })
	edit(t, owner, l, 10, 3)
	peer.Current(owner, l)
	owner.Stop()

	twin.Start()
	cluster.Eventually(t, "the twin stops", func() bool {
		x, ok := twin.Location(l)
		return ok && x.State == api.StateFrozen
	})
	edit(t, twin, l, 10, 4)
	twin.Stop()
	owner.Start()
	edit(t, owner, l, 10, 5)
	peer.Current(owner, l)
	peer.Equal(owner, l)
}
