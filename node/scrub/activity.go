package scrub

import (
	"context"
	"sync"
	"time"
)

// Activity knows whether something goes on, and when the last of it ended. The zero value knows of nothing. Safe for
// concurrent use.
type Activity struct {
	mu      sync.Mutex
	running int
	last    time.Time
	ended   chan struct{} // closed when running falls to 0
}

// Begin says that something begins. It ends with the first call of end.
func (a *Activity) Begin() (end func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.running++; a.running == 1 {
		a.ended = make(chan struct{})
	}
	return sync.OnceFunc(func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.last = time.Now()
		if a.running--; a.running == 0 {
			close(a.ended)
		}
	})
}

// Touch says that something short goes on at this moment.
func (a *Activity) Touch() { a.Begin()() }

// Wait returns when nothing has been going on for so long, or with ctx's error.
func (a *Activity) Wait(ctx context.Context, quiet time.Duration) error {
	for {
		a.mu.Lock()
		running, ended, left := a.running > 0, a.ended, quiet-time.Since(a.last)
		a.mu.Unlock()
		switch {
		case running:
			select {
			case <-ended:
			case <-ctx.Done():
			}
		case left > 0:
			sleep(ctx, left)
		default:
			return ctx.Err()
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}
