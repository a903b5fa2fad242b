package change

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/protocols/pace"
	"github.com/peerdex/peerdex/protocols/wire"
)

// Timeout bounds a push from its first byte to the answer.
const Timeout = 10 * time.Second

const (
	memory     = 1 << 20
	retryAfter = time.Second
)

// acceptRate is how many pushes are taken of one device. Owners send well below: see package node.
func acceptRate() pace.Rate { return pace.Rate{Burst: 200, Second: 100} }

// Pushes that are worked on at a time, in all and of one device. What is above is refused, and pulled.
const (
	maxAtOnce        = 32
	maxAtOnceOfOwner = 16
)

// Push sends a change to a device on a stream that this side opened, and owns s. It returns nil when the other side holds
// the change's head, or a later one. A [wire.Status] says why it does not: [index.ErrProviderBehind] when the replica
// stands below the base; [wire.ErrNoReplica] when there is none, or no changes are wanted; [index.ErrEpochChanged];
// [wire.ErrBusy]. After any error the other side has to find out by itself.
func Push(ctx context.Context, s wire.Stream, c *StateChange, cfg wire.Config) error {
	if err := c.check(); err != nil {
		_ = s.Reset()
		return fmt.Errorf("push %v: %w", c.Head.Location, err)
	}
	svc := wire.Service{Name: "peerdex.change.push", Memory: memory}
	err := wire.Run(ctx, s, svc, cfg, func(_ context.Context, conn *wire.Conn) error {
		conn.Restrict(frameLimit, wire.Plain)
		conn.SetDeadline(time.Now().Add(Timeout))
		c.encode(conn.Encoder())
		if err := conn.Send(wire.CodecZstd); err != nil {
			return err
		}
		return conn.ReceiveOK(Timeout)
	})
	if err != nil {
		return fmt.Errorf("push %v: %w", c.Head.Location, err)
	}
	return nil
}

// Backend takes what owners push. Safe for concurrent use.
type Backend interface {
	// Take takes a change that its owner sent. Form, limits, signature and record are checked; library and membership
	// are not. It returns nil when this device holds the change's head or a later one; errors that have a status are
	// told to the owner.
	Take(ctx context.Context, c *StateChange) error
}

// ServerConfig configures a [Server]. Backend is required.
type ServerConfig struct {
	wire.Config
	Backend Backend
}

// Server receives pushes. Safe for concurrent use.
type Server struct {
	cfg    ServerConfig
	shell  *wire.Shell
	rates  pace.Buckets
	places *wire.Places
}

// NewServer returns a server; set its Handle as the stream handler of [ID].
func NewServer(cfg ServerConfig) *Server {
	s := &Server{cfg: cfg, rates: pace.Buckets{Rate: acceptRate()}, places: wire.NewPlaces(maxAtOnce, maxAtOnceOfOwner)}
	s.shell = wire.NewShell(wire.Service{Name: "peerdex.change", Memory: memory}, cfg.Config, s.serve)
	return s
}

// Handle receives on one stream. The remote peer must be known to be a member.
func (s *Server) Handle(stream network.Stream) { s.shell.Handle(stream) }

// Serve is Handle for any stream, from a peer that the caller authenticated.
func (s *Server) Serve(stream wire.Stream, from peer.ID) { s.shell.Serve(stream, from) }

// Close ends all streams and waits for their handlers.
func (s *Server) Close() error { return s.shell.Close() }

func (s *Server) serve(ctx context.Context, c *wire.Conn, from peer.ID) error {
	c.Restrict(frameLimit, wire.AllCodecs)
	c.SetDeadline(time.Now().Add(Timeout))
	d, err := c.Receive(Timeout, kindChange, changeFields)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("receive change: %w", err)
	}
	// Only now: who is still sending would not hear the answer, and a stream on which nothing comes takes no place.
	if !s.rates.Take(from, time.Now()) || !s.places.Take(from) {
		return wire.Refusal{Err: wire.ErrBusy, RetryAfter: retryAfter}
	}
	defer s.places.Release(from)
	push, err := decode(d)
	if err != nil {
		return fmt.Errorf("receive change: %w", err)
	}
	owner, err := wire.DeviceOf(from)
	if err != nil {
		return fmt.Errorf("receive change: %w: %w", wire.ErrMalformed, err)
	}
	if owner != push.Head.Location.Owner {
		return fmt.Errorf("receive change: %w: of a location that is not the sender's", wire.ErrMalformed)
	}
	if err := push.Head.Verify(); err != nil {
		return fmt.Errorf("receive change: %w: %w", wire.ErrMalformed, err)
	}
	if err := s.cfg.Backend.Take(ctx, push); err != nil {
		return fmt.Errorf("take change of %v: %w", push.Head.Location, err)
	}
	return c.SendStatus(wire.Status{Code: wire.CodeOK})
}
