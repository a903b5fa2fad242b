package heads

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/protocols/wire"
)

// Backend is what this device knows, and learns from others. Safe for concurrent use.
type Backend interface {
	// Records returns all membership records, encoded.
	Records(ctx context.Context) ([][]byte, error)
	// Merge takes the records of a member, at most [membership.MaxRecords] of at most [membership.MaxRecordLen] bytes;
	// neither form nor signature is checked yet. An error ends the exchange: one that wraps [wire.ErrDenied] when the
	// records say that the sender no longer is a member.
	Merge(ctx context.Context, from peer.ID, records [][]byte) error
	// Heads returns the heads known, those held first: if they don't all fit, the last are not sent.
	Heads(ctx context.Context) ([]Announced, error)
	// Heard takes all heads that a member knows, once an exchange. What it announced before and doesn't now, it
	// no longer has. Signatures and records are checked.
	Heard(ctx context.Context, from peer.ID, heads []Announced) error
}

// Config configures both sides. Zero fields have the defaults said.
type Config struct {
	wire.Config
	Backend Backend
	Hello   Hello                         // of this device
	OnHello func(from peer.ID, its Hello) // told what the other side says of itself; nil = not told
}

// Result is what an exchange was about.
type Result struct {
	Hello    Hello // of the other side
	Records  int   // membership records received
	Heads    int   // received
	Sent     int   // heads sent
	Complete bool  // all heads of this side were sent; false if there are more than fit
}

// service says what one exchange may use before it reserves more for what it keeps.
func service(name string) wire.Service { return wire.Service{Name: name, Memory: 2 << 20} }

// Exchange speaks first on a stream that this side opened to a member, and owns s.
func Exchange(ctx context.Context, s wire.Stream, to peer.ID, cfg Config) (Result, error) {
	x := exchange{cfg: cfg, peer: to}
	err := wire.Run(ctx, s, service("peerdex.heads.exchange"), cfg.Config, func(ctx context.Context, c *wire.Conn) error {
		x.c = c
		return x.steps(ctx, x.sendRecords, x.receiveRecords, x.sendHeads, x.receiveHeads)
	})
	if err != nil {
		return x.res, fmt.Errorf("exchange heads with %v: %w", to, err)
	}
	return x.res, nil
}

// Server answers exchanges. Safe for concurrent use.
type Server struct {
	shell *wire.Shell
}

// NewServer returns a server; set its Handle as the stream handler of [ID].
func NewServer(cfg Config) *Server {
	return &Server{shell: wire.NewShell(service("peerdex.heads"), cfg.Config, func(ctx context.Context, c *wire.Conn, from peer.ID) error {
		x := exchange{c: c, cfg: cfg, peer: from, wait: wire.FirstFrameTimeout}
		return x.steps(ctx, x.receiveRecords, x.sendRecords, x.receiveHeads, x.sendHeads)
	})}
}

// Handle answers one stream. The remote peer must be known to be a member.
func (s *Server) Handle(stream network.Stream) { s.shell.Handle(stream) }

// Serve is Handle for any stream, from a peer that the caller authenticated.
func (s *Server) Serve(stream wire.Stream, from peer.ID) { s.shell.Serve(stream, from) }

// Close ends all streams and waits for their handlers.
func (s *Server) Close() error { return s.shell.Close() }

// exchange is one side of an exchange.
type exchange struct {
	c    *wire.Conn
	cfg  Config
	peer peer.ID
	wait time.Duration // for the other side's hello; 0 = [wire.IdleTimeout]
	res  Result
}

func (x *exchange) steps(ctx context.Context, steps ...func(context.Context) error) error {
	x.c.Restrict(frameLimit, wire.AllCodecs)
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (x *exchange) sendRecords(ctx context.Context) error {
	records, err := x.cfg.Backend.Records(ctx)
	if err != nil {
		return fmt.Errorf("read records: %w", err)
	}
	if err := sendHello(x.c, x.cfg.Hello); err != nil {
		return fmt.Errorf("send hello: %w", err)
	}
	if err := x.c.SendBlobs(kindRecords, records); err != nil {
		return fmt.Errorf("send records: %w", err)
	}
	return nil
}

func (x *exchange) receiveRecords(ctx context.Context) error {
	if x.wait == 0 {
		x.wait = wire.IdleTimeout
	}
	d, err := x.c.Receive(x.wait, kindHello, helloFields)
	if err != nil {
		return fmt.Errorf("receive hello: %w", err)
	}
	if x.res.Hello, err = decodeHello(d); err != nil {
		return fmt.Errorf("receive hello: %w", err)
	}
	records, err := x.c.ReceiveBlobs(kindRecords, recordLimits())
	if err != nil {
		return fmt.Errorf("receive records: %w", err)
	}
	x.res.Records = len(records)
	if x.cfg.OnHello != nil {
		x.cfg.OnHello(x.peer, x.res.Hello)
	}
	if err := x.cfg.Backend.Merge(ctx, x.peer, records); err != nil {
		return fmt.Errorf("merge records: %w", err)
	}
	return nil
}

func (x *exchange) sendHeads(ctx context.Context) error {
	all, err := x.cfg.Backend.Heads(ctx)
	if err != nil {
		return fmt.Errorf("read heads: %w", err)
	}
	n, err := sendHeads(x.c, all)
	if err != nil {
		return fmt.Errorf("send heads: %w", err)
	}
	x.res.Sent, x.res.Complete = n, n == len(all)
	return nil
}

func (x *exchange) receiveHeads(ctx context.Context) error {
	all, err := receiveHeads(x.c)
	if err != nil {
		return fmt.Errorf("receive heads: %w", err)
	}
	x.res.Heads = len(all)
	if err := x.cfg.Backend.Heard(ctx, x.peer, all); err != nil {
		return fmt.Errorf("store heads: %w", err)
	}
	return nil
}
