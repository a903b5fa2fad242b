// Package syncer decides when and from whom replicas are moved forward, and keeps the transfers going: a planner
// ([Decide], a pure function), and a queue ([Syncer]) that runs what it plans within limits, with back-off after
// failures. It knows neither network nor store: both are functions in [Config].
//
// The syncer plans again whenever it is kicked (a head was heard, a device came or went), after each transfer, and
// when a back-off ends. What is to be done is read anew each time; what is under way or waits is a [Job], kept through
// [Jobs], so that pauses, counts of tries and the times of the next ones survive restarts. Only who failed lately, and who
// served what can't be proved ([Unproved]), is kept in memory alone.
package syncer

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/peerdex/peerdex/index"
)

// Config is what a Syncer needs. Situations and Do are required; zero limits mean the defaults.
type Config struct {
	// Situations says how every location of other devices stands.
	Situations func(context.Context) ([]Situation, error)
	// Do carries out one plan that is not idle. It is called from a goroutine of its own, once at a time for a
	// location. A transfer that ended short of the newest head is no error: it is planned again.
	Do func(context.Context, Situation, Plan) error

	// Jobs keeps the queue between starts; nil = it is kept in memory.
	Jobs Jobs

	MaxTransfers int           // at once; 0 = 4
	MaxPerDevice int           // at once from one provider; 0 = 2
	RetryBase    time.Duration // wait after a first failure, doubled for each further; 0 = 1 s
	RetryMax     time.Duration // 0 = 5 min
	Log          *slog.Logger  // nil = off
}

// Syncer runs plans. Make one with [New]; it does nothing before [Syncer.Run].
type Syncer struct {
	cfg  Config
	kick chan struct{}
	anew atomic.Bool // forget who failed, at the next plan
	done chan outcome

	mu       sync.Mutex
	loaded   bool // jobs has what was kept
	jobs     map[index.Location]*entry
	unproved map[index.Location][]Unproved
}

// ErrNoSnapshot is what Config.Do returns if a provider failed to serve a snapshot through a fault of its own. After two
// such failures batches are pulled from it.
var ErrNoSnapshot = errors.New("no snapshot was served")

// snapshotTries is how often a provider may fail to serve a snapshot.
const snapshotTries = 2

type outcome struct {
	loc index.Location
	by  index.DeviceID
	err error
}

// New returns a syncer.
func New(cfg Config) *Syncer {
	if cfg.MaxTransfers == 0 {
		cfg.MaxTransfers = 4
	}
	if cfg.MaxPerDevice == 0 {
		cfg.MaxPerDevice = 2
	}
	if cfg.RetryBase == 0 {
		cfg.RetryBase = time.Second
	}
	if cfg.RetryMax == 0 {
		cfg.RetryMax = 5 * time.Minute
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Syncer{
		cfg: cfg, kick: make(chan struct{}, 1), done: make(chan outcome),
		jobs: map[index.Location]*entry{}, unproved: map[index.Location][]Unproved{},
	}
}

// Kick makes the syncer plan again soon. It never blocks, and is safe to call from anywhere at any time.
func (s *Syncer) Kick() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Retry is Kick, and forgets who failed and how often: for when something changed that failures may have come from,
// such as a connection.
func (s *Syncer) Retry() {
	s.anew.Store(true)
	s.Kick()
}

// Run plans and runs transfers until ctx ends, then waits for those under way. Call it once.
func (s *Syncer) Run(ctx context.Context) error {
	s.mu.Lock()
	err := s.load(ctx)
	s.mu.Unlock()
	if err != nil {
		return err
	}
	for {
		var wake, save <-chan time.Time
		stop := ctx.Done()
		if ctx.Err() == nil {
			wake = timer(s.plan(ctx))
			s.mu.Lock()
			save = timer(s.save(ctx, time.Now()))
			s.mu.Unlock()
		} else {
			if s.idle() {
				s.leave(context.WithoutCancel(ctx))
				return ctx.Err()
			}
			stop = nil
		}
		select {
		case <-stop:
		case <-s.kick:
		case <-wake:
		case <-save:
		case o := <-s.done:
			s.finished(ctx, o)
		}
	}
}

// timer fires at a time; never if that is zero.
func timer(at time.Time) <-chan time.Time {
	if at.IsZero() {
		return nil
	}
	return time.After(time.Until(at))
}

// idle reports whether nothing runs.
func (s *Syncer) idle() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.jobs {
		if e.run != nil {
			return false
		}
	}
	return true
}

// leave keeps what is there for the next start.
func (s *Syncer) leave(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, e := range s.jobs {
		if !e.Provider.IsZero() || e.stopped() {
			s.keep(ctx, e, time.Now())
		}
	}
}

// plan starts what can be started, and returns when to look again; zero if only an event can change anything.
func (s *Syncer) plan(ctx context.Context) time.Time {
	now := time.Now()
	sits, err := s.cfg.Situations(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.cfg.Log.Error("planning", "error", err)
		}
		return now.Add(s.cfg.RetryMax)
	}
	s.forgive(sits)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.anew.Swap(false) {
		for _, e := range s.jobs {
			if e.calm(); e.State == Waiting {
				e.set(Queued, time.Time{})
			}
		}
	}
	known := map[index.Location]bool{All: true}
	var wake time.Time
	for i := range sits {
		sit := &sits[i]
		known[sit.Location] = true
		if e := s.jobs[sit.Location]; e == nil || e.run == nil {
			wake = soonest(wake, s.consider(ctx, sit, now))
		}
	}
	for l, e := range s.jobs {
		if !known[l] && e.run == nil {
			s.end(ctx, e)
		}
	}
	return wake
}

// consider plans for one location that nothing runs for, and starts that if it may. It returns when to look again.
func (s *Syncer) consider(ctx context.Context, sit *Situation, now time.Time) time.Time {
	e := s.jobs[sit.Location]
	if e == nil {
		e = newEntry(Job{Location: sit.Location, State: Queued}, now)
	}
	e.advise(sit, now)
	sit.Unproved = slices.Clone(s.unproved[sit.Location])
	p := Decide(sit)
	switch {
	case p.Strategy == Touch, p.Strategy == Drop: // costs nothing, so nobody stops it
		if now.Before(e.wait) {
			return e.wait
		}
		s.start(ctx, e, *sit, p)
		return time.Time{}
	case p.Provider.IsZero() && !p.Nobody: // there is nothing to fetch any more
		if e.State != Paused && s.jobs[sit.Location] != nil {
			s.end(ctx, e)
		}
		return time.Time{}
	case e.State == Cancelled && isNewer(&p.Target, &e.Head):
		e.Attempts, e.changed = 0, true
		e.set(Queued, time.Time{})
	case e.stopped():
		return time.Time{}
	}
	e.Head = p.Target
	switch {
	case p.Busy:
		next := time.Time{}
		for _, t := range e.busy {
			next = soonest(next, t)
		}
		e.set(Busy, next)
		return next
	case now.Before(e.wait):
		return e.wait
	case p.Nobody:
		if s.jobs[sit.Location] != nil { // one that began
			e.set(Queued, time.Time{})
		}
		return time.Time{}
	}
	s.jobs[sit.Location] = e
	if s.jobs[All] != nil || !s.room(p.Provider) {
		e.set(Queued, time.Time{})
		return time.Time{}
	}
	s.start(ctx, e, *sit, p)
	return time.Time{}
}

// room reports whether one more transfer is within the limits. Plans without a provider are local and cost little.
func (s *Syncer) room(provider index.DeviceID) bool {
	all, same := 0, 0
	for _, e := range s.jobs {
		switch {
		case e.run == nil || e.run.by.IsZero():
			continue
		case e.run.by == provider:
			same++
		}
		all++
	}
	return all < s.cfg.MaxTransfers && same < s.cfg.MaxPerDevice
}

func (s *Syncer) start(ctx context.Context, e *entry, sit Situation, p Plan) {
	ctx, cancel := context.WithCancelCause(ctx)
	if !p.Provider.IsZero() {
		e.Strategy, e.Provider, e.Head, e.changed = p.Strategy, p.Provider, p.Target, true
		e.set(Running, time.Time{})
	}
	e.run = &run{by: p.Provider, cancel: cancel, ended: make(chan struct{})}
	s.jobs[e.Location] = e
	go func() {
		err := s.cfg.Do(ctx, sit, p)
		cancel(nil)
		s.done <- outcome{loc: sit.Location, by: p.Provider, err: err}
	}()
}

func (s *Syncer) finished(ctx context.Context, o outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.jobs[o.loc]
	r := e.run
	defer close(r.ended)
	e.run = nil
	switch {
	case o.err == nil && (o.by.IsZero() || !e.stopped()):
		if !e.stopped() {
			s.end(context.WithoutCancel(ctx), e)
		}
		return
	case e.stopped() && !o.by.IsZero():
		return
	case ctx.Err() != nil && errors.Is(o.err, context.Canceled), r.stopped:
		if !e.stopped() {
			e.set(Queued, time.Time{})
		}
		return
	}
	s.failed(e, &o)
}

// failed says when to try again, and with whom.
func (s *Syncer) failed(e *entry, o *outcome) {
	now := time.Now()
	back := min(s.cfg.RetryBase<<min(e.fails, 20), s.cfg.RetryMax)
	if b, ok := errors.AsType[*BusyError](o.err); ok && !o.by.IsZero() { // no fault, and others may have room
		back = min(max(b.After, s.cfg.RetryBase), maxPatience)
		back += rand.N(back/8 + 1)
		e.busy[o.by] = now.Add(back)
		e.Attempts, e.Error, e.changed = e.Attempts+1, o.err.Error(), true
		e.set(Busy, e.busy[o.by])
		s.cfg.Log.Info("provider is busy", "location", o.loc, "provider", o.by, "retry_in", back)
		return
	}
	back += rand.N(back/4 + 1) // so that devices do not knock in step
	e.fails++
	e.wait = now.Add(back)
	if u, ok := errors.AsType[*UnprovedError](o.err); ok && !o.by.IsZero() {
		s.hold(o.loc, Unproved{Device: o.by, Head: u.Head, Delta: u.Delta})
	}
	if !o.by.IsZero() {
		e.Attempts, e.Error, e.changed = e.Attempts+1, o.err.Error(), true
		e.set(Waiting, e.wait)
		e.avoid[o.by] = now.Add(max(4*back, time.Minute))
		if errors.Is(o.err, ErrNoSnapshot) {
			e.snaps[o.by]++
		}
	}
	s.cfg.Log.Warn("transfer", "location", o.loc, "provider", o.by, "retry_in", back, "error", o.err.Error())
}
