package wire_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	rcmgr "github.com/libp2p/go-libp2p/p2p/host/resource-manager"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

// serve runs handler in a shell on one stream, and returns the other end and the event to come.
func serve(t *testing.T, handler wire.Handler) (*wire.Conn, *wiretest.Stream, <-chan wire.Event) {
	t.Helper()
	a, b := wiretest.Pipe(window)
	events := make(chan wire.Event, 1)
	sh := wire.NewShell(wire.Service{Name: "peerdex.test"}, wire.Config{Observe: func(e wire.Event) { events <- e }}, handler)
	go sh.Serve(a, "peer")
	t.Cleanup(func() { _ = sh.Close() })
	return wire.NewConn(b, wire.Config{}), b, events
}

func TestShellTellsRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want error // what the peer sees; nil = a reset
	}{
		"refused":   {wire.Refusal{Err: wire.ErrBusy, RetryAfter: time.Minute}, wire.ErrBusy},
		"epoch":     {fmt.Errorf("page: %w", index.ErrEpochChanged), index.ErrEpochChanged},
		"failed":    {errors.New("our trouble"), wire.ErrFailed},
		"version":   {wire.ErrVersion, wire.ErrVersion},
		"malformed": {fmt.Errorf("%w: byte 7", wire.ErrMalformed), nil},
		"reset":     {network.ErrReset, nil},
		"relayed":   {wire.Status{Code: wire.CodeBusy}, nil},
	} {
		conn, stream, events := serve(t, func(context.Context, *wire.Conn, peer.ID) error { return c.err })
		_, err := conn.Receive(time.Minute, 1, 1)
		if c.want == nil && !errors.Is(err, wiretest.ErrReset) {
			t.Errorf("%s: peer saw %v, want a reset", name, err)
		}
		if c.want != nil && !errors.Is(err, c.want) {
			t.Errorf("%s: peer saw %v, want %v", name, err, c.want)
		}
		if ev := <-events; !errors.Is(ev.Err, c.err) || ev.Peer != "peer" || ev.Service != "peerdex.test" {
			t.Errorf("%s: event %+v", name, ev)
		}
		_ = stream.Reset()
	}
}

func TestShellPanicIsTold(t *testing.T) {
	t.Parallel()
	conn, _, events := serve(t, func(context.Context, *wire.Conn, peer.ID) error { panic("boom") })
	if _, err := conn.Receive(time.Minute, 1, 1); !errors.Is(err, wire.ErrFailed) {
		t.Errorf("peer saw %v", err)
	}
	if ev := <-events; ev.Err == nil {
		t.Error("the event has no error")
	}
}

func TestShellClose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, b := wiretest.Pipe(window)
		ended := false
		sh := wire.NewShell(wire.Service{}, wire.Config{}, func(ctx context.Context, c *wire.Conn, _ peer.ID) error {
			_, err := c.Receive(wire.IdleTimeout, 1, 1)
			<-ctx.Done()
			time.Sleep(time.Second)
			ended = true
			return err
		})
		go sh.Serve(a, "peer")
		synctest.Wait()
		for range 2 { // a second Close does no harm
			if err := sh.Close(); err != nil || !ended {
				t.Errorf("closed with %v before the handler ended", err)
			}
		}
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, wiretest.ErrReset) {
			t.Errorf("the peer saw %v", err)
		}
		c, d := wiretest.Pipe(window)
		sh.Serve(c, "peer")
		if _, err := d.Read(make([]byte, 1)); !errors.Is(err, wiretest.ErrReset) {
			t.Errorf("a stream after Close saw %v", err)
		}
	})
}

// newHost is a real libp2p host that nobody but this machine reaches.
func newHost(t *testing.T, opts ...libp2p.Option) host.Host {
	t.Helper()
	h, err := libp2p.New(append([]libp2p.Option{libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay()}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

func TestShellOnLibp2p(t *testing.T) {
	t.Parallel()
	server, client := newHost(t), newHost(t)
	cfg := wire.Config{Traffic: new(wire.Traffic)}
	svc := wire.Service{Name: "peerdex.test", Memory: 1 << 20}
	sh := wire.NewShell(svc, cfg, func(_ context.Context, c *wire.Conn, from peer.ID) error {
		if from != client.ID() {
			return wire.ErrDenied
		}
		d, err := c.Receive(wire.FirstFrameTimeout, 1, 1)
		if err != nil {
			return err
		}
		n := d.Int(0, 9)
		if err := d.Close(); err != nil {
			return err
		}
		if n > 1 {
			return wire.Refusal{Err: wire.ErrBusy, RetryAfter: 7 * time.Second}
		}
		return c.SendStatus(wire.Status{Code: wire.CodeOK})
	})
	server.SetStreamHandler("/peerdex/test/1", sh.Handle)
	t.Cleanup(func() { _ = sh.Close() })
	if err := client.Connect(t.Context(), peer.AddrInfo{ID: server.ID(), Addrs: server.Addrs()}); err != nil {
		t.Fatal(err)
	}
	ask := func(n int64) error {
		s, err := client.NewStream(t.Context(), server.ID(), "/peerdex/test/1")
		if err != nil {
			return err
		}
		return wire.Run(t.Context(), s, svc, wire.Config{}, func(_ context.Context, c *wire.Conn) error {
			c.Begin(1, 1).Int(n)
			if err := c.Send(wire.CodecNone); err != nil {
				return err
			}
			return c.ReceiveOK(wire.IdleTimeout)
		})
	}
	if err := ask(1); err != nil {
		t.Error(err)
	}
	st, ok := errors.AsType[wire.Status](ask(2))
	if !ok || st != (wire.Status{Code: wire.CodeBusy, RetryAfter: 7 * time.Second}) {
		t.Errorf("got %v", st)
	}
	if err := ask(100); err == nil || errors.Is(err, io.EOF) {
		t.Errorf("a malformed request was answered: %v", err)
	}
	if cfg.Traffic.In.Load() == 0 || cfg.Traffic.Out.Load() == 0 {
		t.Error("no traffic counted")
	}
}

// TestShellReservesMemory gives the resource manager less memory than a stream may use.
func TestShellReservesMemory(t *testing.T) {
	t.Parallel()
	limits := rcmgr.DefaultLimits
	small := rcmgr.PartialLimitConfig{ServiceDefault: rcmgr.ResourceLimits{Memory: 1 << 19}}
	rm, err := rcmgr.NewResourceManager(rcmgr.NewFixedLimiter(small.Build(limits.AutoScale())))
	if err != nil {
		t.Fatal(err)
	}
	server, client := newHost(t, libp2p.ResourceManager(rm)), newHost(t)
	events := make(chan wire.Event, 1)
	sh := wire.NewShell(wire.Service{Name: "peerdex.test", Memory: 1 << 20},
		wire.Config{Observe: func(e wire.Event) { events <- e }},
		func(context.Context, *wire.Conn, peer.ID) error { t.Error("the handler ran"); return nil })
	server.SetStreamHandler("/peerdex/test/1", sh.Handle)
	t.Cleanup(func() { _ = sh.Close() })
	if err := client.Connect(t.Context(), peer.AddrInfo{ID: server.ID(), Addrs: server.Addrs()}); err != nil {
		t.Fatal(err)
	}
	s, err := client.NewStream(t.Context(), server.ID(), "/peerdex/test/1")
	if err == nil { // else it was refused before both had agreed on the protocol
		err = wire.NewConn(s, wire.Config{}).ReceiveOK(wire.IdleTimeout)
	}
	if err == nil {
		t.Error("the stream was served")
	}
	if ev := <-events; !errors.Is(ev.Err, network.ErrResourceLimitExceeded) {
		t.Errorf("event %+v", ev)
	}
}

func TestDeviceAndPeer(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	d, err := wire.DeviceOf(h.ID())
	if err != nil {
		t.Fatal(err)
	}
	p, err := wire.PeerOf(d)
	if err != nil || p != h.ID() {
		t.Errorf("got %v, want %v: %v", p, h.ID(), err)
	}
	for _, bad := range []peer.ID{"", "x", "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N"} {
		if _, err := wire.DeviceOf(bad); err == nil {
			t.Errorf("%q is a device", bad)
		}
	}
}
