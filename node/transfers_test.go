package node_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
)

// fill puts files into a location of a device, each with bytes that no packing makes smaller.
func (d *device) fill(l node.Location, from, to, random int) {
	d.t.Helper()
	_, err := d.Commit(d.t.Context(), l.Ref(), func(yield func(index.Change, error) bool) {
		r := rand.NewChaCha8([32]byte{byte(from)})
		for i := from; i < to; i++ {
			e := index.Entry{Kind: index.KindFile, Size: int64(i), Attrs: make([]byte, random)}
			_, _ = r.Read(e.Attrs)
			if !yield(index.Change{Op: index.Put, Path: fmt.Sprintf("file %d", i), Entry: e}, nil) {
				return
			}
		}
	})
	if err != nil {
		d.t.Fatal(err)
	}
}

// catalogue adds a location that the test feeds.
func (d *device) catalogue(entries, random int) node.Location {
	d.t.Helper()
	l, err := d.AddLocation(d.t.Context(), node.AddRequest{Name: "catalogue"})
	if err != nil {
		d.t.Fatal(err)
	}
	d.fill(l, 0, entries, random)
	return d.own("catalogue")
}

func (d *device) control(what api.TransferAction, of string) node.Transfers {
	d.t.Helper()
	t, err := d.ControlTransfers(d.t.Context(), node.TransferRequest{Action: what, Of: of, All: of == ""})
	if err != nil {
		d.t.Fatal(what, of, err)
	}
	return t
}

// slowPair is a device with a catalogue that sends slowly, and another that receives it.
func slowPair(t *testing.T, strategy string, entries, random int) (nas, laptop *device, l node.Location) {
	nas, laptop = newDevice(t, "nas"), newDevice(t, "laptop")
	nas.stop()
	nas.cfg.LimitUp = 150_000
	nas.start()
	laptop.stop()
	laptop.cfg.Strategy, laptop.cfg.SnapshotFrom = strategy, 1
	laptop.start()
	l = nas.catalogue(entries, random)
	nas.pairWith(laptop)
	return nas, laptop, l
}

// partly waits until a part of a location was received.
func (d *device) partly() node.Transfer {
	d.t.Helper()
	var out node.Transfer
	eventually(d.t, "a part is received", func() bool {
		q, err := d.Transfers(d.t.Context())
		if err != nil {
			d.t.Fatal(err)
		}
		if len(q.Transfers) == 0 {
			return false
		}
		out = q.Transfers[0]
		return out.State == api.TransferRunning && out.DoneBytes > 100_000
	})
	return out
}

func (d *device) received() int64 {
	d.t.Helper()
	st, err := d.Status(d.t.Context())
	if err != nil {
		d.t.Fatal(err)
	}
	return st.Traffic.BytesIn
}

// TestPauseTransfers pauses in the middle, restarts, and goes on: what was received before does not come again.
func TestPauseTransfers(t *testing.T) {
	t.Parallel()
	for _, strategy := range []string{"batch", "compact"} {
		t.Run(strategy, func(t *testing.T) {
			t.Parallel()
			nas, laptop, l := slowPair(t, strategy, 6000, 64)
			was := laptop.partly()
			if was.Provider != "nas" || was.Name != "catalogue" || was.Device != "nas" || was.EntriesPerSecond+was.BytesPerSecond == 0 || was.Percent() < 1 || was.ETA == 0 {
				t.Errorf("under way: %+v", was)
			}
			if s := laptop.see(l); s.State != api.StateSyncing || s.Transfer == nil || s.Transfer.Percent() < 1 {
				t.Errorf("under way: %+v", s)
			}
			q := laptop.control(api.PauseTransfers, "nas:catalogue")
			if len(q.Transfers) != 1 || q.Transfers[0].State != api.TransferPaused || q.Paused {
				t.Errorf("paused: %+v", q)
			}
			first := laptop.received()
			laptop.stop()
			r, err := node.OpenReader(laptop.cfg.Dir)
			if err != nil {
				t.Fatal(err)
			}
			kept, err := r.Transfers(t.Context())
			if err != nil || len(kept.Transfers) != 1 || kept.Transfers[0].State != api.TransferPaused || kept.Transfers[0].Percent() < 1 {
				t.Errorf("without a daemon: %+v, %v", kept, err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
			laptop.start()
			eventually(t, "both are connected", func() bool {
				ds, err := laptop.Devices(t.Context())
				return err == nil && ds[1].Connected && laptop.see(l).State == api.StateNever
			})
			if s := laptop.see(l); !strings.Contains(s.Detail, "paused") {
				t.Errorf("after a restart: %+v", s)
			}
			laptop.control(api.ResumeTransfers, "catalogue")
			laptop.holds(nas, l)
			second := laptop.received()
			total := int64(6000 * 64) // at least, and as much again could not be
			if first+second < total || first+second > total*3/2 {
				t.Errorf("received %d and %d bytes", first, second)
			}
			eventually(t, "the queue is empty", func() bool {
				q, err := laptop.Transfers(t.Context())
				return err == nil && len(q.Transfers) == 0
			})
		})
	}
}

// TestCancelTransfers cancels in the middle. Nothing of it stays, and it begins with the next change.
func TestCancelTransfers(t *testing.T) {
	t.Parallel()
	nas, laptop, l := slowPair(t, "batch", 6000, 64)
	laptop.partly()
	q := laptop.control(api.CancelTransfers, "catalogue")
	if len(q.Transfers) != 1 || q.Transfers[0].State != api.TransferCancelled || q.Transfers[0].DoneEntries != 0 {
		t.Errorf("cancelled: %+v", q)
	}
	staged := func() []string {
		got, err := filepath.Glob(filepath.Join(laptop.cfg.Dir, "staging", "*"))
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	if got := staged(); len(got) != 0 {
		t.Errorf("left in staging: %q", got)
	}
	laptop.stop()
	laptop.start()
	eventually(t, "both are connected", func() bool {
		ds, err := laptop.Devices(t.Context())
		return err == nil && ds[1].Connected
	})
	if s := laptop.see(l); s.State != api.StateNever || !strings.Contains(s.Detail, "cancelled") || len(staged()) != 0 {
		t.Errorf("after a restart: %+v, %q", s, staged())
	}
	nas.fill(l, 6000, 6001, 1)
	laptop.holds(nas, l)
	_, err := laptop.ControlTransfers(t.Context(), node.TransferRequest{Action: api.CancelTransfers, Of: "catalogue"})
	if e := api.AsError(err); e == nil || e.Code != api.CodeConflict {
		t.Errorf("nothing to cancel: %v", err)
	}
	for _, r := range []node.TransferRequest{{Action: "stop", All: true}, {Action: api.PauseTransfers}, {Action: api.PauseTransfers, Of: "x", All: true}} {
		if _, err := laptop.ControlTransfers(t.Context(), r); err == nil || api.AsError(err).Code != api.CodeUsage {
			t.Errorf("%+v: %v", r, err)
		}
	}
}

// TestPauseAll holds back everything, also what comes later.
func TestPauseAll(t *testing.T) {
	t.Parallel()
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	laptop.control(api.PauseTransfers, "")
	l := nas.catalogue(10, 1)
	nas.pairWith(laptop)
	eventually(t, "it is heard of and not fetched", func() bool {
		q, err := laptop.Transfers(t.Context())
		return err == nil && q.Paused && len(q.Transfers) == 1 && strings.Contains(laptop.see(l).Detail, "all transfers are paused")
	})
	_, err := laptop.ControlTransfers(t.Context(), node.TransferRequest{Action: api.ResumeTransfers, Of: "catalogue"})
	if e := api.AsError(err); e == nil || e.Code != api.CodeConflict {
		t.Errorf("one of all: %v", err)
	}
	laptop.control(api.ResumeTransfers, "")
	laptop.holds(nas, l)
}

// TestLimit measures what a cap of 1 MB/s lets through, by the receiver's cap and by the sender's.
func TestLimit(t *testing.T) {
	for _, side := range []string{"down", "up"} {
		t.Run(side, func(t *testing.T) {
			nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
			limited, limit := laptop, &laptop.cfg.LimitDown
			if side == "up" {
				limited, limit = nas, &nas.cfg.LimitUp
			}
			limited.stop()
			*limit = 1_000_000
			limited.start()
			l := nas.catalogue(12_000, 320)
			nas.pairWith(laptop)
			reach := func(n int64) (int64, time.Time) {
				var got int64
				eventually(t, fmt.Sprint(n, " bytes"), func() bool { got = laptop.received(); return got >= n })
				return got, time.Now()
			}
			b1, t1 := reach(300_000)
			b2, t2 := reach(3_500_000)
			rate := float64(b2-b1) / t2.Sub(t1).Seconds()
			t.Logf("%.0f bytes a second over %v", rate, t2.Sub(t1))
			if rate < 900_000 || rate > 1_100_000 {
				t.Errorf("%.0f bytes a second", rate)
			}
			laptop.holds(nas, l)
		})
	}
	if _, err := node.Open(node.Config{Dir: t.TempDir(), LimitUp: 1000}); api.AsError(err) == nil || api.AsError(err).Code != api.CodeUsage {
		t.Errorf("a limit of 1000 bytes a second: %v", err)
	}
}

// TestOwnerAway follows a replica while its owner comes and goes.
func TestOwnerAway(t *testing.T) {
	t.Parallel()
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.catalogue(10, 1)
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	nas.stop()
	eventually(t, "the owner is away", func() bool { return laptop.see(l).State == api.StateOwnerAway })
	nas.start()
	laptop.holds(nas, l)
}

// TestLastSeen checks that a device which was connected is not said to have never been, however the program ended.
func TestLastSeen(t *testing.T) {
	t.Parallel()
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.catalogue(10, 1)
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	for _, d := range []*device{nas, laptop} {
		eventually(t, "it is kept while the connection stands", func() bool { // as after a crash
			r, err := node.OpenReader(d.cfg.Dir)
			if err != nil {
				t.Fatal(err)
			}
			ds, err := r.Devices(t.Context())
			if cerr := r.Close(); err != nil || cerr != nil {
				t.Fatal(err, cerr)
			}
			return len(ds) == 2 && !ds[1].LastSeen.IsZero()
		})
	}
	parted := time.Now()
	laptop.stop()
	nas.stop()
	nas.start()
	st, err := nas.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if len(st.Devices) != 1 || st.Devices[0].LastSeen.Before(parted) || strings.Contains(fmt.Sprint(st.Notes), "never connected") {
		t.Errorf("%+v, %q", st.Devices, st.Notes)
	}
	laptop.start()
}
