package main

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/metrics"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// traffic counts the bytes of streams by protocol, exactly and at once; libp2p's own counter adds them up once a second.
// What a stream carries is counted with the frames' lengths and the names of protocols, without yamux, TLS and TCP. It is
// safe for concurrent use.
type traffic struct {
	metrics.BandwidthCounter // for what nobody asks here

	mu   sync.Mutex
	by   map[string]moved
	last time.Time // when bytes of ours moved
}

// moved is bytes that came in and went out.
type moved struct {
	In  int64 `json:"in"`
	Out int64 `json:"out"`
}

var _ metrics.Reporter = (*traffic)(nil)

// LogRecvMessage is told of bytes that are counted by protocol, too.
func (*traffic) LogRecvMessage(int64) {}

// LogSentMessage is told of bytes that are counted by protocol, too.
func (*traffic) LogSentMessage(int64) {}

// LogRecvMessageStream counts bytes read from a stream.
func (t *traffic) LogRecvMessageStream(n int64, p protocol.ID, _ peer.ID) { t.add(p, moved{In: n}) }

// LogSentMessageStream counts bytes written to a stream.
func (t *traffic) LogSentMessageStream(n int64, p protocol.ID, _ peer.ID) { t.add(p, moved{Out: n}) }

func (t *traffic) add(p protocol.ID, m moved) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		t.by = map[string]moved{}
	}
	was := t.by[string(p)]
	t.by[string(p)] = moved{was.In + m.In, was.Out + m.Out}
	if isOurs(string(p)) {
		t.last = time.Now()
	}
}

// isOurs reports whether a protocol is one of peerdex, or pubsub, which it uses; the others are what libp2p says for itself.
func isOurs(p string) bool {
	return slices.ContainsFunc([]string{"/peerdex/", "/meshsub/", "/floodsub/"}, func(s string) bool { return strings.HasPrefix(p, s) })
}

// ours returns what moved by protocols of ours so far, and when the last of it did.
func (t *traffic) ours() (sum moved, last time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for p, m := range t.by {
		if isOurs(p) {
			sum.In += m.In
			sum.Out += m.Out
		}
	}
	return sum, t.last
}
