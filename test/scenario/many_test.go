package scenario

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"sync"
	"testing"

	"github.com/peerdex/peerdex/test/harness/cluster"
)

// TestManyReceivers has 50 devices get a location from one node at once, which is in a process of its own.
func TestManyReceivers(t *testing.T) {
	long(t)
	const most = 512 << 20
	owner := cluster.New(t, "owner")
	var devices []*cluster.Device
	for i := range 50 {
		d := cluster.New(t, fmt.Sprintf("receiver %d", i), strategies()[i%len(strategies())].configure)
		owner.Pair(d)
		d.Stop()
		devices = append(devices, d)
	}
	l := owner.Feed("location", entries(t, 100_000))
	head := owner.Head(l)
	owner.Stop()
	pid, kill := elsewhere(t, owner)
	for _, d := range devices {
		d.Start()
	}
	peak := int64(0)
	cluster.Eventually(t, "all have it", func() bool {
		peak = max(peak, peakRSS(t, pid))
		for _, d := range devices {
			if x, _ := d.Location(l); x.Seq != head.Seq {
				return false
			}
		}
		return true
	})
	kill()
	if t.Logf("the provider held %d MB at most", peak>>20); peak > most || peak == 0 {
		t.Errorf("the provider held %d MB", peak>>20)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	for _, d := range devices {
		d.Equal(owner, l)
		wg.Go(d.Stop)
	}
}

// peakRSS is the most memory that a process held.
func peakRSS(t *testing.T, pid int) int64 {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if os.IsNotExist(err) {
		t.Skip("there is no /proc")
	}
	m := regexp.MustCompile(`VmHWM:\s*(\d+) kB`).FindSubmatch(b)
	if m == nil {
		t.Fatalf("no VmHWM: %v", err)
	}
	kb, err := strconv.ParseInt(string(m[1]), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}
