package syncer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerdex/peerdex/index"
)

// ledger keeps jobs as node.db does. A real store can't be here: the queue knows none.
type ledger struct {
	mu      sync.Mutex
	jobs    map[index.Location]Job
	dropped []index.Location
	writes  int
}

func newLedger() *ledger { return &ledger{jobs: map[index.Location]Job{}} }

func (k *ledger) Jobs(context.Context) ([]Job, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Values(k.jobs)), nil
}

func (k *ledger) SetJob(_ context.Context, j Job) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.writes++
	k.jobs[j.Location] = j
	return nil
}

func (k *ledger) EndJob(_ context.Context, l index.Location) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.writes++
	delete(k.jobs, l)
	return nil
}

func (k *ledger) Discard(_ context.Context, l index.Location) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dropped = append(k.dropped, l)
	return nil
}

func (k *ledger) of(l index.Location) (Job, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	j, ok := k.jobs[l]
	return j, ok
}

// works is a syncer over one location whose transfers a test ends.
type works struct {
	t      *testing.T
	kept   *ledger
	s      *Syncer
	heard  []Heard
	held   *index.SignedHead
	result chan error // ends the transfer under way
	begun  chan Plan
	cancel context.CancelFunc
	ended  chan error
}

func newWorks(t *testing.T, heard ...Heard) *works {
	w := &works{t: t, kept: newLedger(), heard: heard, result: make(chan error), begun: make(chan Plan, 100)}
	w.start()
	return w
}

func (w *works) start() {
	w.s = New(Config{
		Jobs: w.kept,
		Situations: func(context.Context) ([]Situation, error) {
			return []Situation{{Location: loc, Held: w.held, Heard: w.heard}}, nil
		},
		Do: func(ctx context.Context, _ Situation, p Plan) error {
			w.begun <- p
			select {
			case err := <-w.result:
				if err == nil {
					w.held = &p.Offer
				}
				return err
			case <-ctx.Done():
				return ctx.Err()
			}
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel, w.ended = cancel, make(chan error, 1)
	go func() { w.ended <- w.s.Run(ctx) }()
	synctest.Wait()
}

func (w *works) stop() {
	w.cancel()
	<-w.ended
}

// begins reports how many transfers began since it was asked last.
func (w *works) begins() int {
	synctest.Wait()
	n := len(w.begun)
	for range n {
		<-w.begun
	}
	return n
}

func (w *works) ok(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *works) state(want State) Job {
	w.t.Helper()
	all, err := w.s.Queue(w.t.Context())
	w.ok(err)
	for _, j := range all {
		if j.Location == loc {
			if j.State != want {
				w.t.Errorf("the job is %q, want %q: %+v", j.State, want, j)
			}
			return j
		}
	}
	if want != "" {
		w.t.Errorf("no job, want one that is %q", want)
	}
	return Job{}
}

var served = Heard{Device: owner, Head: head(epoch1, 5), Held: true, Reachable: true}

func TestPauseSurvivesRestart(t *testing.T) {
	for _, what := range []index.Location{loc, All} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorks(t, served)
			if w.begins() != 1 {
				t.Fatal("nothing began")
			}
			w.s.At(loc, 30, 100)
			w.ok(w.s.Pause(t.Context(), what))
			w.s.Retry()
			if w.begins() != 0 {
				t.Error("it went on")
			}
			w.stop()
			w.start()
			w.s.Retry()
			if w.begins() != 0 {
				t.Error("it went on after a restart")
			}
			if what == All {
				if err := w.s.Resume(t.Context(), loc); !errors.Is(err, ErrAllPaused) {
					t.Errorf("resume one: %v", err)
				}
			} else if j := w.state(Paused); j.Done != 30 || j.Total != 100 || j.Provider != owner || j.Head != served.Head {
				t.Errorf("%+v", j)
			}
			w.ok(w.s.Resume(t.Context(), what))
			if w.begins() != 1 {
				t.Error("it did not go on")
			}
			w.result <- nil
			synctest.Wait()
			w.state("")
			if len(w.kept.jobs) != 0 || len(w.kept.dropped) != 0 {
				t.Errorf("left: %+v, dropped %v", w.kept.jobs, w.kept.dropped)
			}
			w.stop()
		})
	}
}

func TestPauseBeforeAnythingIsKnown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorks(t)
		w.ok(w.s.Pause(t.Context(), loc))
		w.heard = []Heard{served}
		w.s.Retry()
		if w.begins() != 0 {
			t.Error("it began")
		}
		now, later := head(epoch1, 5), head(epoch1, 5)
		w.held, later.AsOf = &now, 9
		w.heard[0].Head = later
		w.s.Kick()
		if synctest.Wait(); (<-w.begun).Strategy != Touch { // that costs nothing
			t.Error("it was not touched")
		}
		w.result <- nil
		synctest.Wait()
		w.state(Paused)
		w.stop()
	})
}

func TestCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorks(t, served)
		w.begins()
		w.ok(w.s.Cancel(t.Context(), loc))
		if !slices.Equal(w.kept.dropped, []index.Location{loc}) {
			t.Errorf("dropped %v", w.kept.dropped)
		}
		for range 2 {
			w.s.Retry()
			if w.begins() != 0 {
				t.Error("it began again")
			}
			w.state(Cancelled)
			w.stop()
			w.start()
		}
		if len(w.kept.dropped) != 3 { // once more at each start: the process may have ended before
			t.Errorf("dropped %v", w.kept.dropped)
		}
		w.heard[0].Head = head(epoch1, 6)
		w.s.Kick()
		if w.begins() != 1 {
			t.Error("a newer head did not begin it")
		}
		w.ok(w.s.Cancel(t.Context(), All))
		if w.begins() != 0 {
			t.Error("it began again")
		}
		w.ok(w.s.Resume(t.Context(), loc))
		if w.begins() != 1 {
			t.Error("it was not resumed")
		}
		w.result <- nil
		synctest.Wait()
		if err := w.s.Cancel(t.Context(), loc); !errors.Is(err, ErrNoJob) {
			t.Errorf("nothing to cancel: %v", err)
		}
		w.ok(w.s.Cancel(t.Context(), All))
		w.stop()
	})
}

// TestBusy asks a provider that has no room again when it said, and another one meanwhile.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorks(t, served)
		w.begins()
		w.result <- &BusyError{After: 20 * time.Second, Err: errors.New("no place")}
		synctest.Wait()
		j := w.state(Busy)
		if wait := time.Until(j.Next); wait < 20*time.Second || wait > 23*time.Second || j.Attempts != 1 {
			t.Errorf("again in %v: %+v", wait, j)
		}
		w.s.Retry() // a connection does not make room there
		if w.begins() != 0 {
			t.Error("it was asked before its time")
		}
		w.stop()
		w.start()
		w.s.Retry()
		if w.begins() != 0 {
			t.Error("it was asked before its time, after a restart")
		}
		w.heard = append(w.heard, Heard{Device: relay, Head: head(epoch1, 4), Held: true, Reachable: true})
		w.s.Kick()
		if synctest.Wait(); (<-w.begun).Provider != relay {
			t.Error("another device was not asked")
		}
		w.result <- errors.New("cut")
		synctest.Wait()
		if w.begins() != 0 {
			t.Error("no back-off")
		}
		time.Sleep(2 * time.Second)
		if p := <-w.begun; p.Provider != relay {
			t.Errorf("%v", p.Provider)
		}
		w.heard = w.heard[:1]
		w.result <- errors.New("cut")
		synctest.Wait()
		time.Sleep(time.Until(j.Next) + time.Second)
		if w.begins() != 1 {
			t.Error("it was not asked again")
		}
		w.result <- nil
		w.stop()
	})
}

// TestNextTryIsKept checks that a failure counts after a restart.
func TestNextTryIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorks(t, served)
		for i := range 5 {
			time.Sleep(time.Minute)
			if w.begins() != 1 {
				t.Fatalf("try %d did not begin", i)
			}
			w.result <- errors.New("cut")
			synctest.Wait()
		}
		j := w.state(Waiting)
		w.stop()
		w.start()
		if got := w.state(Waiting); !got.Next.Equal(j.Next) || got.Attempts != 5 || got.Error != "cut" || w.begins() != 0 {
			t.Errorf("%+v, was %+v", got, j)
		}
		time.Sleep(time.Until(j.Next) + time.Second)
		if w.begins() != 1 {
			t.Error("it was not tried again")
		}
		w.result <- nil
		w.stop()
		if len(w.kept.jobs) != 0 {
			t.Errorf("left: %+v", w.kept.jobs)
		}
	})
}

// TestShortTransfersAreNotKept counts what is written for one that ends soon and for one that takes long.
func TestShortTransfersAreNotKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorks(t, served)
		w.begins()
		time.Sleep(saveAfter / 2)
		w.result <- nil
		synctest.Wait()
		if w.kept.writes != 0 {
			t.Errorf("%d writes", w.kept.writes)
		}
		w.heard[0].Head = head(epoch1, 6)
		w.s.Kick()
		for i := range 100 {
			synctest.Wait()
			w.s.At(loc, int64(i), 100)
			time.Sleep(time.Second / 5)
		}
		if j, ok := w.kept.of(loc); !ok || j.State != Running || j.Done < 70 || w.kept.writes > 6 {
			t.Errorf("%+v, %d writes", j, w.kept.writes)
		}
		w.stop() // as when the program ends
		if j, _ := w.kept.of(loc); j.State != Queued || j.Done != 99 {
			t.Errorf("%+v", j)
		}
		w.start()
		if w.begins() != 2 {
			t.Error("it did not go on")
		}
		w.heard = nil // what nobody speaks of any more is forgotten
		w.held = nil
		w.result <- nil
		synctest.Wait()
		w.stop()
		if len(w.kept.jobs) != 0 {
			t.Errorf("left: %+v", w.kept.jobs)
		}
	})
}

// TestQueueWaitsForRoom shows what waits for its turn.
func TestQueueWaitsForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		kept, end := newLedger(), make(chan struct{})
		var sits []Situation
		for i := range 5 {
			l := index.Location{Owner: owner, ID: index.LocationID{byte(i)}}
			h := head(epoch1, 5)
			h.Location = l
			sits = append(sits, Situation{Location: l, Heard: []Heard{{Device: owner, Head: h, Held: true, Reachable: true}}})
		}
		s := New(Config{
			Jobs:       kept,
			Situations: func(context.Context) ([]Situation, error) { return slices.Clone(sits), nil },
			Do: func(ctx context.Context, _ Situation, _ Plan) error {
				select {
				case <-end:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			},
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- s.Run(ctx) }()
		time.Sleep(2 * saveAfter)
		states := map[State]int{}
		all, err := s.Queue(ctx)
		for _, j := range all {
			states[j.State]++
		}
		if err != nil || fmt.Sprint(states) != "map[queued:3 running:2]" {
			t.Errorf("%v, %v", states, err)
		}
		cancel()
		<-done
		close(end)
	})
}
