package syncer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/peerdex/peerdex/index"
)

// State is the state of a [Job].
type State string

// The states.
const (
	Queued    State = "queued"    // there is no room for it now, or nobody who can serve it
	Running   State = "running"   // under way
	Waiting   State = "waiting"   // the last try failed; the next is at Job.Next
	Busy      State = "busy"      // who can serve it asked to wait until Job.Next
	Paused    State = "paused"    // by a person; what was received is kept
	Cancelled State = "cancelled" // by a person; it begins anew when it is asked for, or with a newer head
)

// Job is a transfer that is under way or waits, or a location of which a person stopped the transfers.
type Job struct {
	Location index.Location // [All] for all
	State    State
	Head     index.SignedHead // the newest one heard; zero = none
	Strategy Strategy
	Provider index.DeviceID // zero = not chosen yet
	Done     int64          // position: entries, or bytes of a snapshot, received
	Total    int64          // 0 = not known
	Attempts int            // that failed
	Next     time.Time      // of the next try; zero = as soon as there is room
	Error    string         // of the last attempt
}

// All stands for all locations: a job of it that is paused says that nothing is fetched at all. It is the zero location.
var All index.Location

// Jobs keeps the queue, so that it survives restarts. Its methods are called one at a time.
type Jobs interface {
	Jobs(context.Context) ([]Job, error)
	SetJob(context.Context, Job) error
	EndJob(context.Context, index.Location) error
	// Discard drops what was received of a location and is of no use yet. No transfer of it is under way.
	Discard(context.Context, index.Location) error
}

// Errors of what a person asks of the queue.
var (
	// ErrNoJob is returned by [Syncer.Cancel] if there is nothing to fetch of a location.
	ErrNoJob = errors.New("there is no transfer")
	// ErrAllPaused is returned by [Syncer.Resume] for one location while all are paused.
	ErrAllPaused = errors.New("all transfers are paused")
	// errStopped is why a transfer ends that is paused or cancelled.
	errStopped = errors.New("the transfer was stopped by hand")
)

// BusyError is what Config.Do returns if a provider asks to try again later.
type BusyError struct {
	After time.Duration // 0 = not said
	Err   error
}

// Error returns what the provider answered.
func (e *BusyError) Error() string { return e.Err.Error() }

// Unwrap returns what the provider answered.
func (e *BusyError) Unwrap() error { return e.Err }

const (
	// maxPatience bounds what a provider may ask for.
	maxPatience = time.Hour
	// What is over sooner than saveAfter isn't worth keeping: it would be planned again anyway. Positions are kept
	// every saveEvery; what was received is kept elsewhere, as it comes.
	saveAfter = time.Second
	saveEvery = 5 * time.Second
)

// entry is a job, and what is remembered of its tries in this run.
type entry struct {
	Job
	fails int                          // in a row
	wait  time.Time                    // until then it is not tried
	avoid map[index.DeviceID]time.Time // until when
	busy  map[index.DeviceID]time.Time // until when they asked to wait
	snaps map[index.DeviceID]int       // snapshots they failed to serve
	run   *run                         // nil while it does not run

	since   time.Time // of the first plan
	changed bool      // not kept yet
	kept    time.Time // zero = never
}

// run is a plan that is carried out.
type run struct {
	by     index.DeviceID // who serves it; zero = it is local
	cancel context.CancelCauseFunc
	ended  chan struct{}

	stopped bool // by a person
}

func (r *run) stop() {
	r.stopped = true
	r.cancel(errStopped)
}

func newEntry(j Job, now time.Time) *entry {
	return &entry{Job: j, avoid: map[index.DeviceID]time.Time{}, busy: map[index.DeviceID]time.Time{}, snaps: map[index.DeviceID]int{}, since: now}
}

// stopped reports whether a person stopped it.
func (e *entry) stopped() bool { return e.State == Paused || e.State == Cancelled }

// calm forgets failures. What providers asked for stays.
func (e *entry) calm() {
	e.fails, e.wait = 0, time.Time{}
	clear(e.avoid)
	clear(e.snaps)
}

// advise puts what is known of providers into a situation.
func (e *entry) advise(s *Situation, now time.Time) {
	s.Avoid, s.Busy = until(e.avoid, now), until(e.busy, now)
	for d, n := range e.snaps {
		if n >= snapshotTries {
			s.NoSnapshot = append(s.NoSnapshot, d)
		}
	}
}

// until returns those whose time has not come.
func until(m map[index.DeviceID]time.Time, now time.Time) []index.DeviceID {
	var out []index.DeviceID
	for d, t := range m {
		if now.Before(t) {
			out = append(out, d)
		} else {
			delete(m, d)
		}
	}
	return out
}

// set changes state and time of the next try.
func (e *entry) set(s State, next time.Time) {
	if e.State != s || !e.Next.Equal(next) {
		e.State, e.Next, e.changed = s, next, true
	}
}

// load reads the queue of the last run, once. The caller holds s.mu.
func (s *Syncer) load(ctx context.Context) error {
	if s.loaded || s.cfg.Jobs == nil {
		return nil
	}
	all, err := s.cfg.Jobs.Jobs(ctx)
	if err != nil {
		return fmt.Errorf("read the queue: %w", err)
	}
	s.loaded = true
	now := time.Now()
	for _, j := range all {
		e := newEntry(j, now)
		e.kept = now
		switch j.State {
		case Paused:
		case Cancelled: // again: the process may have ended before
			if err := s.cfg.Jobs.Discard(ctx, j.Location); err != nil {
				s.cfg.Log.Error("drop what was received", "location", j.Location, "error", err)
			}
		case Waiting:
			e.Next = earlier(j.Next, now.Add(s.cfg.RetryMax))
			e.wait, e.fails = e.Next, j.Attempts
		case Busy:
			e.Next = earlier(j.Next, now.Add(maxPatience))
			e.busy[j.Provider] = e.Next
		default:
			e.State = Queued
		}
		s.jobs[j.Location] = e
	}
	return nil
}

// earlier is the earlier of two times: clocks may have been set.
func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// save keeps what changed and is worth it, and returns when to save again; zero if only an event can change anything. The
// caller holds s.mu.
func (s *Syncer) save(ctx context.Context, now time.Time) time.Time {
	var wake time.Time
	for _, e := range s.jobs {
		due := e.since.Add(saveAfter)
		switch {
		case e.Provider.IsZero() && !e.stopped():
			continue // local, and soon over; or not begun
		case e.run == nil && !e.changed:
			continue
		case e.State == Waiting, e.State == Busy, e.stopped():
			due = now
		case !e.kept.IsZero():
			due = e.kept.Add(saveEvery)
		}
		if now.Before(due) {
			wake = soonest(wake, due)
			continue
		}
		s.keep(ctx, e, now)
		if e.run != nil {
			wake = soonest(wake, now.Add(saveEvery))
		}
	}
	return wake
}

// keep writes one job.
func (s *Syncer) keep(ctx context.Context, e *entry, now time.Time) {
	if s.cfg.Jobs != nil && e.changed {
		if err := s.cfg.Jobs.SetJob(ctx, e.Job); err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("keep a transfer", "location", e.Location, "error", err)
		}
	}
	e.changed, e.kept = false, now
}

// end forgets a job that is over. The caller holds s.mu.
func (s *Syncer) end(ctx context.Context, e *entry) {
	delete(s.jobs, e.Location)
	if s.cfg.Jobs == nil || e.kept.IsZero() {
		return
	}
	if err := s.cfg.Jobs.EndJob(ctx, e.Location); err != nil && ctx.Err() == nil {
		s.cfg.Log.Error("forget a transfer", "location", e.Location, "error", err)
	}
}

func soonest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// Queue returns all jobs, that of [All] among them if all are paused, in no order. Safe for concurrent use.
func (s *Syncer) Queue(ctx context.Context) ([]Job, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.load(ctx); err != nil {
		return nil, err
	}
	var out []Job
	for _, e := range s.jobs {
		if !e.Provider.IsZero() || e.stopped() || e.State == Queued {
			out = append(out, e.Job)
		}
	}
	return out, nil
}

// At says how far the transfer of a location is: entries, or bytes of a snapshot. It is shown, and kept now and then. Safe
// for concurrent use.
func (s *Syncer) At(l index.Location, done, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	// One that was cancelled has nothing, whatever it still says while it ends.
	if e := s.jobs[l]; e != nil && e.State != Cancelled && (e.Done != done || e.Total != total) {
		e.Done, e.Total, e.changed = done, total, true
	}
}

// Pause ends the transfer of a location, or of all with [All], and begins none until [Syncer.Resume]. What was received is
// kept. It returns when nothing is under way any more. Safe for concurrent use.
func (s *Syncer) Pause(ctx context.Context, l index.Location) error {
	s.mu.Lock()
	err := s.load(ctx)
	var ends []chan struct{}
	if err == nil {
		e := s.job(l)
		e.set(Paused, time.Time{})
		err = s.must(ctx, e)
		for _, o := range s.jobs {
			if (l == All || o == e) && o.run != nil && !o.run.by.IsZero() {
				o.run.stop()
				ends = append(ends, o.run.ended)
			}
		}
	}
	s.mu.Unlock()
	return errors.Join(err, wait(ctx, ends))
}

// Paused reports whether a person stopped the transfers of a location, or all. Safe for concurrent use.
func (s *Syncer) Paused(ctx context.Context, l index.Location) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.load(ctx)
	e := s.jobs[l]
	return s.jobs[All] != nil || e != nil && e.State == Paused, err
}

// Resume takes back what [Syncer.Pause] and [Syncer.Cancel] did to a location, and has what waits tried now. With [All] it
// does so for all locations. Safe for concurrent use.
func (s *Syncer) Resume(ctx context.Context, l index.Location) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.Kick()
	if err := s.load(ctx); err != nil {
		return err
	}
	if l != All && s.jobs[All] != nil {
		return ErrAllPaused
	}
	for _, e := range s.jobs {
		switch {
		case l != All && e.Location != l || e.run != nil:
		case e.Location == All, e.stopped() && e.Provider.IsZero():
			s.end(ctx, e)
		default:
			e.calm()
			clear(e.busy)
			e.set(Queued, time.Time{})
			if err := s.must(ctx, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// Cancel ends the transfer of a location, drops what it received, and begins no other before [Syncer.Resume] or a newer
// head. With [All] it does so for all that is to be fetched now. Safe for concurrent use.
func (s *Syncer) Cancel(ctx context.Context, l index.Location) error {
	sits, err := s.cfg.Situations(ctx)
	if err != nil {
		return err
	}
	s.mu.Lock()
	err = s.load(ctx)
	var ends []chan struct{}
	var dropped []index.Location
	for i := range sits {
		sit := &sits[i]
		p := Decide(sit)
		if err != nil || l != All && sit.Location != l || p.Provider.IsZero() && !p.Nobody {
			continue
		}
		e := s.job(sit.Location)
		e.Head, e.Done, e.Total, e.Error, e.Attempts, e.changed = p.Target, 0, 0, "", 0, true
		e.set(Cancelled, time.Time{})
		err = s.must(ctx, e)
		dropped = append(dropped, sit.Location)
		if e.run != nil {
			e.run.stop()
			ends = append(ends, e.run.ended)
		}
	}
	s.mu.Unlock()
	if err == nil && len(dropped) == 0 && l != All {
		err = ErrNoJob
	}
	if err := errors.Join(err, wait(ctx, ends)); err != nil || s.cfg.Jobs == nil {
		return err
	}
	for _, l := range dropped {
		err = errors.Join(err, s.cfg.Jobs.Discard(ctx, l))
	}
	return err
}

// job finds or makes the entry of a location. The caller holds s.mu.
func (s *Syncer) job(l index.Location) *entry {
	e := s.jobs[l]
	if e == nil {
		e = newEntry(Job{Location: l}, time.Now())
		s.jobs[l] = e
	}
	return e
}

// must keeps what a person asked for, or says why it can't. The caller holds s.mu.
func (s *Syncer) must(ctx context.Context, e *entry) error {
	if s.cfg.Jobs != nil {
		if err := s.cfg.Jobs.SetJob(ctx, e.Job); err != nil {
			return fmt.Errorf("keep a transfer: %w", err)
		}
	}
	e.changed, e.kept = false, time.Now()
	return nil
}

func wait(ctx context.Context, ends []chan struct{}) error {
	for _, ended := range ends {
		select {
		case <-ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// isNewer reports whether a head is above another, which may be zero.
func isNewer(h, than *index.SignedHead) bool {
	return *than == (index.SignedHead{}) || slices.Contains([]index.Order{index.Newer, index.NewEpoch}, index.Compare(&h.Head, &than.Head))
}
