package heads

import (
	"context"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
)

// Backend is what this device knows, and learns from others. Safe for concurrent use.
type Backend interface {
	// Records returns all membership records, encoded.
	Records(ctx context.Context) ([][]byte, error)
	// Merge takes the records of a member, if they are not the same as this side's: at most [membership.MaxRecords] of
	// at most [membership.MaxRecordLen] bytes; neither form nor signature is checked yet. An error ends the exchange:
	// one that wraps [wire.ErrDenied] when the records say that the sender no longer is a member.
	Merge(ctx context.Context, from peer.ID, records [][]byte) error
	// Heads returns the heads known, those held first: if they don't all fit, the last are not told.
	Heads(ctx context.Context) ([]Announced, error)
	// Said returns what a member announced last and did not take back, as far as it is remembered; Record may be empty.
	// Whatever is missing, or differs from what it announced, it announces again.
	Said(ctx context.Context, from peer.ID) ([]Announced, error)
	// Heard takes what a member knows that Said didn't have, and what it announced before and no longer has. It is
	// called once an exchange, also when there is nothing of either. Signatures and records are checked.
	Heard(ctx context.Context, from peer.ID, news []Announced, gone []index.Location) error
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
	Records  int   // membership records received; 0 if both sides had the same
	Heads    int   // received
	Sent     int   // heads sent
	Complete bool  // all heads of this side are known to the other one now; false if there are more than fit

	Told    []Announced // the heads of this side that the other one knows now
	Members int         // membership records of this side that it knows now, at the least
}

// service says what one exchange may use before it reserves more for what it keeps.
func service(name string) wire.Service { return wire.Service{Name: name, Memory: 2 << 20} }

// Exchange speaks first on a stream that this side opened to a member, and owns s.
func Exchange(ctx context.Context, s wire.Stream, to peer.ID, cfg Config) (Result, error) {
	x := exchange{cfg: cfg, peer: to}
	err := wire.Run(ctx, s, service("peerdex.heads.exchange"), cfg.Config, func(ctx context.Context, c *wire.Conn) error {
		x.c = c
		return x.steps(ctx, x.load, x.sendHello, x.receiveHello, x.receiveRecords, x.receiveKnown,
			x.sendRecords, x.sendKnown, x.sendHeads, x.receiveEnd, x.receiveHeads)
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
		return x.steps(ctx, x.receiveHello, x.load, x.sendHello, x.sendRecords, x.sendKnown,
			x.receiveRecords, x.receiveKnown, x.receiveHeads, x.sendEnd, x.sendHeads)
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

	records [][]byte // of this side, as its digest has them
	mine    list     // what this side has to tell
	theirs  list     // what the other side told before
	its     greeting

	knows bool        // the other side knows all of mine
	known bool        // this side knows all of the other's
	news  []Announced // what the other side doesn't know of mine
	gone  []int
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

// load reads what this side has to tell. That stays the same for the whole exchange, so that digests and heads agree.
func (x *exchange) load(ctx context.Context) error {
	var err error
	if x.records, err = x.cfg.Backend.Records(ctx); err != nil {
		return fmt.Errorf("read records: %w", err)
	}
	all, err := x.cfg.Backend.Heads(ctx)
	if err != nil {
		return fmt.Errorf("read heads: %w", err)
	}
	x.mine = newList(fitting(all))
	x.res.Complete = len(x.mine.heads) == len(all)
	x.res.Told, x.res.Members = x.mine.heads, len(x.records)
	return nil
}

func (x *exchange) sendHello(context.Context) error {
	g := greeting{Hello: x.cfg.Hello, members: digestRecords(x.records), heads: x.mine.digest()}
	if err := sendGreeting(x.c, g); err != nil {
		return fmt.Errorf("send hello: %w", err)
	}
	return nil
}

func (x *exchange) receiveHello(context.Context) error {
	if x.wait == 0 {
		x.wait = wire.IdleTimeout
	}
	d, err := x.c.Receive(x.wait, kindHello, helloFields)
	if err == nil {
		x.its, err = decodeGreeting(d)
	}
	if err != nil {
		return fmt.Errorf("receive hello: %w", err)
	}
	x.res.Hello = x.its.Hello
	if x.cfg.OnHello != nil {
		x.cfg.OnHello(x.peer, x.its.Hello)
	}
	return nil
}

// sameMembers reports whether both sides have the same records. Both come to the same answer.
func (x *exchange) sameMembers() bool { return x.its.members == digestRecords(x.records) }

func (x *exchange) sendRecords(context.Context) error {
	if x.sameMembers() {
		return nil
	}
	if err := x.c.SendBlobs(kindRecords, x.records); err != nil {
		return fmt.Errorf("send records: %w", err)
	}
	return nil
}

func (x *exchange) receiveRecords(ctx context.Context) error {
	if x.sameMembers() {
		return nil
	}
	records, err := x.c.ReceiveBlobs(kindRecords, recordLimits())
	if err != nil {
		return fmt.Errorf("receive records: %w", err)
	}
	x.res.Records = len(records)
	if err := x.cfg.Backend.Merge(ctx, x.peer, records); err != nil {
		return fmt.Errorf("merge records: %w", err)
	}
	return nil
}

func (x *exchange) sendKnown(ctx context.Context) error {
	said, err := x.cfg.Backend.Said(ctx, x.peer)
	if err != nil {
		return fmt.Errorf("read what the other side said: %w", err)
	}
	x.theirs = newList(said[:min(len(said), MaxHeads)])
	x.known = x.theirs.digest() == x.its.heads
	var tags []byte
	if !x.known {
		tags = x.theirs.tags()
	}
	if err := sendKnown(x.c, x.known, tags); err != nil {
		return fmt.Errorf("send what is known: %w", err)
	}
	return nil
}

func (x *exchange) receiveKnown(context.Context) error {
	d, err := x.c.Receive(wire.IdleTimeout, kindKnown, knownFields)
	if err != nil {
		return fmt.Errorf("receive what is known: %w", err)
	}
	knows, tags, err := decodeKnown(d)
	if err != nil {
		return fmt.Errorf("receive what is known: %w", err)
	}
	if x.knows = knows; !knows {
		x.news, x.gone = x.mine.against(tags)
	}
	return nil
}

func (x *exchange) sendHeads(context.Context) error {
	if x.knows {
		return nil
	}
	if err := sendHeads(x.c, x.news, x.gone); err != nil {
		return fmt.Errorf("send heads: %w", err)
	}
	x.res.Sent = len(x.news)
	return nil
}

// sendEnd tells the client that all went well, if no heads do.
func (x *exchange) sendEnd(context.Context) error {
	if !x.knows {
		return nil
	}
	if err := x.c.SendStatus(wire.Status{Code: wire.CodeOK}); err != nil {
		return fmt.Errorf("send end: %w", err)
	}
	return nil
}

func (x *exchange) receiveEnd(context.Context) error {
	if !x.known {
		return nil
	}
	if err := x.c.ReceiveOK(wire.IdleTimeout); err != nil {
		return fmt.Errorf("receive end: %w", err)
	}
	return nil
}

func (x *exchange) receiveHeads(ctx context.Context) error {
	var news []Announced
	var gone []index.Location
	if !x.known {
		all, places, err := receiveHeads(x.c, len(x.theirs.heads))
		if err != nil {
			return fmt.Errorf("receive heads: %w", err)
		}
		news, gone = all, x.goneOf(all, places)
	}
	x.res.Heads = len(news)
	if err := x.cfg.Backend.Heard(ctx, x.peer, news, gone); err != nil {
		return fmt.Errorf("store heads: %w", err)
	}
	return nil
}

// goneOf returns the locations behind the other side's places of tags, but for those that it tells a new head of.
func (x *exchange) goneOf(news []Announced, places []int) []index.Location {
	told := make(map[index.Location]bool, len(news))
	for i := range news {
		told[news[i].Head.Location] = true
	}
	var gone []index.Location
	for _, at := range places {
		if l := x.theirs.heads[at].Head.Location; !told[l] {
			gone = append(gone, l)
		}
	}
	return gone
}
