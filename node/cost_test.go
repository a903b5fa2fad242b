package node

import (
	"testing"
	"time"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/syncer"
)

func TestTransferSize(t *testing.T) {
	head := func(seq, count int64) index.SignedHead {
		return index.SignedHead{Head: index.Head{Seq: seq, Count: count}}
	}
	held := head(900, 50)
	for name, c := range map[string]struct {
		s              syncer.Strategy
		offer          index.SignedHead
		size           int64
		entries, bytes int64
	}{
		"native":                      {syncer.Native, head(9, 20_000), 2_000_000, 20_000, 1_400_000},
		"compact":                     {syncer.Compact, head(9, 20_000), 2_000_000, 20_000, 400_000},
		"native, size not said":       {syncer.Native, head(9, 20_000), 0, 20_000, 20_000 * fullRowBytes},
		"native, size not to be true": {syncer.Native, head(9, 20_000), 1 << 62, 20_000, 20_000 * fullRowBytes},
		"batches":                     {syncer.BatchFull, head(9, 500), 2_000_000, 500, 500 * fullRowBytes},
		"reconcile":                   {syncer.Reconcile, head(9, 500), 2_000_000, 500, 500 * fullRowBytes},
		"delta":                       {syncer.BatchDelta, head(930, 100), 2_000_000, 30, 30 * deltaRowBytes},
		"state change":                {syncer.Change, head(930, 100), 2_000_000, 30, 30 * deltaRowBytes},
		"delta, all changed":          {syncer.BatchDelta, head(9000, 100), 2_000_000, 100, 100 * deltaRowBytes},
		"nothing in it":               {syncer.BatchFull, head(9, 0), 0, 0, 0},
	} {
		entries, bytes := transferSize(&syncer.Situation{Held: &held}, &syncer.Plan{Strategy: c.s, Offer: c.offer}, &syncer.Heard{Size: c.size})
		if entries != c.entries || bytes != c.bytes {
			t.Errorf("%s: %d entries, %d bytes, want %d, %d", name, entries, bytes, c.entries, c.bytes)
		}
	}
}

func TestUsualRate(t *testing.T) {
	for name, c := range map[string]struct {
		link           syncer.Link
		entries, bytes int64
		want           time.Duration
	}{
		"a few, near":     {syncer.LinkNear, 10, 1000, usualLeast},
		"many, near":      {syncer.LinkNear, 3_000_000, 50_000_000, 10 * time.Second},
		"long, near":      {syncer.LinkNear, 300_000, 500_000_000, 10 * time.Second},
		"many, elsewhere": {syncer.LinkUnknown, 300_000, 10_000_000, 10 * time.Second},
		"many, relayed":   {syncer.LinkRelayed, 300_000, 10_000_000, 10 * time.Second},
	} {
		if got := usualRate(c.link, &SyncCost{Entries: c.entries, Bytes: c.bytes}); got.took != c.want || got.entries != c.entries {
			t.Errorf("%s: %+v, want %v", name, got, c.want)
		}
	}
}

func TestRelayOf(t *testing.T) {
	const id, other = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp", "12D3KooWGC6TvWhfapngX6wvJHMYvKpDMXPb3ZnCZ6dMoaMtimQ5"
	for addr, want := range map[string]struct {
		relay   string
		through bool
	}{
		"/ip4/10.0.0.2/tcp/4001":                                             {"", false},
		"/ip4/10.0.0.2/tcp/4001/p2p/" + id:                                   {"", false},
		"/ip4/1.2.3.4/tcp/4001/p2p/" + id + "/p2p-circuit":                   {id, true},
		"/ip4/1.2.3.4/tcp/4001/p2p/" + id + "/p2p-circuit/p2p/" + other:      {id, true},
		"/ip4/1.2.3.4/tcp/4001/p2p-circuit/p2p/" + other:                     {"", true},
		"/dns4/relay.example/udp/4001/quic-v1/p2p/" + other + "/p2p-circuit": {other, true},
	} {
		relay, through := relayOf(ma.StringCast(addr))
		if through != want.through || relay != "" && relay.String() != want.relay || relay == "" && want.relay != "" {
			t.Errorf("%s: %q, %v", addr, relay, through)
		}
	}
}
