package node_test

import (
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/protocols/change"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
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

// reaches waits until a device holds a seq of a location, and returns how long that took.
func (d *device) reaches(l node.Location, seq int64) time.Duration {
	d.t.Helper()
	start := time.Now()
	for d.SeqOf(d.t.Context(), l.Ref()) < seq {
		if time.Since(start) > 30*time.Second {
			d.t.Fatalf("seq %d of %s did not arrive", seq, l.Name)
		}
		time.Sleep(100 * time.Microsecond)
	}
	return time.Since(start)
}

// TestAChangeIsSeenAtOnce measures one change, from the owner's commit until the peer shows it, and the bytes of all that
// is said about it, at the receiver: also where a third device is away, so that gossip has to tell of it.
func TestAChangeIsSeenAtOnce(t *testing.T) {
	t.Parallel()
	nas, laptop, phone := newDevice(t, "nas"), newDevice(t, "laptop"), newDevice(t, "phone")
	l := nas.fedOne("catalogue")
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	for _, away := range []bool{false, true} {
		if away {
			nas.pairWith(phone)
			phone.holds(nas, l)
			phone.stop()
		}
		laptop.quiet()
		transfers := laptop.transfers()
		n := 30
		var took []time.Duration
		before := laptop.traffic()
		for i := range n {
			start := time.Now()
			laptop.reaches(l, nas.feedOne(l, fmt.Sprint("file ", i, away)))
			took = append(took, time.Since(start))
			if away {
				time.Sleep(2*time.Second - time.Since(start)) // so that each is told of by a notice of its own
				if n = 5; i == n-1 {
					break
				}
			} else {
				time.Sleep(node.PushEvery) // so that none waits for the one before
			}
		}
		laptop.quiet()
		bytes := (laptop.traffic() - before) / int64(n)
		slices.Sort(took)
		t.Logf("one away: %v: median %v, p95 %v, %d bytes", away, took[n/2], took[n*95/100], bytes)
		if bytes > 1024 {
			t.Errorf("one away: %v: %d bytes, want at most 1024", away, bytes)
		}
		if got := transfers(); len(got) > 0 {
			t.Errorf("one away: %v: was pulled, too: %v", away, got)
		}
	}
	phone.start()
	phone.holds(nas, l)
}

// puts are files of one folder, from the first one on.
func puts(folder string, first, n int) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		for i := first; i < first+n; i++ {
			if !yield(index.Change{Op: index.Put, Path: fmt.Sprintf("%s/%d", folder, i), Entry: index.Entry{Kind: index.KindFile}}, nil) {
				return
			}
		}
	}
}

func remove(path string) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) { yield(index.Change{Op: index.Delete, Path: path}, nil) }
}

// TestHowMuchIsPushed commits about as many changes as a push may hold.
func TestHowMuchIsPushed(t *testing.T) {
	t.Parallel()
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.fedOne("catalogue")
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	for _, x := range []struct {
		name    string
		changes iter.Seq2[index.Change, error]
		pulled  string
	}{
		{"99 and a folder", puts("a", 0, 99), ""},
		{"100", puts("a", 1000, 100), ""},
		{"101", puts("a", 2000, 101), "batch-delta from nas"},
		{"300 dead ids in one run", remove("a"), "state-change from nas"},
		{"1 again", puts("b", 0, 1), ""},
		{"2 dead ids", remove("b"), ""},
	} {
		laptop.quiet()
		transfers := laptop.transfers()
		nas.feed(l, x.changes)
		laptop.holds(nas, l)
		sameRows(t, nas, laptop, l)
		laptop.quiet()
		if got := fmt.Sprint(transfers()); got != fmt.Sprint([]string{x.pulled}) && (x.pulled != "" || got != "[]") {
			t.Errorf("%s: pulled %v, want %q", x.name, got, x.pulled)
		}
	}
}

// TestPushesInAnyOrder hands pushes to a replica while nothing else moves it.
func TestPushesInAnyOrder(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.fedOne("catalogue")
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	laptop.stop()
	at := []int64{nas.SeqOf(t.Context(), l.Ref())}
	var steps []*change.StateChange // each from the state before
	above := func(seq int64) *change.StateChange {
		t.Helper()
		c, err := nas.ChangeAbove(t.Context(), l.Ref(), seq)
		if err != nil || c == nil {
			t.Fatal(c, err)
		}
		return c
	}
	for i, changes := range []iter.Seq2[index.Change, error]{puts("a", 0, 3), remove("a/1"), puts("a", 7, 2), remove("a"), puts("b", 0, 1)} {
		nas.feed(l, changes)
		steps = append(steps, above(at[i]))
		at = append(at, nas.SeqOf(t.Context(), l.Ref()))
	}
	all := above(at[0])
	nas.stop()
	laptop.start()
	sign := func(from *change.StateChange, edit func(c *change.StateChange)) *change.StateChange {
		t.Helper()
		c := *from
		c.Rows, c.Dead = slices.Clone(c.Rows), slices.Clone(c.Dead)
		edit(&c)
		var err error
		if c.Head, err = index.SignHead(c.Head.Head, nas.Key()); err != nil {
			t.Fatal(err)
		}
		return &c
	}
	take := func(name string, c *change.StateChange, want error, seq int64, kept int) {
		t.Helper()
		if err := laptop.TakeChange(t.Context(), c); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", name, err, want)
		}
		if got := laptop.SeqOf(t.Context(), l.Ref()); got != seq || laptop.Kept() != kept {
			t.Errorf("%s: at seq %d with %d kept, want %d with %d", name, got, laptop.Kept(), seq, kept)
		}
	}
	take("two ahead", steps[2], index.ErrProviderBehind, at[0], 1)
	take("two ahead, again", steps[2], index.ErrProviderBehind, at[0], 1)
	take("one ahead", steps[1], index.ErrProviderBehind, at[0], 2)
	take("a row left out", sign(steps[0], func(c *change.StateChange) { c.Rows = c.Rows[1:] }), store.ErrMismatch, at[0], 2)
	take("a row made up", sign(steps[0], func(c *change.StateChange) { c.Rows[0].Size++ }), store.ErrMismatch, at[0], 2)
	take("a deletion made up", sign(steps[0], func(c *change.StateChange) {
		c.Dead = append(c.Dead, index.DeadRun{Seq: c.Head.Seq, Lo: 2, Hi: 2})
	}), store.ErrMismatch, at[0], 2)
	take("another epoch", sign(steps[0], func(c *change.StateChange) { c.Head.Epoch.Counter++ }), index.ErrEpochChanged, at[0], 2)
	take("another library", sign(steps[0], func(c *change.StateChange) { c.Head.Library[0] ^= 1 }), wire.ErrDenied, at[0], 2)
	take("a location not held", sign(steps[0], func(c *change.StateChange) { c.Head.Location.ID[0] ^= 1 }), wire.ErrNoReplica, at[0], 2)
	take("the next", steps[0], nil, at[1], 2)
	laptop.ApplyKept(t.Context(), l.Ref())
	take("after those that were kept", steps[0], nil, at[3], 0)
	take("all from below", all, nil, at[5], 0)
	take("all again", all, nil, at[5], 0)
	take("late", steps[3], nil, at[5], 0)
	for i := range int64(100) {
		far := sign(steps[4], func(c *change.StateChange) { c.Base, c.Rows, c.Dead, c.Head.Seq = at[5]+i+1, nil, nil, at[5]+i+2 })
		if err := laptop.TakeChange(t.Context(), far); !errors.Is(err, index.ErrProviderBehind) || laptop.Kept() > 8 {
			t.Fatalf("far ahead: %v, %d kept", err, laptop.Kept())
		}
	}
	frozen := sign(steps[4], func(c *change.StateChange) { c.Head.Root[0] ^= 1 })
	take("of a head that can't be true", frozen, wire.ErrNoReplica, at[5], 8)
	nas.start()
}

// TestOwnerFasterThanPushes commits without a rest. What is committed between two pushes goes in one.
func TestOwnerFasterThanPushes(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.fedOne("catalogue")
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	var updates atomic.Int64
	events := laptop.Events(t.Context())
	go func() {
		for ev := range events {
			if ev.Type == api.EventLocationUpdated {
				updates.Add(1)
			}
		}
	}()
	start := time.Now()
	for i := range 300 {
		nas.feedOne(l, fmt.Sprint("file ", i))
	}
	laptop.holds(nas, l)
	sameRows(t, nas, laptop, l)
	if most := int64(time.Since(start)/node.PushEvery) + 5; updates.Load() > most || updates.Load() == 0 {
		t.Errorf("%d updates in %v, want at most %d", updates.Load(), time.Since(start), most)
	}
}

// TestReceiverRestartsAmongPushes stops and starts the receiver while its peer commits.
func TestReceiverRestartsAmongPushes(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.fedOne("catalogue")
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				nas.feedOne(l, fmt.Sprint("file ", i))
			}
		}
	}()
	for range 3 {
		seq := laptop.SeqOf(t.Context(), l.Ref())
		eventually(t, "the replica moves", func() bool { return laptop.SeqOf(t.Context(), l.Ref()) > seq })
		laptop.stop()
		laptop.check()
		laptop.start()
	}
	close(stop)
	<-stopped
	laptop.holds(nas, l)
	sameRows(t, nas, laptop, l)
}

// TestLostPushesAreMadeUpFor has the receiver not take pushes any more: it pulls instead, and nothing more is pushed to it.
func TestLostPushesAreMadeUpFor(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.fedOne("catalogue")
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	laptop.quiet()
	laptop.RefusePushes()
	transfers := laptop.transfers()
	nas.feedOne(l, "lost")
	laptop.holds(nas, l)
	if got := transfers(); !slices.Equal(got, []string{"state-change from nas"}) {
		t.Errorf("moved by %v", got)
	}
	laptop.stop()
	laptop.start()
	laptop.holds(nas, l)
	laptop.quiet()
	transfers = laptop.transfers()
	laptop.reaches(l, nas.feedOne(l, "pushed"))
	if got := transfers(); len(got) > 0 {
		t.Errorf("moved by %v", got)
	}
	laptop.holds(nas, l)
}
