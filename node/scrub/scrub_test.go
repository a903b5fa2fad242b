package scrub

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerdex/peerdex/index"
)

// shelf is a store of files that remembers when they were checked.
type shelf struct {
	t     *testing.T
	mu    sync.Mutex
	files []File
	steps int           // of a check
	step  time.Duration // of work
	bad   map[index.Location]bool
	fails error
	log   []entry
	now   int // checks under way
}

type entry struct {
	loc        index.Location
	begun, end time.Time
	rested     bool
}

func loc(n byte) index.Location { return index.Location{ID: index.LocationID{n * 40, n}} }

func (s *shelf) list(context.Context) ([]File, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.files), nil
}

func (s *shelf) check(ctx context.Context, f File, rest func(context.Context, time.Duration) error) (bool, error) {
	e := entry{loc: f.Location, begun: time.Now(), rested: rest != nil}
	s.mu.Lock()
	s.now++
	if s.now > 1 && rest != nil {
		s.t.Error("two checks at once")
	}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		s.now--
		s.mu.Unlock()
	}()
	for range s.steps {
		time.Sleep(s.step)
		if rest == nil {
			continue
		}
		if err := rest(ctx, s.step); err != nil {
			return false, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	e.end = time.Now()
	s.log = append(s.log, e)
	if s.fails != nil {
		return false, s.fails
	}
	for i := range s.files {
		if s.files[i].Location == f.Location && !s.bad[f.Location] {
			s.files[i].Checked = e.end
		}
	}
	return !s.bad[f.Location], nil
}

func (s *shelf) took() []entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.log)
}

// run runs a scrubber for a time, and waits until it has ended.
func run(t *testing.T, cfg Config, d time.Duration, meanwhile func(*Scrubber)) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := New(cfg)
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("run ended with %v", err)
		}
	})
	if meanwhile != nil {
		wg.Go(func() { meanwhile(s) })
	}
	time.Sleep(d)
	cancel()
	begun := time.Now()
	wg.Wait()
	if late := time.Since(begun); late > time.Second {
		t.Errorf("it ended %v after it was told to", late)
	}
}

// TestOnceAWeek lets six weeks pass, with a restart every other day.
func TestOnceAWeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sh := &shelf{t: t, steps: 10, step: time.Millisecond}
		start := time.Now()
		for n := range byte(6) {
			sh.files = append(sh.files, File{Location: loc(n), Since: start.Add(-time.Duration(n) * time.Hour)})
		}
		for range 21 {
			run(t, Config{Files: sh.list, Check: sh.check, Activity: &Activity{}}, 48*time.Hour, nil)
		}
		first := map[time.Duration]bool{}
		for _, f := range sh.files {
			last, n := f.Since, 0
			for _, e := range sh.took() {
				if e.loc != f.Location {
					continue
				}
				if gap := e.begun.Sub(last); gap < week*9/10 || gap > week*11/10+lookAgain {
					t.Errorf("check %d of %v came %v after the one before", n, f.Location.ID, gap)
				}
				if n++; n == 1 {
					first[e.begun.Sub(last).Truncate(time.Hour)] = true
				}
				last = e.end
			}
			if n < 5 || n > 6 {
				t.Errorf("%d checks of %v in six weeks", n, f.Location.ID)
			}
		}
		if len(first) < 5 {
			t.Errorf("the first checks came at %v, that is together", first)
		}
	})
}

// TestStaysOutOfTheWay has work going on when a check is due, and again in the middle of the check.
func TestStaysOutOfTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sh := &shelf{t: t, steps: 100, step: 20 * time.Millisecond, files: []File{{Location: loc(1), Since: time.Now().Add(-2*week + time.Hour*40)}}}
		act := &Activity{}
		end := act.Begin()
		begun := time.Now()
		run(t, Config{Files: sh.list, Check: sh.check, Activity: act}, 4*time.Hour, func(*Scrubber) {
			time.Sleep(time.Hour)
			act.Touch() // within
			end()
			end() // counts once
			time.Sleep(quiet + 5*time.Second)
			again := act.Begin()
			time.Sleep(30 * time.Minute)
			again()
		})
		log := sh.took()
		if len(log) != 1 || !log[0].rested {
			t.Fatalf("checks: %+v", log)
		}
		if wait := log[0].begun.Sub(begun); wait != time.Hour+quiet {
			t.Errorf("it began after %v", wait)
		}
		work, all := 100*20*time.Millisecond, log[0].end.Sub(log[0].begun)
		if pause := 30*time.Minute + quiet; all < pause+work*100/share-time.Second || all > pause+work*100/share+time.Second {
			t.Errorf("%v of work took %v", work, all)
		}
	})
}

// TestLateChecksDoNotWait never leaves a quiet minute.
func TestLateChecksDoNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sh := &shelf{t: t, steps: 10, step: time.Millisecond, files: []File{{Location: loc(1), Since: time.Now()}}}
		act := &Activity{}
		defer act.Begin()()
		begun := time.Now()
		run(t, Config{Files: sh.list, Check: sh.check, Activity: act}, 3*week, nil)
		log := sh.took()
		if len(log) != 1 || log[0].begun.Sub(begun) < week*19/10 || log[0].begun.Sub(begun) > week*21/10+lookAgain {
			t.Errorf("checks: %+v", log)
		}
	})
}

// TestSuspects reports damage in files that are not due.
func TestSuspects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		sh := &shelf{t: t, steps: 10, step: time.Second, bad: map[index.Location]bool{loc(2): true}}
		for n := range byte(4) {
			sh.files = append(sh.files, File{Location: loc(n), Since: now})
		}
		act := &Activity{}
		defer act.Begin()()
		run(t, Config{Files: sh.list, Check: sh.check, Activity: act, Every: -1}, 4*week, func(s *Scrubber) {
			for range 10 {
				s.Suspect(loc(1))
				s.Suspect(loc(2))
				s.Suspect(loc(9)) // not there
			}
			time.Sleep(time.Minute)
			s.Suspect(loc(1)) // found good a minute ago
			time.Sleep(2 * trust)
			s.Suspect(loc(1))
		})
		n := map[index.Location]int{}
		for _, e := range sh.took() {
			if n[e.loc]++; e.rested || e.end.Sub(e.begun) != 10*time.Second {
				t.Errorf("a suspect had to wait: %+v", e)
			}
		}
		if n[loc(1)] < 2 || n[loc(1)] > 3 || n[loc(2)] < 1 || n[loc(2)] > 2 || len(n) != 2 {
			t.Errorf("checks: %v", n)
		}
	})
}

// TestTriesAgainLater has checks that can't be carried out, and a clock that was wrong.
func TestTriesAgainLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		sh := &shelf{t: t, steps: 1, fails: errors.New("the disk is away"), files: []File{{Location: loc(1), Since: now.Add(100 * week)}}}
		run(t, Config{Files: sh.list, Check: sh.check, Activity: &Activity{}}, 5*lookAgain+2*quiet, nil)
		if log := sh.took(); len(log) != 6 {
			t.Errorf("%d checks in five hours: %+v", len(log), log)
		}
	})
}

func TestAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sh := &shelf{t: t, steps: 1, files: []File{{Location: loc(1)}, {Location: loc(2)}}}
		act := &Activity{}
		defer act.Begin()()
		s := New(Config{Files: sh.list, Check: sh.check, Activity: act})
		if err := s.All(t.Context()); err != nil || len(sh.log) != 2 {
			t.Errorf("%v, %+v", err, sh.log)
		}
		sh.fails = errors.New("the disk is away")
		if err := s.All(t.Context()); !errors.Is(err, sh.fails) {
			t.Errorf("%v", err)
		}
	})
}
