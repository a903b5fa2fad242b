package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/peerdex/peerdex/protocols/wire"
)

// ErrNoReplica is returned when a provider holds no replica of the location; a [Source] returns it too.
var ErrNoReplica = wire.ErrNoReplica

// Snapshot is an open file. Its bytes never change.
type Snapshot interface {
	io.ReaderAt
	io.Closer
	Offer() Offer
}

// Source has the files that a [Server] serves. Safe for concurrent use.
type Source interface {
	// Snapshot opens the file that r names, if it is there and is one of r.Location, and otherwise one of the present
	// state. Making it may take long; ctx ends when the puller is gone. It returns [ErrNoReplica], also if the location
	// belongs to another library, or [wire.ErrBusy] if there is no room for a file now, which the puller gets as the
	// same errors; any other error stays here, and the puller gets [wire.ErrFailed].
	Snapshot(ctx context.Context, r Request) (Snapshot, error)
}

// ServerConfig configures a [Server]. Zero fields have the defaults said.
type ServerConfig struct {
	wire.Config
	Source Source
	Places *wire.Places // shared with other bulk protocols, nil = its own; beyond them, pulls are refused as busy
}

const (
	// partSize is the size of the parts that this side sends. Up to 1 MiB it matters neither for how small a file becomes
	// nor for how long it takes; smaller ones take less memory.
	partSize = 256 << 10
	// depth is the number of parts under way between the goroutines of one side.
	depth = 4

	serverMemory = depth * 4 * partSize
	retryAfter   = 5 * time.Second

	// While a file is made, the puller hears of it so often; after prepareTimeout both sides give up.
	preparingEvery = 10 * time.Second
	prepareTimeout = 15 * time.Minute

	// A puller must take a file at minRate bytes of it per second, after a grace; it goes on later where it was cut off.
	slowGrace = time.Minute
	minRate   = 16 << 10
)

// Server answers pulls. Safe for concurrent use.
type Server struct {
	cfg   ServerConfig
	shell *wire.Shell
	part  int // size of parts
}

// NewServer returns a server; set its Handle as the stream handler of [ID].
func NewServer(cfg ServerConfig) *Server {
	cfg.Config = cfg.WithDefaults()
	if cfg.Places == nil {
		cfg.Places = wire.NewPlaces(0, 0)
	}
	s := &Server{cfg: cfg, part: partSize}
	s.shell = wire.NewShell(wire.Service{Name: "peerdex.snapshot", Memory: serverMemory}, cfg.Config, s.serve)
	return s
}

// Handle serves one stream. The remote peer must be known to be a member.
func (s *Server) Handle(stream network.Stream) { s.shell.Handle(stream) }

// Serve is Handle for any stream, from a peer that the caller authenticated.
func (s *Server) Serve(stream wire.Stream, from peer.ID) { s.shell.Serve(stream, from) }

// Close ends all streams and waits for their handlers.
func (s *Server) Close() error { return s.shell.Close() }

func (s *Server) serve(ctx context.Context, c *wire.Conn, from peer.ID) (err error) {
	c.Restrict(requestLimit, wire.Plain)
	d, err := c.Receive(wire.FirstFrameTimeout, kindRequest, requestFields)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("receive request: %w", err)
	}
	req, codecs, err := decodeRequest(d)
	if err != nil {
		return fmt.Errorf("receive request: %w", err)
	}
	if !s.cfg.Places.Wait(ctx, from) {
		return wire.Refusal{Err: wire.ErrBusy, RetryAfter: retryAfter}
	}
	defer s.cfg.Places.Release(from)
	snap, err := s.prepare(ctx, c, req)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	defer func() { err = errors.Join(err, snap.Close()) }()
	h := header{Offer: snap.Offer(), part: s.part}
	if h.File == req.File && req.Offset <= h.Size {
		h.offset = req.Offset
	}
	h.encode(c.Encoder())
	if err := c.Send(wire.CodecNone); err != nil {
		return err
	}
	return s.send(ctx, c, snap, &h, codecFor(h.Variant, codecs))
}

// codecFor returns the codec of a set that serves a variant best: what goes over fast links is packed fast.
func codecFor(v Variant, set wire.CodecSet) wire.Codec {
	if v == Native && set.Has(wire.CodecS2) {
		return wire.CodecS2
	}
	return set.Best()
}

// prepare opens the snapshot, and tells the puller as long as that takes.
func (s *Server) prepare(ctx context.Context, c *wire.Conn, req Request) (Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, prepareTimeout)
	defer cancel()
	type result struct {
		snap Snapshot
		err  error
	}
	opened := make(chan result, 1)
	go func() {
		var r result
		r.err = s.cfg.Guard(func() (err error) { r.snap, err = s.cfg.Source.Snapshot(ctx, req); return err })()
		opened <- r
	}()
	tick := time.NewTicker(preparingEvery)
	defer tick.Stop()
	for {
		select {
		case r := <-opened:
			return r.snap, r.err
		case <-tick.C:
			c.Begin(kindPreparing, preparingFields)
			if err := c.Send(wire.CodecNone); err != nil {
				cancel()
				if r := <-opened; r.err == nil {
					err = errors.Join(err, r.snap.Close())
				}
				return nil, err
			}
		}
	}
}

// part is one part of a file on its way through the goroutines of one side.
type part struct {
	offset int64
	data   []byte
	frame  wire.Frame
	err    error // receiving: instead of a part, what came after those before it
}

// parts returns a channel that holds all parts that may be under way.
func parts(size int) chan *part {
	free := make(chan *part, depth)
	for range depth {
		free <- &part{data: make([]byte, size)}
	}
	return free
}

// next waits for a part; nil if there are no more.
func next(ctx context.Context, from <-chan *part) (*part, error) {
	select {
	case p := <-from:
		return p, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// send sends the file from h.offset on.
func (s *Server) send(ctx context.Context, c *wire.Conn, snap Snapshot, h *header, codec wire.Codec) error {
	left := h.Size - h.offset
	c.SetDeadline(time.Now().Add(slowGrace + time.Duration(left/minRate)*time.Second))
	free, read, packed := parts(h.part), make(chan *part, depth), make(chan *part, depth)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(s.cfg.Guard(func() error {
		defer close(read)
		return readParts(gctx, snap, h, free, read)
	}))
	g.Go(s.cfg.Guard(func() error {
		defer close(packed)
		return s.packParts(gctx, h.Variant, codec, read, packed)
	}))
	g.Go(s.cfg.Guard(func() error {
		for {
			p, err := next(gctx, packed)
			if p == nil || err != nil {
				return err
			}
			if err := c.SendFrame(&p.frame); err != nil {
				return err
			}
			free <- p // has room for all
		}
	}))
	if err := g.Wait(); err != nil {
		return fmt.Errorf("send %d bytes: %w", left, err)
	}
	encodeEnd(c.Encoder(), h.Size)
	return c.Send(wire.CodecNone)
}

func readParts(ctx context.Context, snap io.ReaderAt, h *header, free, read chan *part) error {
	for at := h.offset; at < h.Size; {
		p, err := next(ctx, free)
		if err != nil {
			return err
		}
		p.offset, p.data = at, p.data[:min(int64(h.part), h.Size-at)]
		if n, err := snap.ReadAt(p.data, at); n < len(p.data) {
			return fmt.Errorf("read at %d: %w", at, err)
		}
		at += int64(len(p.data))
		read <- p
	}
	return nil
}

func (s *Server) packParts(ctx context.Context, v Variant, codec wire.Codec, read, packed chan *part) error {
	e, columns := wire.NewEncoder(), new(columns)
	for {
		p, err := next(ctx, read)
		if p == nil || err != nil {
			return err
		}
		encodePart(e, p.offset, p.data)
		if v == Compact && columns.split(p.data) && columns.size() < len(p.data) {
			encodeColumns(e, p.offset, columns)
		}
		if err := s.cfg.Codecs.Pack(&p.frame, e.Payload(), codec); err != nil {
			return fmt.Errorf("pack: %w", err)
		}
		packed <- p
	}
}
