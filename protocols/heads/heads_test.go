package heads

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/membership"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
	"github.com/peerdex/peerdex/test/harness"
)

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

func testKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

// announced is the nth location of an owner, with a record of about so many bytes.
func announced(tb testing.TB, key ed25519.PrivateKey, n, recordLen int) Announced {
	tb.Helper()
	r := index.Record{Seq: 1, Name: fmt.Sprint("location ", n), Root: "/" + strings.Repeat("r", recordLen), Platform: "linux"}
	record, err := r.MarshalBinary()
	if err != nil {
		tb.Fatal(err)
	}
	h := index.Head{
		Library:  index.LibraryID{9},
		Location: index.Location{Owner: index.DeviceID(key.Public().(ed25519.PublicKey)), ID: index.LocationID{byte(n >> 8), byte(n)}},
		Epoch:    index.Epoch{Counter: 1, Random: 5}, Seq: int64(n) + 2, Count: 1, NextID: 2,
		Record: index.HashRecord(record), AsOf: 1_700_000_000_000_000_000,
	}
	s, err := index.SignHead(h, key)
	if err != nil {
		tb.Fatal(err)
	}
	return Announced{Head: s, Record: record, Horizon: int64(n), Held: n%2 == 0, Wants: n%4 == 0, Size: int64(n) << 20}
}

// diff is cmp.Diff, which takes seconds on what is large and equal.
func diff[T any](want, got T) string {
	if reflect.DeepEqual(want, got) {
		return ""
	}
	return "differs: " + cmp.Diff(want, got)
}

// backend is a device's memory; errs is what its calls return.
type backend struct {
	records [][]byte
	heads   []Announced
	said    []Announced // by the other side, in earlier exchanges

	mu     sync.Mutex
	merged [][]byte
	heard  []Announced
	gone   []index.Location
	from   []peer.ID
	calls  []string
	errs   map[string]error
}

func (b *backend) call(name string, from peer.ID) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls = append(b.calls, name)
	if from != "" {
		b.from = append(b.from, from)
	}
	return b.errs[name]
}

func (b *backend) Records(context.Context) ([][]byte, error)  { return b.records, b.call("records", "") }
func (b *backend) Heads(context.Context) ([]Announced, error) { return b.heads, b.call("heads", "") }

func (b *backend) Said(_ context.Context, from peer.ID) ([]Announced, error) {
	out := slices.Clone(b.said)
	for i := range out {
		out[i].Record = nil
	}
	return out, b.call("said", from)
}

func (b *backend) Merge(_ context.Context, from peer.ID, records [][]byte) error {
	b.merged = records
	return b.call("merge", from)
}

func (b *backend) Heard(_ context.Context, from peer.ID, news []Announced, gone []index.Location) error {
	b.heard, b.gone = news, gone
	return b.call("heard", from)
}

// exchangeOnce runs both sides over a stream of their own.
func exchangeOnce(a, b *backend) (res Result, err, served error) {
	var hello Hello
	events := make(chan wire.Event, 1)
	srv := NewServer(Config{
		Backend: b, Hello: Hello{Software: "server/1"}, OnHello: func(_ peer.ID, h Hello) { hello = h },
		Config: wire.Config{Observe: func(e wire.Event) { events <- e }},
	})
	sa, sb := wiretest.Pipe(256 << 10)
	go srv.Serve(sb, "client")
	res, err = Exchange(context.Background(), sa, "server", Config{Backend: a, Hello: Hello{Software: "client/1"}})
	served = (<-events).Err
	_ = srv.Close()
	if err == nil && (hello.Software != "client/1" || res.Hello.Software != "server/1") {
		err = fmt.Errorf("hellos: %v, %v", hello, res.Hello)
	}
	return res, err, served
}

func TestExchange(t *testing.T) {
	t.Parallel()
	keyA, keyB := testKey("a"), testKey("b")
	var many []Announced
	for i := range 700 {
		many = append(many, announced(t, keyA, i, 10))
	}
	records := make([][]byte, membership.MaxRecords)
	for i := range records {
		records[i] = append([]byte{byte(i >> 8)}, bytes.Repeat([]byte{byte(i)}, membership.MaxRecordLen-1)...)
	}
	for name, c := range map[string]struct{ a, b *backend }{
		"nothing to say": {&backend{}, &backend{}},
		"a few": {
			&backend{records: [][]byte{{1}, {2}}, heads: many[:3]},
			&backend{records: [][]byte{{1}}, heads: []Announced{announced(t, keyB, 1, 4000)}},
		},
		"many":            {&backend{records: records, heads: many}, &backend{records: records[1:], heads: many[:500]}},
		"only the client": {&backend{records: [][]byte{{1}}, heads: many[:1]}, &backend{}},
		"only the server": {&backend{}, &backend{records: [][]byte{{1}}, heads: many[:1]}},
		"same records":    {&backend{records: [][]byte{{1}, {2}}, heads: many[:1]}, &backend{records: [][]byte{{2}, {1}}, heads: many[:2]}},
	} {
		a, b := c.a, c.b
		res, err, served := exchangeOnce(a, b)
		if err != nil || served != nil {
			t.Fatalf("%s: %v, %v", name, err, served)
		}
		toA, toB := b.records, a.records
		callsA, callsB := []string{"records", "heads", "merge", "said", "heard"}, []string{"records", "heads", "said", "merge", "heard"}
		fromB, fromA := []peer.ID{"server", "server", "server"}, []peer.ID{"client", "client", "client"}
		if len(a.merged) == 0 && len(b.merged) == 0 {
			toA, toB = nil, nil
			callsA, callsB = slices.Delete(callsA, 2, 3), slices.Delete(callsB, 3, 4)
			fromB, fromA = fromB[1:], fromA[1:]
		}
		for what, d := range map[string]string{
			"records of b": diff(toA, a.merged), "records of a": diff(toB, b.merged),
			"heads of b": diff(b.heads, a.heard), "heads of a": diff(a.heads, b.heard),
			"calls of a": diff(callsA, a.calls), "calls of b": diff(callsB, b.calls),
			"from b": diff(fromB, a.from), "from a": diff(fromA, b.from),
		} {
			if d != "" {
				t.Errorf("%s: %s: %s", name, what, d)
			}
		}
		want := Result{Hello: res.Hello, Records: len(toA), Heads: len(b.heads), Sent: len(a.heads), Complete: true, Told: a.heads, Members: len(a.records)}
		if d := diff(want, res); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// TestOnlyDifferencesAreTold has the other side remember some of what was said before.
func TestOnlyDifferencesAreTold(t *testing.T) {
	t.Parallel()
	key := testKey("a")
	now := make([]Announced, 50)
	for i := range now {
		now[i] = announced(t, key, i, 10)
	}
	changed := slices.Clone(now)
	changed[3].Horizon++
	changed[4].Held = !changed[4].Held
	changed[5].Head.Seq-- // an older head; the signature makes no difference here
	unwanted := slices.Clone(now)
	unwanted[8].Wants = false
	dropped := announced(t, key, 60, 10)
	for name, c := range map[string]struct {
		said, news []Announced
		gone       []index.Location
	}{
		"the same":      {said: now},
		"in any order":  {said: append(slices.Clone(now[20:]), now[:20]...)},
		"three differ":  {said: changed, news: now[3:6]},
		"one is wanted": {said: unwanted, news: now[8:9]},
		"one is new":    {said: now[1:], news: now[:1]},
		"one is gone":   {said: append(slices.Clone(now), dropped), gone: []index.Location{dropped.Head.Location}},
		"both":          {said: append(slices.Clone(changed), dropped), news: now[3:6], gone: []index.Location{dropped.Head.Location}},
		"nothing":       {news: now},
	} {
		for _, dir := range []string{"client", "server"} {
			teller, hearer := &backend{heads: now}, &backend{said: c.said}
			a, b := teller, hearer
			if dir == "server" {
				a, b = hearer, teller
			}
			if _, err, served := exchangeOnce(a, b); err != nil || served != nil {
				t.Fatalf("%s: %v, %v", name, err, served)
			}
			if d := diff(c.news, hearer.heard) + diff(c.gone, hearer.gone); d != "" {
				t.Errorf("%s, told by the %s: %s", name, dir, d)
			}
			if len(teller.heard)+len(teller.gone) > 0 || !slices.Contains(hearer.calls, "heard") {
				t.Errorf("%s, told by the %s: %v, %v", name, dir, teller.heard, hearer.calls)
			}
		}
	}
}

// TestInSyncCostsOneSmallMessage counts the bytes of an exchange between two that know all of each other.
func TestInSyncCostsOneSmallMessage(t *testing.T) {
	t.Parallel()
	var a, b backend
	for i := range 50 {
		a.heads = append(a.heads, announced(t, testKey("a"), i, 10))
		b.heads = append(b.heads, announced(t, testKey("b"), i, 10))
	}
	a.said, b.said = b.heads, a.heads
	a.records = [][]byte{bytes.Repeat([]byte{1}, 300), bytes.Repeat([]byte{2}, 300)}
	b.records = [][]byte{a.records[1], a.records[0]}
	var traffic wire.Traffic
	sa, sb := wiretest.Pipe(1 << 20)
	srv := NewServer(Config{Backend: &b, Hello: Hello{Software: "peerdex/0.1.0"}})
	go srv.Serve(sb, "client")
	cfg := Config{Backend: &a, Hello: Hello{Software: "peerdex/0.1.0"}, Config: wire.Config{Traffic: &traffic}}
	if res, err := Exchange(t.Context(), sa, "server", cfg); err != nil || res.Heads+res.Sent+res.Records > 0 || !res.Complete {
		t.Fatalf("%+v, %v", res, err)
	}
	_ = srv.Close()
	if in, out := traffic.In.Load(), traffic.Out.Load(); in > 128 || out > 128 {
		t.Errorf("%d bytes in, %d out; want at most 128 each", in, out)
	}
}

func TestBackendErrors(t *testing.T) {
	t.Parallel()
	boom := errors.New("disk on fire")
	for _, call := range []string{"records", "heads", "merge", "said", "heard"} {
		a, b := &backend{errs: map[string]error{call: boom}}, &backend{records: [][]byte{{1}}}
		if _, err, _ := exchangeOnce(a, b); !errors.Is(err, boom) {
			t.Errorf("client: %s: %v", call, err)
		}
		a, b = &backend{records: [][]byte{{1}}}, &backend{errs: map[string]error{call: boom}}
		_, err, served := exchangeOnce(a, b)
		if !errors.Is(err, wire.ErrFailed) || errors.Is(err, boom) || !errors.Is(served, boom) {
			t.Errorf("server: %s: client sees %v, server %v", call, err, served)
		}
	}
	a, b := &backend{records: [][]byte{{1}}}, &backend{errs: map[string]error{"merge": fmt.Errorf("removed: %w", wire.ErrDenied)}}
	b.heads = []Announced{announced(t, testKey("a"), 0, 1)}
	if _, err, _ := exchangeOnce(a, b); !errors.Is(err, wire.ErrDenied) || len(a.heard) > 0 || slices.Contains(b.calls, "heard") {
		t.Errorf("one that is no member: %v; it heard %v", err, a.heard)
	}
}

// TestMoreHeadsThanFit has records so long that not all heads can go.
func TestMoreHeadsThanFit(t *testing.T) {
	t.Parallel()
	key := testKey("a")
	var a, b backend
	for i := range 2200 {
		a.heads = append(a.heads, announced(t, key, i, index.MaxRootPath-1))
	}
	res, err, served := exchangeOnce(&a, &b)
	if err != nil || served != nil {
		t.Fatal(err, served)
	}
	if b.said = b.heard; res.Complete || res.Sent != len(b.heard) || res.Sent < 1500 || res.Sent == len(a.heads) {
		t.Errorf("sent %d of %d, heard %d, complete %v", res.Sent, len(a.heads), len(b.heard), res.Complete)
	}
	if d := diff(a.heads[:res.Sent], b.heard); d != "" {
		t.Error(d)
	}
	if res, err, served = exchangeOnce(&a, &b); err != nil || served != nil || res.Sent > 0 || res.Complete {
		t.Errorf("once more: %+v, %v, %v", res, err, served)
	}
}

func TestSilenceIsNotBorne(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := NewServer(Config{Backend: &backend{}})
		_, sb := wiretest.Pipe(1 << 10)
		start := time.Now()
		srv.Serve(sb, "silent")
		if d := time.Since(start); d != wire.FirstFrameTimeout {
			t.Errorf("the server waited %v", d)
		}
		sa, _ := wiretest.Pipe(1 << 10)
		start = time.Now()
		if _, err := Exchange(t.Context(), sa, "silent", Config{Backend: &backend{}}); err == nil {
			t.Error("no error")
		}
		if d := time.Since(start); d != wire.IdleTimeout {
			t.Errorf("the client waited %v", d)
		}
	})
}

func TestOnLibp2p(t *testing.T) {
	t.Parallel()
	server, client := newHost(t), newHost(t)
	a := &backend{records: [][]byte{{1}}, heads: []Announced{announced(t, testKey("a"), 0, 10)}}
	b := &backend{records: [][]byte{{2}}, heads: []Announced{announced(t, testKey("b"), 0, 10)}}
	srv := NewServer(Config{Backend: b})
	t.Cleanup(func() { _ = srv.Close() })
	server.SetStreamHandler(ID, srv.Handle)
	if err := client.Connect(t.Context(), peer.AddrInfo{ID: server.ID(), Addrs: server.Addrs()}); err != nil {
		t.Fatal(err)
	}
	s, err := client.NewStream(t.Context(), server.ID(), ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Exchange(t.Context(), s, server.ID(), Config{Backend: a}); err != nil {
		t.Fatal(err)
	}
	if d := diff(a.heads, b.heard) + diff(b.heads, a.heard); d != "" || b.from[0] != client.ID() {
		t.Errorf("from %v: %s", b.from, d)
	}
}

func newHost(t *testing.T) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}
