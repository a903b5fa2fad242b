// Package syncer decides when and from whom replicas are moved forward, and keeps the transfers going: a planner
// ([Decide], a pure function), and a queue ([Syncer]) that runs what it plans within limits, with back-off after
// failures. It knows neither network nor store: both are functions in [Config].
//
// The syncer plans again whenever it is kicked (a head was heard, a device came or went), after each transfer, and
// when a back-off ends. Nothing is kept between plans but who failed lately, and who served what can't be proved
// ([Unproved]): what is true is read anew each time.
package syncer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
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
	busy map[index.Location]index.DeviceID // provider of the running plan
	bad  map[index.Location]*trouble

	mu       sync.Mutex
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

// trouble is what went wrong lately with a location.
type trouble struct {
	fails int
	next  time.Time
	avoid map[index.DeviceID]time.Time // until when
	snaps map[index.DeviceID]int       // snapshots it failed to serve
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
		busy: map[index.Location]index.DeviceID{}, bad: map[index.Location]*trouble{},
		unproved: map[index.Location][]Unproved{},
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
	for {
		var wake <-chan time.Time
		stop := ctx.Done()
		if ctx.Err() == nil {
			if next := s.plan(ctx); !next.IsZero() {
				wake = time.After(time.Until(next))
			}
		} else {
			if len(s.busy) == 0 {
				return ctx.Err()
			}
			stop = nil
		}
		select {
		case <-stop:
		case <-s.kick:
		case <-wake:
		case o := <-s.done:
			s.finished(ctx, o)
		}
	}
}

// plan starts what can be started, and returns when to look again; zero if only an event can change anything.
func (s *Syncer) plan(ctx context.Context) time.Time {
	now := time.Now()
	if s.anew.Swap(false) {
		clear(s.bad)
	}
	sits, err := s.cfg.Situations(ctx)
	if err != nil {
		if ctx.Err() == nil {
			s.cfg.Log.Error("planning", "error", err)
		}
		return now.Add(s.cfg.RetryMax)
	}
	s.forgive(sits)
	var wake time.Time
	for i := range sits {
		sit := &sits[i]
		sit.Unproved = s.Unproved(sit.Location)
		if _, running := s.busy[sit.Location]; running {
			continue
		}
		if t := s.bad[sit.Location]; t != nil {
			sit.Avoid = t.avoided(now)
			for d, n := range t.snaps {
				if n >= snapshotTries {
					sit.NoSnapshot = append(sit.NoSnapshot, d)
				}
			}
			if now.Before(t.next) {
				if p := Decide(sit); !p.Idle() && (wake.IsZero() || t.next.Before(wake)) {
					wake = t.next
				}
				continue
			}
		}
		if p := Decide(sit); !p.Idle() && s.room(p.Provider) {
			s.start(ctx, *sit, p)
		}
	}
	return wake
}

// room reports whether one more transfer is within the limits. Plans without a provider are local and cost little.
func (s *Syncer) room(provider index.DeviceID) bool {
	if provider.IsZero() {
		return true
	}
	all, same := 0, 0
	for _, by := range s.busy {
		if by == provider {
			same++
		}
		if !by.IsZero() {
			all++
		}
	}
	return all < s.cfg.MaxTransfers && same < s.cfg.MaxPerDevice
}

func (s *Syncer) start(ctx context.Context, sit Situation, p Plan) {
	s.busy[sit.Location] = p.Provider
	go func() {
		err := s.cfg.Do(ctx, sit, p)
		s.done <- outcome{loc: sit.Location, by: p.Provider, err: err}
	}()
}

func (s *Syncer) finished(ctx context.Context, o outcome) {
	delete(s.busy, o.loc)
	if o.err == nil {
		delete(s.bad, o.loc)
		return
	}
	if ctx.Err() != nil && errors.Is(o.err, context.Canceled) {
		return
	}
	t := s.bad[o.loc]
	if t == nil {
		t = &trouble{avoid: map[index.DeviceID]time.Time{}, snaps: map[index.DeviceID]int{}}
		s.bad[o.loc] = t
	}
	wait := min(s.cfg.RetryBase<<min(t.fails, 20), s.cfg.RetryMax)
	wait += time.Duration(rand.Int64N(int64(wait)/4 + 1)) // so that devices do not knock in step
	t.fails++
	t.next = time.Now().Add(wait)
	if u, ok := errors.AsType[*UnprovedError](o.err); ok && !o.by.IsZero() {
		s.hold(o.loc, Unproved{Device: o.by, Head: u.Head, Delta: u.Delta})
	}
	if !o.by.IsZero() {
		t.avoid[o.by] = time.Now().Add(max(4*wait, time.Minute))
		if errors.Is(o.err, ErrNoSnapshot) {
			t.snaps[o.by]++
		}
	}
	s.cfg.Log.Warn("transfer", "location", o.loc, "provider", o.by, "retry_in", wait, "error", fmt.Sprint(o.err))
}

func (t *trouble) avoided(now time.Time) []index.DeviceID {
	var out []index.DeviceID
	for d, until := range t.avoid {
		if now.Before(until) {
			out = append(out, d)
		} else {
			delete(t.avoid, d)
		}
	}
	return out
}
