package wire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
)

// Service names a protocol's part of the resource manager and says how much memory one of its streams may use.
type Service struct {
	Name   string // such as "peerdex.batch"
	Memory int    // bytes, reserved while a stream is open
}

// Run calls fn with a Conn on s, and owns s until it returns: it reserves the service's memory if s has a resource
// scope, resets s when ctx ends, turns a panic into an error, closes s if fn returns nil and resets it if not. An
// error because ctx ended wraps the cause of that.
func Run(ctx context.Context, s Stream, svc Service, cfg Config, fn func(context.Context, *Conn) error) (err error) {
	cfg = cfg.WithDefaults()
	c := NewConn(s, cfg)
	c.ended = ctx.Done()
	defer c.memory.release()
	if err := c.memory.open(s, svc); err != nil {
		_ = s.Reset()
		return fmt.Errorf("reserve memory: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = s.Reset() })
	defer func() {
		if !stop() && err != nil {
			err = fmt.Errorf("%w: %w", context.Cause(ctx), err)
		}
		if err != nil {
			_ = s.Reset() // the error that led here says more
			return
		}
		_ = s.Close() // all frames were written; what is lost now, the other side notices
	}()
	return guard(cfg.Log, func() error { return fn(ctx, c) })
}

// memory is what a stream took from libp2p's resource manager. Its zero value, for streams without one, gives
// whatever is asked.
type memory struct {
	scope network.StreamScope
	taken int
}

func (m *memory) open(s Stream, svc Service) error {
	scoped, ok := s.(interface{ Scope() network.StreamScope })
	if !ok {
		return nil
	}
	if err := scoped.Scope().SetService(svc.Name); err != nil {
		return fmt.Errorf("service %s: %w", svc.Name, err)
	}
	m.scope = scoped.Scope()
	return m.take(svc.Memory)
}

func (m *memory) take(n int) error {
	if m.scope == nil {
		return nil
	}
	if err := m.scope.ReserveMemory(n, network.ReservationPriorityAlways); err != nil {
		return fmt.Errorf("%d bytes: %w", n, err)
	}
	m.taken += n
	return nil
}

func (m *memory) release() {
	if m.scope != nil {
		m.scope.ReleaseMemory(m.taken)
	}
}

// errPanic is what a panic of a handler turns into.
var errPanic = errors.New("panic")

// Guard returns fn with panics turned into errors, for goroutines that work for a stream.
func (c Config) Guard(fn func() error) func() error {
	c = c.WithDefaults()
	return func() error { return guard(c.Log, fn) }
}

func guard(log *slog.Logger, fn func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			log.Error("handler panicked", "panic", r, "stack", string(debug.Stack()))
			err = fmt.Errorf("%w: %v", errPanic, r)
		}
	}()
	return fn()
}

// Event says how one handled stream went.
type Event struct {
	Service  string
	Peer     peer.ID
	BytesIn  int64
	BytesOut int64
	Elapsed  time.Duration
	Err      error // nil = done; what was told to the peer is StatusOf(Err)
}

// Handler is the core of a protocol on the answering side. An error that [StatusOf] puts in the family "refused" or
// "failed" is told to the peer as a status; after a malformed message, or when the stream broke, it is just reset.
type Handler func(ctx context.Context, c *Conn, from peer.ID) error

// Shell runs the handler of one protocol on every stream that it is given, each with a context of its own, which
// ends when the shell is closed. Safe for concurrent use.
type Shell struct {
	svc     Service
	cfg     Config
	handler Handler

	mu     sync.Mutex
	closed bool
	open   map[*context.CancelFunc]struct{}
	wg     sync.WaitGroup
}

// NewShell returns a shell around handler.
func NewShell(svc Service, cfg Config, handler Handler) *Shell {
	return &Shell{svc: svc, cfg: cfg.WithDefaults(), handler: handler, open: make(map[*context.CancelFunc]struct{})}
}

// Handle handles one stream, and returns when it ended. It has the form that host.SetStreamHandler wants.
func (sh *Shell) Handle(s network.Stream) { sh.Serve(s, s.Conn().RemotePeer()) }

// Serve is Handle for any stream, from a peer that the caller authenticated.
func (sh *Shell) Serve(s Stream, from peer.ID) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	sh.mu.Lock()
	if sh.closed {
		sh.mu.Unlock()
		_ = s.Reset()
		return
	}
	sh.open[&cancel] = struct{}{}
	sh.wg.Add(1)
	sh.mu.Unlock()
	defer func() {
		sh.mu.Lock()
		delete(sh.open, &cancel)
		sh.mu.Unlock()
		sh.wg.Done()
	}()
	sh.cfg.Observe(sh.serve(ctx, s, from))
}

func (sh *Shell) serve(ctx context.Context, s Stream, from peer.ID) Event {
	ev := Event{Service: sh.svc.Name, Peer: from}
	start := time.Now()
	var told error // refused, and the peer knows
	err := Run(ctx, s, sh.svc, sh.cfg, func(ctx context.Context, c *Conn) error {
		defer func() { ev.BytesIn, ev.BytesOut = c.BytesIn(), c.BytesOut() }()
		err := guard(sh.cfg.Log, func() error { return sh.handler(ctx, c, from) })
		if st := StatusOf(err); err != nil && tellable(err, st) && c.SendStatus(st) == nil {
			told = err
			return nil
		}
		return err
	})
	ev.Err = errors.Join(told, err)
	ev.Elapsed = time.Since(start)
	if ev.Err != nil {
		sh.cfg.Log.Debug("stream ended", "service", sh.svc.Name, "peer", from, "error", ev.Err)
	}
	return ev
}

// tellable reports whether a peer is worth an answer: it sent something that can be read, and the stream works.
func tellable(err error, st Status) bool {
	if _, relayed := errors.AsType[Status](err); relayed {
		return false
	}
	switch st.Code / 100 {
	case 2:
		return true
	case 3:
		var timeout interface{ Timeout() bool }
		return !errors.As(err, &timeout) && !errors.Is(err, network.ErrReset) && !errors.Is(err, context.Canceled)
	}
	return st.Code == CodeVersion
}

// Close refuses further streams, resets those that are open, and waits for their handlers.
func (sh *Shell) Close() error {
	sh.mu.Lock()
	sh.closed = true
	for cancel := range sh.open {
		(*cancel)()
	}
	sh.mu.Unlock()
	sh.wg.Wait()
	return nil
}
