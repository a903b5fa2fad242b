package tree

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
	"github.com/peerdex/peerdex/index/proof"
	"github.com/peerdex/peerdex/protocols/wire"
)

// CompareRequest asks a [Source] how some nodes differ from those that a receiver has.
type CompareRequest struct {
	Location index.Location
	Epoch    index.Epoch
	Salt     proof.Salt
	Level    int
	Nodes    []proof.Sketch // as the receiver has them
	MaxRows  int            // no node is to be looked at after so many rows were found
}

// Source has the trees that a [Server] compares with. Safe for concurrent use.
type Source interface {
	// Compare answers in one read transaction, about the first nodes asked for, at least one. It returns
	// [index.ErrEpochChanged] or [ErrNoReplica], which the receiver gets as the same errors; any other error stays here,
	// and the receiver gets [wire.ErrFailed].
	Compare(ctx context.Context, r CompareRequest) (proof.Comparison, error)
}

// ServerConfig configures a [Server]. Zero fields have the defaults said.
type ServerConfig struct {
	wire.Config
	Source     Source
	MaxStreams int // served at a time, 0 = 8; more are refused as busy
	MaxPerPeer int // served at a time to one peer, 0 = 2
}

const (
	serverMemory = 3 << 20
	clientMemory = 6 << 20
	retryAfter   = 5 * time.Second

	// A node of a request is at most 404 bytes.
	requestLimit = 512 << 10
	// nodesAtOnce is how many nodes are compared in one transaction.
	nodesAtOnce = 256
	// rowsAtOnce and those of one more leaf fit a frame at their largest, 1,400 bytes each, if no codec makes them smaller.
	rowsAtOnce = 512
)

// Server answers comparisons. Safe for concurrent use.
type Server struct {
	cfg   ServerConfig
	shell *wire.Shell

	mu     sync.Mutex
	active map[peer.ID]int
	total  int
}

// NewServer returns a server; set its Handle as the stream handler of [ID].
func NewServer(cfg ServerConfig) *Server {
	if cfg.MaxStreams == 0 {
		cfg.MaxStreams = 8
	}
	if cfg.MaxPerPeer == 0 {
		cfg.MaxPerPeer = 2
	}
	s := &Server{cfg: cfg, active: make(map[peer.ID]int)}
	s.shell = wire.NewShell(wire.Service{Name: "peerdex.tree", Memory: serverMemory}, cfg.Config, s.serve)
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
	var last *index.SignedHead // that was sent
	for {
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
		if wait == wire.FirstFrameTimeout { // only now: a stream that asks for nothing takes no place
			if !s.take(from) {
				return wire.Refusal{Err: wire.ErrBusy, RetryAfter: retryAfter}
			}
			defer s.release(from)
		}
		if last, err = s.answer(ctx, c, &req, last); err != nil {
			return err
		}
		wait = wire.IdleTimeout
	}
}

func (s *Server) take(p peer.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.total >= s.cfg.MaxStreams || s.active[p] >= s.cfg.MaxPerPeer {
		return false
	}
	s.total++
	s.active[p]++
	return true
}

func (s *Server) release(p peer.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total--
	if s.active[p]--; s.active[p] == 0 {
		delete(s.active, p)
	}
}

// answer sends answers until all nodes of a request are compared, and returns the head of the last one.
func (s *Server) answer(ctx context.Context, c *wire.Conn, req *request, last *index.SignedHead) (*index.SignedHead, error) {
	for nodes := req.nodes; len(nodes) > 0; {
		cmp, err := s.cfg.Source.Compare(ctx, CompareRequest{
			Location: req.loc, Epoch: req.epoch, Salt: req.salt, Level: req.level,
			Nodes: nodes[:min(nodesAtOnce, len(nodes))], MaxRows: rowsAtOnce,
		})
		if err != nil {
			return last, fmt.Errorf("compare level %d: %w", req.level, err)
		}
		switch { // a source that would make this side serve nonsense
		case cmp.Head.Epoch != req.epoch:
			return last, index.ErrEpochChanged
		case cmp.Head.Location != req.loc || len(cmp.Nodes) == 0 || len(cmp.Nodes) > len(nodes):
			return last, fmt.Errorf("compare level %d: %d nodes of %v", req.level, len(cmp.Nodes), cmp.Head.Location)
		}
		a := answer{Comparison: cmp}
		if last == nil || *last != cmp.Head {
			a.head = &cmp.Head
		}
		if last == nil || last.Record != cmp.Head.Record {
			a.record = cmp.Record
		}
		a.encode(c)
		if err := c.Send(req.codecs.Best()); err != nil {
			return last, err
		}
		last, nodes = &cmp.Head, nodes[len(cmp.Nodes):]
	}
	return last, nil
}
