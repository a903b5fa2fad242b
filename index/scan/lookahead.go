package scan

import (
	"sync"
	"sync/atomic"
)

// lookaheadBytes bounds the listings that wait for the iterating goroutine; a single folder may exceed it.
const lookaheadBytes = 4 << 20

// lookahead is the queue of folders to walk. Workers list them in its order, up to a bound ahead of take.
type lookahead struct {
	fs   fsys
	dev  uint64
	own  lister // of the iterating goroutine
	stop atomic.Bool
	wg   sync.WaitGroup

	mu    sync.Mutex
	ready sync.Cond // the first folder is listed, or all is over
	work  sync.Cond // there's something to list, or all is over
	queue []*node
	first int // of queue: the next to take
	next  int // of queue: the next to list
	held  int // cost of the listings that wait
	idle  int // workers that wait
}

func newLookahead(fs fsys, dev uint64) *lookahead {
	q := &lookahead{fs: fs, dev: dev}
	q.ready.L, q.work.L = &q.mu, &q.mu
	q.own = lister{fs: fs, dev: dev, stop: &q.stop}
	return q
}

// start starts n workers; close ends them.
func (q *lookahead) start(n int) {
	for range n {
		q.wg.Go(q.worker)
	}
}

// halt makes workers and take give up soon, and doesn't wait.
func (q *lookahead) halt() {
	q.mu.Lock()
	q.stop.Store(true)
	q.mu.Unlock()
	q.ready.Broadcast()
	q.work.Broadcast()
}

func (q *lookahead) close() {
	q.halt()
	q.wg.Wait()
}

// push appends folders to the queue.
func (q *lookahead) push(nodes []*node) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.first > 1024 && q.first > len(q.queue)/2 {
		n := copy(q.queue, q.queue[q.first:])
		clear(q.queue[n:])
		q.queue = q.queue[:n]
		q.next -= q.first
		q.first = 0
	}
	q.queue = append(q.queue, nodes...)
	q.wake()
}

// take returns the next folder with its listing, or nil at the end or after halt. While that folder isn't listed yet,
// take lists whatever is next.
func (q *lookahead) take() *node {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.stop.Load() && q.first < len(q.queue) {
		if n := q.queue[q.first]; n.listing != nil {
			q.queue[q.first] = nil
			q.first++
			q.held -= n.listing.cost()
			q.wake()
			return n
		}
		if !q.listNext(&q.own) {
			q.ready.Wait()
		}
	}
	return nil
}

func (q *lookahead) worker() {
	w := lister{fs: q.fs, dev: q.dev, stop: &q.stop}
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.stop.Load() {
		if !q.listNext(&w) {
			q.idle++
			q.work.Wait()
			q.idle--
		}
	}
}

// listNext lists the next folder, with the lock released meanwhile. It reports false if there's none or enough wait.
func (q *lookahead) listNext(w *lister) bool {
	if q.next >= len(q.queue) || q.held >= lookaheadBytes {
		return false
	}
	n := q.queue[q.next]
	q.next++
	q.mu.Unlock()
	l := w.list(n)
	q.mu.Lock()
	n.listing = l
	q.held += l.cost()
	if q.first < len(q.queue) && q.queue[q.first] == n {
		q.ready.Signal()
	}
	return true
}

// wake wakes workers for what the iterating goroutine won't list itself, but only once half of the bound is used up,
// so that they don't wake for each folder.
func (q *lookahead) wake() {
	if q.held < lookaheadBytes/2 {
		for range min(q.idle, len(q.queue)-q.next-1) {
			q.work.Signal()
		}
	}
}
