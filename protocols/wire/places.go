package wire

import (
	"context"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
)

// Limits of the bulk streams that are served at a time, unless said otherwise.
const (
	defaultPlaces        = 8 // in all
	defaultPlacesPerPeer = 2 // to one peer
)

// placeGrace is how long a stream waits for a place. A peer that ends one stream and begins another may be heard of in
// the other order; that is no reason to send it away.
const placeGrace = 500 * time.Millisecond

// Places bounds the bulk streams that are served at a time, in all and to one peer. One for all bulk protocols of a
// node makes them share. Make it with [NewPlaces]; it is safe for concurrent use.
type Places struct {
	all, perPeer int

	mu    sync.Mutex
	taken map[peer.ID]int
	total int
	freed chan struct{} // closed when a place is given back; nil while nobody waits
}

// NewPlaces returns so many places; 0 means 8 in all, and 2 for one peer.
func NewPlaces(all, perPeer int) *Places {
	if all == 0 {
		all = defaultPlaces
	}
	if perPeer == 0 {
		perPeer = defaultPlacesPerPeer
	}
	return &Places{all: all, perPeer: perPeer, taken: make(map[peer.ID]int)}
}

// Take takes a place for a peer, and reports false if none is left. A place that was taken must be given back.
func (l *Places) Take(p peer.ID) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total >= l.all || l.taken[p] >= l.perPeer {
		return false
	}
	l.total++
	l.taken[p]++
	return true
}

// Wait is Take, but waits a moment for a place if none is left.
func (l *Places) Wait(ctx context.Context, p peer.ID) bool {
	if l.Take(p) {
		return true
	}
	grace := time.NewTimer(placeGrace)
	defer grace.Stop()
	for {
		l.mu.Lock()
		if l.freed == nil {
			l.freed = make(chan struct{})
		}
		freed := l.freed
		l.mu.Unlock()
		if l.Take(p) { // given back before we listened
			return true
		}
		select {
		case <-freed:
		case <-grace.C:
			return false
		case <-ctx.Done():
			return false
		}
	}
}

// Release gives a place back.
func (l *Places) Release(p peer.ID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total--
	if l.taken[p]--; l.taken[p] == 0 {
		delete(l.taken, p)
	}
	if l.freed != nil {
		close(l.freed)
		l.freed = nil
	}
}

// Taken is the number of places taken.
func (l *Places) Taken() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.total
}
