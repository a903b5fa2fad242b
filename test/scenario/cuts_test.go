package scenario

import (
	"fmt"
	"testing"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/store"
	"github.com/peerdex/peerdex/test/harness/cluster"
)

// TestCuts has every connection break down, each after some frames more than the one before, so that between them the
// devices lose theirs after every frame of a first sync, of a delta, and of a comparison. After every other cut a device is
// restarted, too.
func TestCuts(t *testing.T) {
	t.Parallel()
	cutEverywhere(t, 15_000, 2)
}

// TestCutsLong is TestCuts with many entries.
func TestCutsLong(t *testing.T) {
	long(t)
	cutEverywhere(t, 100_000, 3)
}

func cutEverywhere(t *testing.T, n int64, step int) {
	owner := cluster.New(t, "owner", cluster.Deaf)
	var devices []*cluster.Device
	var cutters []*cluster.Cutter
	for _, s := range strategies()[1:] {
		for i := range step {
			c := &cluster.Cutter{}
			d := cluster.New(t, fmt.Sprintf("%s %d", s.name, i), s.configure, c.Configure)
			owner.Pair(d)
			devices, cutters = append(devices, d), append(cutters, c)
		}
	}
	restarted := make([]int, len(devices))
	var l index.Location
	for _, phase := range []struct {
		name string
		do   func()
	}{
		{"first sync", func() { l = owner.Feed("location", entries(t, n)) }},
		{"delta", func() { edit(t, owner, l, int(n/3), 1) }},
		{"comparison", func() {
			owner.Stop()
			renew(t, owner, l, int(n/5))
			owner.Start()
		}},
	} {
		before := make([]int, len(cutters))
		for i, c := range cutters {
			before[i] = c.Cuts()
			c.Arm(i%step, step)
		}
		phase.do()
		head := owner.Head(l)
		cluster.Eventually(t, "all have the "+phase.name, func() bool {
			current := true
			for i, d := range devices {
				if n := cutters[i].Cuts(); n%2 == 0 && n != restarted[i] {
					restarted[i] = n
					d.Stop()
					d.Start()
				}
				x, _ := d.Location(l)
				current = current && x.Newest() && x.Seq == head.Seq && x.Epoch == head.Epoch.String()
			}
			return current
		})
		total := 0
		for i, d := range devices {
			d.Equal(owner, l)
			cuts := cutters[i].Cuts() - before[i]
			if total += cuts; cuts < 2 {
				t.Errorf("%s: %s was cut %d times", phase.name, d.Config.DeviceName, cuts)
			}
		}
		t.Logf("%s: %d cuts", phase.name, total)
	}
}

// renew changes a stopped owner's rows and begins a new epoch, as one does that was restored from a backup.
func renew(t *testing.T, owner *cluster.Device, l index.Location, n int) {
	t.Helper()
	changes := edits(t, owner, l, n, 2)
	s, err := store.Open(owner.Config.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	if _, err := s.Commit(t.Context(), l, cluster.Changes(changes...), store.CommitOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.NewEpoch(t.Context(), l, index.Head{}); err != nil {
		t.Fatal(err)
	}
}
