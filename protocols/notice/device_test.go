package notice

import (
	"context"
	"crypto/ed25519"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	pubsub "github.com/libp2p/go-libp2p-pubsub"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
)

// club says who is a member, for all services of a test.
type club struct {
	mu sync.Mutex
	in map[peer.ID]bool
}

func (c *club) has(p peer.ID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.in[p]
}

func (c *club) set(p peer.ID, in bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.in == nil {
		c.in = map[peer.ID]bool{}
	}
	c.in[p] = in
}

// device is a service on a host of its own.
type device struct {
	t *testing.T
	*Service
	key     ed25519.PrivateKey
	host    host.Host
	traffic wire.Traffic
	heard   chan BulkIndexComplete
	events  chan Event

	mu    sync.Mutex
	heads map[index.Location]index.SignedHead // own
	known map[index.Location]index.SignedHead // heard elsewhere
}

var _ Backend = (*device)(nil)

func (d *device) Head(_ context.Context, l index.Location) (index.SignedHead, bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	h, ok := d.heads[l]
	return h, ok, nil
}

func (d *device) Old(_ context.Context, h index.SignedHead) (bool, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	k, ok := d.known[h.Location]
	return ok && index.Compare(&h.Head, &k.Head) == index.Older, nil
}

func (d *device) Heard(_ context.Context, b BulkIndexComplete) error {
	d.heard <- b
	return nil
}

// commit announces a new head of the device's nth location.
func (d *device) commit(n byte, seq int64) index.SignedHead {
	h := headOf(d.t, d.key, n, seq)
	d.mu.Lock()
	d.heads[h.Location] = h
	d.mu.Unlock()
	d.Announce(h.Location)
	return h
}

// hears waits for the next notice and returns it.
func (d *device) hears() BulkIndexComplete {
	d.t.Helper()
	return receive(d.t, d.heard)
}

// event waits for the next message that arrived.
func (d *device) event() Event {
	d.t.Helper()
	return receive(d.t, d.events)
}

func receive[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(20 * time.Second):
		t.Fatal("nothing came")
		panic("unreachable")
	}
}

func newHost(t *testing.T, key ed25519.PrivateKey) host.Host {
	t.Helper()
	k, err := crypto.UnmarshalEd25519PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	h, err := libp2p.New(libp2p.Identity(k), libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay(), libp2p.DisableMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// connect connects two devices, which then meet.
func (d *device) connect(h host.Host, other *device) {
	d.t.Helper()
	connectOnly(d.t, d.host, h)
	d.Meet(h.ID())
	if other != nil {
		other.Meet(d.host.ID())
	}
}

func connectOnly(t *testing.T, a, b host.Host) {
	t.Helper()
	if err := a.Connect(t.Context(), peer.AddrInfo{ID: b.ID(), Addrs: b.Addrs()}); err != nil {
		t.Fatal(err)
	}
}

// newDevice starts a service. It is a member, and so is whoever the club has.
func newDevice(t *testing.T, name string, c *club) *device {
	t.Helper()
	d := &device{
		t: t, key: testKey(name), heard: make(chan BulkIndexComplete, 1000), events: make(chan Event, 1000),
		heads: map[index.Location]index.SignedHead{}, known: map[index.Location]index.SignedHead{},
	}
	d.host = newHost(t, d.key)
	c.set(d.host.ID(), true)
	d.Service = New(Config{
		Members: c.has, Backend: d, Every: time.Millisecond, Traffic: &d.traffic, Observe: func(e Event) { d.events <- e },
	})
	if err := d.Start(t.Context(), d.host, testLibrary()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, d.Close(), d.Close()); err != nil {
			t.Error(err)
		}
	})
	return d
}

// sees waits until d knows that another device is on its topic.
func (d *device) sees(p peer.ID) {
	d.t.Helper()
	d.waits(p, true)
}

// waits waits until d knows, or doesn't know, that another device is on its topic.
func (d *device) waits(p peer.ID, there bool) {
	d.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		d.Service.mu.Lock()
		peers := d.topic.ListPeers()
		d.Service.mu.Unlock()
		if slices.Contains(peers, p) == there {
			return
		}
		if time.Now().After(deadline) {
			d.t.Fatal("a device never came to the topic, or never left it")
		}
	}
}

// primed sends until what one device sends is passed on to another: a new mesh takes a heartbeat to stand, and nothing is
// passed on before. It returns what came.
func primed[T any](t *testing.T, at <-chan T, send func(n int64)) T {
	t.Helper()
	for n := int64(1); n < 200; n++ {
		send(n)
		select {
		case v := <-at:
			return v
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Fatal("nothing came")
	panic("unreachable")
}

// puppet is a device that speaks gossipsub and sends what it likes.
type puppet struct {
	key   ed25519.PrivateKey
	host  host.Host
	ps    *pubsub.PubSub
	topic *pubsub.Topic
	sub   *pubsub.Subscription
}

func newPuppet(t *testing.T, name, topic string) *puppet {
	t.Helper()
	p := &puppet{key: testKey(name)}
	p.host = newHost(t, p.key)
	var err error
	quiet := slog.New(slog.DiscardHandler)
	p.ps, err = pubsub.NewGossipSub(t.Context(), p.host, pubsub.WithLogger(quiet), pubsub.WithRPCLogger(quiet),
		pubsub.WithGossipSubProtocols([]protocol.ID{ID}, hasFeature), pubsub.WithFloodPublish(true))
	if err != nil {
		t.Fatal(err)
	}
	if p.topic, err = p.ps.Join(topic); err != nil {
		t.Fatal(err)
	}
	if p.sub, err = p.topic.Subscribe(); err != nil {
		t.Fatal(err)
	}
	return p
}

// sees waits until the puppet knows that a device is on its topic.
func (p *puppet) sees(t *testing.T, other peer.ID) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if slices.Contains(p.topic.ListPeers(), other) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the device never came to the topic")
		}
	}
}

func (p *puppet) send(t *testing.T, data []byte) {
	t.Helper()
	if err := p.topic.Publish(t.Context(), data); err != nil {
		t.Fatal(err)
	}
}
