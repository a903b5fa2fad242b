package query

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
)

// Source has the answers that a [Server] gives. Each is read in one read transaction together with the state it belongs
// to; nil stands for "there is no such entry". The errors are [wire.ErrNoReplica] and [wire.ErrMalformed] (a text that
// can't be read); any other stays here, and the asker gets [wire.ErrFailed]. Safe for concurrent use.
type Source interface {
	// List reads entries of a folder behind the place asked for. It may return more than the limit asked for.
	List(ctx context.Context, r *Request) (State, *Listing, error)
	// Entry reads one entry.
	Entry(ctx context.Context, r *Request) (State, *Found, error)
	// Search finds entries behind the place asked for, in the order asked for.
	Search(ctx context.Context, r *Request) (State, *Hits, error)
	// Totals adds up what lies below a folder.
	Totals(ctx context.Context, r *Request) (State, *Totals, error)
}

// ServerConfig configures a [Server]. Zero fields have the defaults said.
type ServerConfig struct {
	wire.Config
	Source     Source
	MaxStreams int           // answered at a time, 0 = 16; more are refused as busy
	MaxPerPeer int           // answered at a time to one peer, 0 = 4
	Rate       float64       // questions a second from one peer, in the long run, 0 = 50; a search counts as ten
	Burst      float64       // questions at once, 0 = 200
	Time       time.Duration // that an answer may take, 0 = 10 s
}

const (
	serverMemory = 3 << 20
	askMemory    = 6 << 20
	retryAfter   = time.Second
	// A request is its path and its text, and some hundred bytes.
	requestLimit = MaxAskPath + MaxText + 1<<10
	// searchCost is how many questions one counts for whose answer may take reading the whole location.
	searchCost = 10
)

// Server answers questions. Safe for concurrent use.
type Server struct {
	cfg   ServerConfig
	shell *wire.Shell

	mu     sync.Mutex
	total  int
	active map[peer.ID]*account
}

// account is what is known of one peer that asks.
type account struct {
	active int
	tokens float64
	at     time.Time // when tokens was true
}

// NewServer returns a server; set its Handle as the stream handler of [ID].
func NewServer(cfg ServerConfig) *Server {
	if cfg.MaxStreams == 0 {
		cfg.MaxStreams = 16
	}
	if cfg.MaxPerPeer == 0 {
		cfg.MaxPerPeer = 4
	}
	if cfg.Rate == 0 {
		cfg.Rate = 50
	}
	if cfg.Burst == 0 {
		cfg.Burst = 200
	}
	if cfg.Time == 0 {
		cfg.Time = 10 * time.Second
	}
	s := &Server{cfg: cfg, active: map[peer.ID]*account{}}
	s.shell = wire.NewShell(wire.Service{Name: "peerdex.query", Memory: serverMemory}, cfg.Config, s.serve)
	return s
}

// Handle serves one stream. The remote peer must be known to be a member.
func (s *Server) Handle(stream network.Stream) { s.shell.Handle(stream) }

// Serve is Handle for any stream, from a peer that the caller authenticated.
func (s *Server) Serve(stream wire.Stream, from peer.ID) { s.shell.Serve(stream, from) }

// Close ends all streams and waits for their handlers.
func (s *Server) Close() error { return s.shell.Close() }

func (s *Server) serve(ctx context.Context, c *wire.Conn, from peer.ID) error {
	c.Restrict(requestLimit, wire.Plain)
	d, err := c.Receive(wire.FirstFrameTimeout, kindRequest, requestFields)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("receive request: %w", err)
	}
	r, err := decodeRequest(d)
	if err != nil {
		return fmt.Errorf("receive request: %w", err)
	}
	wait, ok := s.take(from, r.Op, time.Now())
	if !ok {
		return wire.Refusal{Err: wire.ErrBusy, RetryAfter: wait}
	}
	defer s.release(from)
	within, cancel := context.WithTimeout(ctx, s.cfg.Time)
	defer cancel()
	m, err := s.answer(within, r)
	if err != nil {
		if within.Err() != nil && ctx.Err() == nil { // it takes too long here: perhaps not elsewhere
			return wire.Refusal{Err: wire.ErrBusy, RetryAfter: retryAfter}
		}
		return err
	}
	m.encode(c)
	return c.Send(r.Codecs.Best())
}

// take takes a place and pays for the question, or says how long to wait.
func (s *Server) take(p peer.ID, op Op, now time.Time) (wait time.Duration, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.active[p]
	if a == nil {
		s.forget(now)
		a = &account{tokens: s.cfg.Burst, at: now}
		s.active[p] = a
	}
	a.refill(&s.cfg, now)
	cost := 1.0
	if op == OpSearch || op == OpTotals {
		cost = searchCost
	}
	if s.total >= s.cfg.MaxStreams || a.active >= s.cfg.MaxPerPeer {
		return retryAfter, false
	}
	if a.tokens < cost {
		seconds := time.Duration((cost-a.tokens)/s.cfg.Rate*float64(time.Second)) + time.Second
		return seconds.Truncate(time.Second), false
	}
	a.tokens -= cost
	a.active++
	s.total++
	return 0, true
}

func (a *account) refill(cfg *ServerConfig, now time.Time) {
	a.tokens = min(a.tokens+now.Sub(a.at).Seconds()*cfg.Rate, cfg.Burst)
	a.at = now
}

// forget drops accounts that are as good as new.
func (s *Server) forget(now time.Time) {
	for p, a := range s.active {
		if a.refill(&s.cfg, now); a.active == 0 && a.tokens >= s.cfg.Burst {
			delete(s.active, p)
		}
	}
}

func (s *Server) release(p peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	s.active[p].active--
}

// answer reads the answer, and compares it with the one that the asker has.
func (s *Server) answer(ctx context.Context, r *Request) (message, error) {
	st, b, err := s.read(ctx, r)
	if err != nil {
		return message{}, fmt.Errorf("answer: %w", err)
	}
	if st.Head.Location != r.Location || index.HashRecord(st.Record) != st.Head.Record {
		return message{}, fmt.Errorf("answer: of %v", st.Head.Location)
	}
	m := message{State: st, outcome: absent}
	if b == nil {
		return m, nil
	}
	e := wire.NewEncoder()
	b.append(e, r.limit())
	if m.outcome, m.body = given, e.Payload(); Digest(m.body) == r.Known {
		m.outcome, m.body = same, nil
	}
	return m, nil
}

// read asks the source. The interface it returns is nil when there is no such entry.
func (s *Server) read(ctx context.Context, r *Request) (st State, b body, err error) {
	src := s.cfg.Source
	switch r.Op {
	case OpList:
		var l *Listing
		if st, l, err = src.List(ctx, r); l != nil {
			b = l
		}
	case OpEntry:
		var f *Found
		if st, f, err = src.Entry(ctx, r); f != nil {
			b = f
		}
	case OpSearch:
		var h *Hits
		if st, h, err = src.Search(ctx, r); h != nil {
			b = h
		}
	case OpTotals:
		var t *Totals
		if st, t, err = src.Totals(ctx, r); t != nil {
			b = t
		}
	}
	return st, b, err
}
