// Package pace keeps what goes out within a rhythm, location by location, and what comes in within a rate, peer by peer.
//
// A [Pacer] decides when a location is told of: at once if it was quiet, and otherwise so that what comes in between is
// told of once. [Buckets] bound how much of something each peer may do.
package pace

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
)

// Rate is how much of something may happen: so many at once, and then so many a second.
type Rate struct {
	Burst  float64
	Second float64
}

// bucket counts what may happen still. The zero value is full.
type bucket struct {
	spent float64
	at    time.Time
}

// take takes one, or returns how long to wait for it.
func (b *bucket) take(now time.Time, r Rate) time.Duration {
	if !b.at.IsZero() {
		b.spent = max(0, b.spent-now.Sub(b.at).Seconds()*r.Second)
	}
	b.at = now
	if over := b.spent + 1 - r.Burst; over > 0 {
		return time.Duration(over/r.Second*float64(time.Second)) + time.Nanosecond
	}
	b.spent++
	return 0
}

// Buckets bound what each peer does. Each has room of its own, so ask for members only: then their number is bounded.
// Safe for concurrent use.
type Buckets struct {
	Rate Rate

	mu sync.Mutex
	of map[peer.ID]*bucket
}

// Take reports whether a peer may do one more now, and counts it if so.
func (b *Buckets) Take(p peer.ID, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.of == nil {
		b.of = map[peer.ID]*bucket{}
	}
	one := b.of[p]
	if one == nil {
		one = new(bucket)
		b.of[p] = one
	}
	return one.take(now, b.Rate) == 0
}

// Pacer decides when a location is told of. Make it with [NewPacer]; it is safe for concurrent use.
type Pacer struct {
	every time.Duration // between two of a location
	rate  Rate          // of all

	wake chan struct{}
	mu   sync.Mutex
	due  map[index.Location]bool
	last map[index.Location]time.Time
	all  bucket
}

// maxPaced is how many locations are remembered before those are forgotten that may be told of again anyway.
const maxPaced = 1024

// NewPacer returns a pacer that tells of each location once in every at most, and of all together at a rate.
func NewPacer(every time.Duration, r Rate) *Pacer {
	return &Pacer{
		every: every, rate: r, wake: make(chan struct{}, 1), due: map[index.Location]bool{}, last: map[index.Location]time.Time{},
	}
}

// Add makes a location due. It never blocks.
func (p *Pacer) Add(l index.Location) {
	p.mu.Lock()
	p.due[l] = true
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// Due reports whether a location waits to be told of.
func (p *Pacer) Due(l index.Location) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.due[l]
}

// next returns a location to tell of now, or how long to wait for one; ok is false if none is due.
func (p *Pacer) next(now time.Time) (l index.Location, wait time.Duration, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for d := range p.due {
		w := max(0, p.last[d].Add(p.every).Sub(now))
		if !ok || w < wait {
			l, wait, ok = d, w, true
		}
	}
	if !ok || wait > 0 {
		return l, wait, ok
	}
	if wait = p.all.take(now, p.rate); wait > 0 {
		return l, wait, true
	}
	delete(p.due, l)
	if len(p.last) >= maxPaced {
		for d, at := range p.last {
			if now.Sub(at) >= p.every {
				delete(p.last, d)
			}
		}
	}
	p.last[l] = now
	return l, 0, true
}

// Run tells of locations as they become due, one after the other, until ctx ends.
func (p *Pacer) Run(ctx context.Context, tell func(index.Location)) {
	for ctx.Err() == nil {
		l, wait, ok := p.next(time.Now())
		if ok && wait == 0 {
			tell(l)
			continue
		}
		var timer <-chan time.Time
		if ok {
			timer = time.After(wait)
		}
		select {
		case <-ctx.Done():
		case <-p.wake:
		case <-timer:
		}
	}
}
