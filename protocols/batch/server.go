package batch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
)

// PageRequest asks a [Source] for one page.
type PageRequest struct {
	Location index.Location
	Epoch    index.Epoch
	Mode     index.Mode
	Position int64 // the highest id (full) or seq (delta) that the receiver has
	Limit    int   // rows and dead runs together, at least 1
	Count    bool  // LeftRows and LeftDead are wanted, exactly
}

// Source has the pages that a [Server] serves. Safe for concurrent use.
type Source interface {
	// Page reads one page and the head it belongs to, in one read transaction. A page that is not exhausted holds at
	// least one row or dead run, and moves the position. It returns [index.ErrEpochChanged],
	// [index.ErrProviderBehind], [index.ErrBelowHorizon] or [ErrNoReplica], which the puller gets as the same errors;
	// any other error stays here, and the puller gets [wire.ErrFailed].
	Page(ctx context.Context, r PageRequest) (index.Page, error)
}

// ServerConfig configures a [Server]. Zero fields have the defaults said.
type ServerConfig struct {
	wire.Config
	Source Source
	Places *wire.Places // shared with other bulk protocols, nil = its own; beyond them, pulls are refused as busy
}

const (
	serverMemory = 3 << 20
	pullMemory   = 6 << 20
	retryAfter   = 5 * time.Second
	// A request is under 200 bytes.
	requestLimit = 1 << 10
)

// Server answers pulls. Safe for concurrent use.
type Server struct {
	cfg   ServerConfig
	shell *wire.Shell
}

// NewServer returns a server; set its Handle as the stream handler of [ID].
func NewServer(cfg ServerConfig) *Server {
	if cfg.Places == nil {
		cfg.Places = wire.NewPlaces(0, 0)
	}
	s := &Server{cfg: cfg}
	s.shell = wire.NewShell(wire.Service{Name: "peerdex.batch", Memory: serverMemory}, cfg.Config, s.serve)
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
	wait := wire.FirstFrameTimeout
	for served := false; ; served = true {
		d, err := c.Receive(wait, kindRequest, requestFields)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("receive request: %w", err)
		}
		req, err := decodeRequest(d)
		if err != nil {
			return fmt.Errorf("receive request: %w", err)
		}
		if !served { // only now: a stream that asks for nothing takes no place
			if !s.cfg.Places.Wait(ctx, from) {
				return wire.Refusal{Err: wire.ErrBusy, RetryAfter: retryAfter}
			}
			defer s.cfg.Places.Release(from)
		}
		if err := s.answer(ctx, c, &req); err != nil {
			return err
		}
		wait = wire.IdleTimeout
	}
}

// answer sends frames until nothing is left above the position asked for.
func (s *Server) answer(ctx context.Context, c *wire.Conn, req *request) error {
	wanted := req.batch
	if wanted == 0 {
		wanted = DefaultBatchSize
	}
	a := answer{c: c, codec: req.codecs.Best(), mode: req.mode, limit: wanted}
	for pos, first := req.position, true; ; first = false {
		p, err := s.cfg.Source.Page(ctx, PageRequest{
			Location: req.loc, Epoch: req.epoch, Mode: req.mode, Position: pos, Limit: a.limit, Count: first,
		})
		if err != nil {
			return fmt.Errorf("page from %d: %w", pos, err)
		}
		if err := checkSource(&p, req, pos, first); err != nil {
			return err
		}
		if first {
			a.begin(&p)
		} else {
			p.LeftRows, p.LeftDead = -1, -1
		}
		size, err := a.send(&p)
		if err != nil {
			return err
		}
		if p.Exhausted {
			return nil
		}
		pos = p.UpTo
		// Rows come in stretches of like size: what fits next is what fitted now.
		if n := len(p.Rows) + len(p.Dead); size > 0 {
			a.limit = min(max(maxBody*n/size, 1), wanted)
		}
	}
}

// checkSource finds a source that would make this side serve nonsense, or for ever.
func checkSource(p *index.Page, req *request, pos int64, first bool) error {
	switch {
	case p.Head.Epoch != req.epoch:
		return index.ErrEpochChanged
	case p.Head.Location != req.loc:
		return fmt.Errorf("page from %d: of %v", pos, p.Head.Location)
	case !p.Exhausted && (p.UpTo <= pos || len(p.Rows)+len(p.Dead) == 0):
		return fmt.Errorf("page from %d: stands still", pos)
	case first && (p.LeftRows < 0 || p.LeftDead < 0):
		return fmt.Errorf("page from %d: not counted", pos)
	}
	return nil
}

// maxBody bounds a payload, so that it fits a frame even if no codec makes it smaller.
const maxBody = wire.MaxFrame - 1

// answer is the state of one answer.
type answer struct {
	c     *wire.Conn
	codec wire.Codec
	mode  index.Mode
	limit int // rows and dead runs of the next page

	index, done, total int64
	dead               bool              // dead ids are among total: how many runs they are is not known
	head               *index.SignedHead // sent last
}

func (a *answer) begin(p *index.Page) {
	a.total = p.LeftRows + p.LeftDead
	a.dead = p.LeftDead > 0
}

// send sends p in one frame, or in halves if it is too large for one, and returns the sum of the payloads.
func (a *answer) send(p *index.Page) (int, error) {
	f := frame{index: a.index, page: *p, done: a.done + int64(len(p.Rows))}
	for _, r := range p.Dead {
		f.done += r.Len()
	}
	if f.total = a.total; f.total > 0 {
		f.total = max(f.total, f.done) // the owner may have written since the count
	}
	if f.total > 0 && !a.dead {
		f.batches = f.index + 1 + (f.total-f.done+int64(a.limit)-1)/int64(a.limit)
	}
	if a.head == nil || *a.head != p.Head {
		f.head = &p.Head
	}
	if a.head == nil || a.head.Record != p.Head.Record {
		f.record = p.Record
	}
	size := f.encode(a.c).Len()
	if size > maxBody || len(p.Rows) > wire.MaxRows || len(p.Dead) > wire.MaxRows {
		lower, upper, ok := split(p, a.mode)
		if !ok {
			return 0, fmt.Errorf("row of %d bytes", size)
		}
		n, err := a.send(lower)
		if err != nil {
			return n, err
		}
		m, err := a.send(upper)
		return n + m, err
	}
	if err := a.c.Send(a.codec); err != nil {
		return 0, err
	}
	a.index, a.done, a.head = a.index+1, f.done, &p.Head
	return size, nil
}

// split cuts a page in two by position. It reports false if there is nothing to cut.
func split(p *index.Page, mode index.Mode) (lower, upper *index.Page, ok bool) {
	n := len(p.Rows) + len(p.Dead)
	if n < 2 {
		return nil, nil, false
	}
	lo, hi := *p, *p
	rows, dead := 0, 0
	for rows+dead < n/2 {
		if dead == len(p.Dead) || rows < len(p.Rows) && p.Rows[rows].Seq < p.Dead[dead].Seq {
			lo.UpTo = p.Rows[rows].Seq
			if mode == index.ModeFull { // which has no dead runs
				lo.UpTo = p.Rows[rows].ID
			}
			rows++
		} else {
			lo.UpTo = p.Dead[dead].Seq
			dead++
		}
	}
	lo.Rows, hi.Rows = p.Rows[:rows], p.Rows[rows:]
	lo.Dead, hi.Dead = p.Dead[:dead], p.Dead[dead:]
	lo.Exhausted = false
	hi.LeftRows, hi.LeftDead = -1, -1
	return &lo, &hi, true
}
