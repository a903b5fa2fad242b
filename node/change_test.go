package node_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/peerdex/peerdex/node"
)

// quiet waits until nothing of our protocols moves any more.
func (d *device) quiet() {
	d.t.Helper()
	last := d.traffic()
	for since := time.Now(); time.Since(since) < 2500*time.Millisecond; time.Sleep(10 * time.Millisecond) {
		if n := d.traffic(); n != last {
			last, since = n, time.Now()
		}
	}
}

// TestAChangeIsSeenAtOnce measures one change, from the owner's commit until the peer shows it, and the bytes of all that
// is said about it, at the receiver.
func TestAChangeIsSeenAtOnce(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.fedOne("catalogue")
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	laptop.quiet()
	const n = 20
	var took []time.Duration
	before := laptop.traffic()
	for i := range n {
		start := time.Now()
		seq := nas.feedOne(l, fmt.Sprint("file ", i))
		for laptop.SeqOf(t.Context(), l.Ref()) < seq {
			if time.Since(start) > 10*time.Second {
				t.Fatal("the change did not arrive")
			}
			time.Sleep(100 * time.Microsecond)
		}
		took = append(took, time.Since(start))
		time.Sleep(node.PushEvery - time.Since(start)) // as if it were the first one
	}
	laptop.quiet()
	bytes := (laptop.traffic() - before) / n
	slices.Sort(took)
	t.Logf("median %v, p95 %v, %d bytes", took[n/2], took[n*95/100], bytes)
	if bytes > 1024 {
		t.Errorf("%d bytes, want at most 1024", bytes)
	}
}
