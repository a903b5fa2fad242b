package notice

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
)

// rate is how much of something may happen: so many at once, and then so many a second.
type rate struct {
	burst  float64
	second float64
}

// bucket counts what may happen still. The zero value is full.
type bucket struct {
	spent float64
	at    time.Time
}

// take takes one, or returns how long to wait for it.
func (b *bucket) take(now time.Time, r rate) time.Duration {
	if !b.at.IsZero() {
		b.spent = max(0, b.spent-now.Sub(b.at).Seconds()*r.second)
	}
	b.at = now
	if over := b.spent + 1 - r.burst; over > 0 {
		return time.Duration(over/r.second*float64(time.Second)) + time.Nanosecond
	}
	b.spent++
	return 0
}

// buckets has a bucket for each peer. Only members get one, so their number is bounded. Safe for concurrent use.
type buckets struct {
	rate rate

	mu sync.Mutex
	of map[peer.ID]*bucket
}

func (b *buckets) take(p peer.ID, now time.Time) bool {
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
	return one.take(now, b.rate) == 0
}

// pacer decides when a notice of a location goes out. Safe for concurrent use.
type pacer struct {
	every time.Duration // between two notices of a location
	rate  rate          // of all

	wake chan struct{}
	mu   sync.Mutex
	due  map[index.Location]bool
	last map[index.Location]time.Time
	all  bucket
}

// maxPaced is how many locations are remembered before those are forgotten that may be told of again anyway.
const maxPaced = 1024

func newPacer(every time.Duration, r rate) *pacer {
	return &pacer{
		every: every, rate: r, wake: make(chan struct{}, 1), due: map[index.Location]bool{}, last: map[index.Location]time.Time{},
	}
}

// add makes a location due.
func (p *pacer) add(l index.Location) {
	p.mu.Lock()
	p.due[l] = true
	p.mu.Unlock()
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// next returns a location to tell of now, or how long to wait for one; ok is false if none is due.
func (p *pacer) next(now time.Time) (l index.Location, wait time.Duration, ok bool) {
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

// run tells of locations as they become due, until ctx ends.
func (p *pacer) run(ctx context.Context, tell func(index.Location)) {
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
