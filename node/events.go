package node

import (
	"context"
	"iter"
	"sync"
	"time"

	"github.com/peerdex/peerdex/node/api"
)

// eventBuffer is how many events a slow reader may lag behind before it is told to ask for the state anew.
const eventBuffer = 1024

// events hands events to whoever listens. Emitting never blocks.
type events struct {
	mu   sync.Mutex
	last uint64
	subs map[*subscriber]struct{}
}

type subscriber struct {
	ch   chan Event
	lost bool
}

func newEvents() *events { return &events{subs: map[*subscriber]struct{}{}} }

func (e *events) emit(ev Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.last++
	ev.ID, ev.Time = e.last, time.Now()
	for s := range e.subs {
		send := ev
		if s.lost {
			send = Event{ID: ev.ID, Time: ev.Time, Type: api.EventReset}
		}
		select {
		case s.ch <- send:
			s.lost = false
		default:
			s.lost = true
		}
	}
}

// stream yields events from now on until ctx or the node ends.
func (e *events) stream(ctx, node context.Context) iter.Seq2[Event, error] {
	s := &subscriber{ch: make(chan Event, eventBuffer)}
	e.mu.Lock()
	e.subs[s] = struct{}{}
	e.mu.Unlock()
	stop := context.AfterFunc(ctx, func() { e.drop(s) })
	return func(yield func(Event, error) bool) {
		defer stop()
		defer e.drop(s)
		for {
			select {
			case ev := <-s.ch:
				if !yield(ev, nil) {
					return
				}
			case <-ctx.Done():
				return
			case <-node.Done():
				return
			}
		}
	}
}

func (e *events) drop(s *subscriber) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.subs, s)
}

// throttle lets a progress through at most 10 times a second; the last one always passes.
type throttle struct{ last time.Time }

func (t *throttle) pass(final bool) bool {
	now := time.Now()
	if !final && now.Sub(t.last) < 100*time.Millisecond {
		return false
	}
	t.last = now
	return true
}
