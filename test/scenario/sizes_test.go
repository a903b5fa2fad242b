package scenario

import (
	"fmt"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/test/harness/cluster"
)

// sizes are numbers around which strategies change.
func sizes() []int64 { return []int64{0, 1, 99, 100, 101, 9_999, 10_000} }

// TestEverySize brings locations of every size to devices that hold nothing, by every strategy, and then as many changes to
// devices that were there meanwhile and to others that were away.
func TestEverySize(t *testing.T) {
	t.Parallel()
	everySize(t, sizes())
}

// TestEverySizeLong is TestEverySize with many entries.
func TestEverySizeLong(t *testing.T) {
	long(t)
	everySize(t, []int64{100_000, 1_000_000})
}

func everySize(t *testing.T, sizes []int64) {
	owner := cluster.New(t, "owner")
	var all, changed []index.Location
	for _, n := range sizes {
		all = append(all, owner.Feed(fmt.Sprintf("%d entries", n), entries(t, n)))
		changed = append(changed, owner.Feed(fmt.Sprintf("%d changes", n), entries(t, n*13/10+20)))
	}
	all = append(all, changed...)
	away := cluster.New(t, "away")
	devices := []*cluster.Device{away}
	for _, s := range strategies()[1:] {
		devices = append(devices, cluster.New(t, s.name, s.configure))
	}
	for _, d := range devices {
		owner.Pair(d)
	}
	for _, d := range devices {
		d.Current(owner, all...)
		d.Equal(owner, all...)
	}
	away.Stop()
	for i, n := range sizes {
		edit(t, owner, changed[i], int(n), 1)
	}
	away.Start()
	for _, d := range devices {
		d.Current(owner, all...)
		d.Equal(owner, all...)
	}
}

// TestMillion is the reason for all of it: a device gets a million entries in less than two minutes.
func TestMillion(t *testing.T) {
	long(t)
	for _, s := range strategies() {
		t.Run(s.name, func(t *testing.T) {
			owner, peer := cluster.New(t, "owner"), cluster.New(t, "peer", s.configure)
			l := owner.Feed("million", entries(t, 1_000_000))
			begin := time.Now()
			owner.Pair(peer)
			peer.Current(owner, l)
			took := time.Since(begin)
			peer.Equal(owner, l)
			if t.Logf("%s: %v", s.name, took); took > 2*time.Minute {
				t.Errorf("a million entries took %v", took)
			}
		})
	}
}
