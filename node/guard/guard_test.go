package guard

import (
	"errors"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/peerdex/peerdex/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

func newHost(t *testing.T) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay(), libp2p.DisableMetrics())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}

// TestStreams opens streams of each kind of protocol in both directions, as a stranger and as a member. What gossip sets
// its handler with goes through the same check as everything else.
func TestStreams(t *testing.T) {
	const open, closed, matched = "/test/open/1", "/test/closed/1", "/test/matched/"
	bare, other := newHost(t), newHost(t)
	var member atomic.Bool
	h := New(bare, func(p peer.ID) bool { return p == other.ID() && member.Load() }, open)
	answer := func(s network.Stream) {
		_, _ = s.Write([]byte{1})
		_ = s.Close()
	}
	h.SetStreamHandler(open, answer)
	h.SetStreamHandler(closed, answer)
	h.SetStreamHandlerMatch(matched, func(id protocol.ID) bool { return id == matched+"7" }, answer)
	other.SetStreamHandler(open, answer)
	other.SetStreamHandler(closed, answer)
	if err := other.Connect(t.Context(), peer.AddrInfo{ID: bare.ID(), Addrs: bare.Addrs()}); err != nil {
		t.Fatal(err)
	}
	answered := func(s network.Stream, err error) bool {
		t.Helper()
		if err != nil {
			return false
		}
		defer s.Reset()
		_ = s.SetReadDeadline(time.Now().Add(20 * time.Second))
		n, err := s.Read(make([]byte, 1))
		if timeout, ok := errors.AsType[interface {
			error
			Timeout() bool
		}](err); ok && timeout.Timeout() {
			t.Error("neither answered nor refused")
		}
		return n == 1
	}
	for _, in := range []bool{false, true, false} {
		member.Store(in)
		for _, id := range []protocol.ID{open, closed, matched + "7"} {
			if got := answered(other.NewStream(t.Context(), bare.ID(), id)); got != (in || id == open) {
				t.Errorf("member %v: %s answered: %v", in, id, got)
			}
		}
		for _, ids := range [][]protocol.ID{{open}, {closed}, {open, closed}, nil} {
			s, err := h.NewStream(t.Context(), other.ID(), ids...)
			if refused := errors.Is(err, ErrStranger); refused != (!in && !(len(ids) == 1 && ids[0] == open)) {
				t.Errorf("member %v: opening %v: %v", in, ids, err)
			}
			if err == nil {
				_ = s.Reset()
			}
		}
	}
}
