package scrub

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/peerdex/peerdex/index"
)

const (
	week  = 7 * 24 * time.Hour
	quiet = time.Minute
	share = 10 // percent of one core

	lookAgain = time.Hour        // for files that came, and after a check that could not be carried out
	trust     = 10 * time.Minute // after damage was reported that a check didn't find
	maxRest   = time.Minute      // between two steps
)

// File is a file to be checked now and then.
type File struct {
	Location index.Location
	Since    time.Time // when it came
	Checked  time.Time // when it was last found good; zero = never
}

// Config is what a Scrubber needs. Files, Check and Activity are required.
type Config struct {
	// Files lists all files. What is known to be damaged is not among them.
	Files func(context.Context) ([]File, error)
	// Check reads a file through, and reports whether it is good; what is to be done about one that isn't is its affair, as
	// is remembering that it was good. It calls rest between its steps with the time that the last one took; a nil rest
	// means that nothing else matters now. An error says that the check could not be carried out.
	Check func(ctx context.Context, f File, rest func(ctx context.Context, worked time.Duration) error) (good bool, err error)
	// Activity is what checks wait for.
	Activity *Activity
	// Every is the time between two checks of a file; 0 = a week, negative = only those in which damage was met.
	Every time.Duration
	Log   *slog.Logger // nil = off
}

// Scrubber has files checked. Make one with [New]; it does nothing by itself before [Scrubber.Run]. Safe for concurrent
// use.
type Scrubber struct {
	cfg  Config
	kick chan struct{}

	mu       sync.Mutex
	suspects map[index.Location]bool
	tried    map[index.Location]time.Time // when a check ended last
	trusted  map[index.Location]time.Time // when a suspect was found good
}

// New returns a scrubber.
func New(cfg Config) *Scrubber {
	cfg.Every = cmp.Or(cfg.Every, week)
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return &Scrubber{
		cfg: cfg, kick: make(chan struct{}, 1), suspects: map[index.Location]bool{},
		tried: map[index.Location]time.Time{}, trusted: map[index.Location]time.Time{},
	}
}

// Suspect says that damage was met in the file of a location. Run checks it soon, whatever else goes on. Suspect never
// blocks.
func (s *Scrubber) Suspect(l index.Location) {
	s.mu.Lock()
	s.suspects[l] = true
	s.mu.Unlock()
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// Run checks files until ctx ends. Call it once.
func (s *Scrubber) Run(ctx context.Context) error {
	s.cfg.Activity.Touch() // what begins with us has not begun yet
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { s.checkSuspects(ctx) })
	for ctx.Err() == nil {
		f, due := s.next(ctx)
		if wait := time.Until(due); wait > 0 {
			sleep(ctx, min(wait, lookAgain))
			continue
		}
		if s.wait(ctx, due) != nil {
			break
		}
		_, _ = s.check(ctx, f, func(ctx context.Context, worked time.Duration) error { // it told what there is to tell
			sleep(ctx, min(worked*(100-share)/share, maxRest))
			return s.wait(ctx, due)
		})
	}
	return ctx.Err()
}

// wait returns when nothing goes on, or when a file that was due at a time can't wait any longer.
func (s *Scrubber) wait(ctx context.Context, due time.Time) error {
	patient, cancel := context.WithDeadline(ctx, due.Add(s.cfg.Every))
	defer cancel()
	if s.cfg.Activity.Wait(patient, quiet) != nil {
		return ctx.Err()
	}
	return nil
}

// All checks every file now, one after the other, whatever else goes on. Its error says which checks could not be carried
// out.
func (s *Scrubber) All(ctx context.Context) error {
	files, err := s.cfg.Files(ctx)
	for _, f := range files {
		_, cerr := s.check(ctx, f, nil)
		err = errors.Join(err, cerr)
	}
	return err
}

// next returns the file that is due first, and when.
func (s *Scrubber) next(ctx context.Context) (first File, at time.Time) {
	files, err := s.cfg.Files(ctx)
	if err != nil && ctx.Err() == nil {
		s.cfg.Log.Error("list files to check", "error", err)
	}
	at = time.Now().Add(lookAgain)
	if s.cfg.Every < 0 {
		return first, at
	}
	for _, f := range files {
		if due := s.due(&f); due.Before(at) {
			first, at = f, due
		}
	}
	return first, at
}

// due is when a file is to be checked.
func (s *Scrubber) due(f *File) time.Time {
	last := f.Since
	if f.Checked.After(last) {
		last = f.Checked
	}
	if last.After(time.Now()) {
		last = time.Time{} // the clock was wrong then, or is now
	}
	tenth := s.cfg.Every / 10
	spread := time.Duration(binary.BigEndian.Uint16(f.Location.ID[:])) * tenth * 2 / (1 << 16)
	due := last.Add(s.cfg.Every - tenth + spread)
	s.mu.Lock()
	defer s.mu.Unlock()
	if again := s.tried[f.Location].Add(min(lookAgain, s.cfg.Every)); due.Before(again) {
		return again
	}
	return due
}

func (s *Scrubber) check(ctx context.Context, f File, rest func(context.Context, time.Duration) error) (bool, error) {
	good, err := s.cfg.Check(ctx, f, rest)
	s.mu.Lock()
	s.tried[f.Location] = time.Now()
	s.mu.Unlock()
	if err != nil && ctx.Err() == nil {
		s.cfg.Log.Warn("a file could not be checked", "location", f.Location, "error", err)
	}
	return good, err
}

// checkSuspects checks the files in which damage was met.
func (s *Scrubber) checkSuspects(ctx context.Context) {
	for {
		select {
		case <-s.kick:
		case <-ctx.Done():
			return
		}
		files, err := s.cfg.Files(ctx)
		if err != nil && ctx.Err() == nil {
			s.cfg.Log.Error("list files to check", "error", err)
		}
		suspects := s.takeSuspects()
		for _, f := range files {
			if !suspects[f.Location] {
				continue
			}
			if good, err := s.check(ctx, f, nil); good && err == nil {
				s.cfg.Log.Warn("damage was met in a file that a check finds good", "location", f.Location)
				s.mu.Lock()
				s.trusted[f.Location] = time.Now()
				s.mu.Unlock()
			}
		}
	}
}

// takeSuspects returns the suspects but those that were found good lately.
func (s *Scrubber) takeSuspects() map[index.Location]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.suspects
	s.suspects = map[index.Location]bool{}
	for l := range out {
		if at, ok := s.trusted[l]; ok && time.Since(at) < trust {
			delete(out, l)
		}
	}
	return out
}
