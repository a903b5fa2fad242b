// Package wiretest has what tests of peerdex's protocols need in place of a network: a pair of connected streams
// that behave like libp2p's (buffered, with deadlines, Close that flushes and Reset that doesn't), and that can be
// told to break after a number of bytes. It works inside a testing/synctest bubble.
package wiretest

import (
	"errors"
	"io"
	"os"
	"sync"
	"time"
)

// ErrReset is returned when reading or writing on a stream that either side reset, or that was cut.
var ErrReset = errors.New("stream reset")

// Stream is one end of a [Pipe].
type Stream struct {
	rd, wr *queue
}

// Pipe returns two connected streams, each of which holds up to window bytes that the other did not read yet.
func Pipe(window int) (a, b *Stream) {
	ab, ba := newQueue(window), newQueue(window)
	return &Stream{rd: ba, wr: ab}, &Stream{rd: ab, wr: ba}
}

// CutAfter breaks the connection once n more bytes were written to s: those bytes still arrive, then both
// directions are reset.
func (s *Stream) CutAfter(n int) {
	s.wr.mu.Lock()
	defer s.wr.mu.Unlock()
	s.wr.cut = n
	s.wr.onCut = func() { s.rd.abort(true) }
}

// Read implements [io.Reader].
func (s *Stream) Read(p []byte) (int, error) { return s.rd.read(p) }

// Write implements [io.Writer].
func (s *Stream) Write(p []byte) (int, error) { return s.wr.write(p) }

// Close ends both directions; what was written still arrives.
func (s *Stream) Close() error {
	s.wr.close()
	s.rd.abort(false)
	return nil
}

// CloseWrite ends the direction that this side writes to.
func (s *Stream) CloseWrite() error {
	s.wr.close()
	return nil
}

// Reset ends both directions at once.
func (s *Stream) Reset() error {
	s.wr.abort(false)
	s.rd.abort(false)
	return nil
}

// SetReadDeadline bounds reads that are waiting or to come.
func (s *Stream) SetReadDeadline(t time.Time) error { return s.rd.setDeadline(&s.rd.readBy, t) }

// SetWriteDeadline bounds writes that are waiting or to come.
func (s *Stream) SetWriteDeadline(t time.Time) error { return s.wr.setDeadline(&s.wr.writeBy, t) }

// queue is one direction.
type queue struct {
	mu              sync.Mutex
	changed         chan struct{} // closed and replaced at every change
	buf             []byte
	window          int
	eof             bool // no more will be written
	reset           bool
	flush           bool // reset only after what is in buf was read
	cut             int  // bytes until the connection breaks; negative = never
	onCut           func()
	readBy, writeBy time.Time
}

func newQueue(window int) *queue {
	return &queue{window: window, cut: -1, changed: make(chan struct{})}
}

func (q *queue) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *queue) setDeadline(which *time.Time, t time.Time) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	*which = t
	q.wake()
	return nil
}

func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.eof = true
	q.wake()
}

func (q *queue) abort(flush bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.eof && !q.reset && !flush && len(q.buf) > 0 {
		q.flush = true // closed before: what was written still arrives
	}
	q.reset, q.flush = true, q.flush || flush
	q.wake()
}

func expired(by time.Time) bool { return !by.IsZero() && time.Until(by) <= 0 }

// wait unlocks, waits for a change or for the deadline, and locks again.
func (q *queue) wait(by time.Time) {
	changed := q.changed
	var timeout <-chan time.Time
	if !by.IsZero() {
		t := time.NewTimer(time.Until(by))
		defer t.Stop()
		timeout = t.C
	}
	q.mu.Unlock()
	select {
	case <-changed:
	case <-timeout:
	}
	q.mu.Lock()
}

func (q *queue) read(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		switch {
		case q.reset && (!q.flush || len(q.buf) == 0):
			return 0, ErrReset
		case expired(q.readBy):
			return 0, os.ErrDeadlineExceeded
		case len(q.buf) > 0:
			n := copy(p, q.buf)
			q.buf = q.buf[n:]
			q.wake()
			return n, nil
		case q.eof:
			return 0, io.EOF
		}
		q.wait(q.readBy)
	}
}

func (q *queue) write(p []byte) (int, error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	written := 0
	for len(p) > 0 {
		if q.reset || q.eof {
			return written, ErrReset
		}
		if expired(q.writeBy) {
			return written, os.ErrDeadlineExceeded
		}
		if n := min(len(p), q.window-len(q.buf)); n > 0 {
			if q.cut >= 0 {
				n = min(n, q.cut)
				q.cut -= n
			}
			q.buf = append(q.buf, p[:n]...)
			p, written = p[n:], written+n
			if q.cut == 0 {
				q.reset, q.flush = true, true
				q.onCut()
			}
			q.wake()
			continue
		}
		q.wait(q.writeBy)
	}
	return written, nil
}
