package change

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
	"github.com/peerdex/peerdex/test/harness"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

func testKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func deviceOf(key ed25519.PrivateKey) index.DeviceID {
	return index.DeviceID(key.Public().(ed25519.PublicKey))
}

func peerOf(tb testing.TB, key ed25519.PrivateKey) peer.ID {
	tb.Helper()
	p, err := wire.PeerOf(deviceOf(key))
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func rawRecord(tb testing.TB, name string) []byte {
	tb.Helper()
	b, err := (&index.Record{Seq: 9, Name: name, Platform: "linux"}).MarshalBinary()
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// sample is a change from seq 10 to 14: rows, a run of three ids, and with it another record.
func sample(tb testing.TB) *StateChange {
	tb.Helper()
	c := &StateChange{
		Base: 10, Horizon: 4, Record: rawRecord(tb, "photos"),
		Rows: []index.Entry{
			{ID: 7, Parent: 1, Name: "a.jpg", Kind: index.KindFile, Size: 1 << 20, MTime: 1_700_000_000_123_456_789, Mode: 0o644, Seq: 11},
			{ID: 21, Parent: 7, Name: "\xff", Kind: index.KindFile, Hash: []byte{1, 2}, Attrs: []byte{}, Seq: 13},
		},
		Dead: []index.DeadRun{{Seq: 12, Lo: 8, Hi: 10}},
	}
	c.Head.Head = index.Head{
		Library: index.LibraryID{9}, Location: index.Location{Owner: deviceOf(testKey("owner")), ID: index.LocationID{3}},
		Epoch: index.Epoch{Counter: 1, Random: 5}, Seq: 14, Count: 12, NextID: 22, Root: index.Hash{1}, Dead: index.Hash{2},
		Record: index.HashRecord(c.Record), AsOf: 1_700_000_000_000_000_000,
	}
	c.sign(tb, testKey("owner"))
	return c
}

func (c *StateChange) sign(tb testing.TB, key ed25519.PrivateKey) {
	tb.Helper()
	s, err := index.SignHead(c.Head.Head, key)
	if err != nil {
		tb.Fatal(err)
	}
	c.Head = s
}

// backend keeps what it took, and answers with an error.
type backend struct {
	mu     sync.Mutex
	took   []*StateChange
	answer error
	hold   chan struct{} // not nil: Take waits for it
}

func (b *backend) Take(_ context.Context, c *StateChange) error {
	if b.hold != nil {
		<-b.hold
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.took = append(b.took, c)
	return b.answer
}

// pushed pushes over one stream to a server of its own.
func pushed(tb testing.TB, c *StateChange, b *backend, from peer.ID) (served wire.Event, err error) {
	tb.Helper()
	events := make(chan wire.Event, 1)
	srv := NewServer(ServerConfig{Backend: b, Config: wire.Config{Observe: func(e wire.Event) { events <- e }}})
	sa, sb := wiretest.Pipe(1 << 20)
	go srv.Serve(sb, from)
	err = Push(tb.Context(), sa, c, wire.Config{})
	served = <-events
	if cerr := srv.Close(); cerr != nil {
		tb.Error(cerr)
	}
	return served, err
}

func TestPush(t *testing.T) {
	t.Parallel()
	owner := peerOf(t, testKey("owner"))
	large := sample(t)
	large.Rows, large.Dead = nil, nil
	large.Head.NextID, large.Head.Seq = 1000, 10+MaxChanges
	for i := range MaxChanges {
		large.Rows = append(large.Rows, index.Entry{
			ID: int64(i) + 2, Parent: 1, Name: strings.Repeat("n", index.MaxNameLen), Kind: index.KindFile, Seq: int64(11 + i),
			Hash: make([]byte, index.MaxHashLen), Attrs: bytes.Repeat([]byte{byte(i)}, index.MaxAttrsLen),
		})
	}
	large.sign(t, testKey("owner"))
	record := sample(t)
	record.Rows, record.Dead = nil, nil
	small := sample(t)
	small.Record = []byte{}
	for name, c := range map[string]*StateChange{"sample": sample(t), "largest": large, "only the record": record, "the record as before": small} {
		b := new(backend)
		served, err := pushed(t, c, b, owner)
		if err != nil || served.Err != nil || len(b.took) != 1 {
			t.Fatalf("%s: %v, %v, %d taken", name, err, served.Err, len(b.took))
		}
		if d := cmp.Diff(c, b.took[0]); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

// TestAnswers has the backend refuse.
func TestAnswers(t *testing.T) {
	t.Parallel()
	for _, want := range []error{wire.ErrNoReplica, wire.ErrBusy, wire.ErrDenied, index.ErrProviderBehind, index.ErrEpochChanged} {
		if _, err := pushed(t, sample(t), &backend{answer: fmt.Errorf("why: %w", want)}, peerOf(t, testKey("owner"))); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	if _, err := pushed(t, sample(t), &backend{answer: errors.New("why")}, peerOf(t, testKey("owner"))); !errors.Is(err, wire.ErrFailed) {
		t.Errorf("got %v", err)
	}
}

// broken changes one thing of a sample that makes it wrong, whoever looks at it.
func broken() map[string]func(c *StateChange) {
	return map[string]func(c *StateChange){
		"base 0":               func(c *StateChange) { c.Base = 0 },
		"base at the head":     func(c *StateChange) { c.Base, c.Rows, c.Dead = 14, nil, nil },
		"base above the head":  func(c *StateChange) { c.Base, c.Rows, c.Dead = 15, nil, nil },
		"base below horizon":   func(c *StateChange) { c.Horizon = 11 },
		"row at the base":      func(c *StateChange) { c.Rows[0].Seq = 10 },
		"row above the head":   func(c *StateChange) { c.Rows[1].Seq = 15 },
		"rows out of order":    func(c *StateChange) { c.Rows[0], c.Rows[1] = c.Rows[1], c.Rows[0] },
		"row twice":            func(c *StateChange) { c.Rows[1] = c.Rows[0] },
		"id never given":       func(c *StateChange) { c.Rows[1].ID = 22 },
		"run at the base":      func(c *StateChange) { c.Dead[0].Seq = 10 },
		"run above the head":   func(c *StateChange) { c.Dead[0].Seq = 15 },
		"run of ids not given": func(c *StateChange) { c.Dead[0].Hi = 22 },
		"runs out of order":    func(c *StateChange) { c.Dead = append(c.Dead, index.DeadRun{Seq: 11, Lo: 2, Hi: 2}) },
		"another record":       func(c *StateChange) { c.Record[20] ^= 1 },
		"no record":            func(c *StateChange) { c.Record = []byte("record") },
		"one dead id too many": func(c *StateChange) { c.Head.NextID = 1000; c.Dead[0].Hi = c.Dead[0].Lo + MaxChanges - 2 },
		"one row too many":     func(c *StateChange) { c.manyRows(MaxChanges + 1) },
	}
}

func (c *StateChange) manyRows(n int) {
	c.Head.NextID, c.Head.Seq, c.Rows, c.Dead = 1000, 10+int64(n), nil, nil
	for i := range int64(n) {
		c.Rows = append(c.Rows, index.Entry{ID: 2 + i, Parent: 1, Name: "n", Kind: index.KindFile, Seq: 11 + i})
	}
}

// TestHostilePush sends what is wrong, byte by byte as a peer could. Nothing of it may reach the backend.
func TestHostilePush(t *testing.T) {
	t.Parallel()
	owner := peerOf(t, testKey("owner"))
	cases := broken()
	cases["signature"] = func(c *StateChange) { c.Head.Signature[0] ^= 1 }
	cases["signed by another"] = func(c *StateChange) {
		c.Head.Location.Owner = deviceOf(testKey("joiner"))
		c.sign(t, testKey("joiner"))
	}
	cases["bad name"] = func(c *StateChange) { c.Rows[0].Name = "../x" }
	for name, breakIt := range cases {
		c := sample(t)
		breakIt(c)
		if name != "signature" && name != "signed by another" {
			c.sign(t, testKey("owner"))
		}
		b := new(backend)
		if ev := raw(t, b, owner, func(conn *wire.Conn) error {
			c.encode(conn.Encoder())
			return conn.Send(wire.CodecZstd)
		}); !errors.Is(ev.Err, wire.ErrMalformed) || len(b.took) > 0 {
			t.Errorf("%s: %v, %d taken", name, ev.Err, len(b.took))
		}
	}
	for name, send := range map[string]func(conn *wire.Conn) error{
		"another kind":    func(conn *wire.Conn) error { conn.Begin(kindChange+1, 0); return conn.Send(wire.CodecNone) },
		"another version": func(conn *wire.Conn) error { return versioned(conn, 2) },
		"too large": func(conn *wire.Conn) error {
			conn.Begin(kindChange, 1).Bytes(make([]byte, frameLimit))
			return conn.Send(wire.CodecNone)
		},
	} {
		b := new(backend)
		if ev := raw(t, b, owner, send); !errors.Is(ev.Err, wire.ErrMalformed) && !errors.Is(ev.Err, wire.ErrVersion) || len(b.took) > 0 {
			t.Errorf("%s: %v, %d taken", name, ev.Err, len(b.took))
		}
	}
	if ev, err := pushed(t, sample(t), new(backend), peerOf(t, testKey("joiner"))); err == nil || !errors.Is(ev.Err, wire.ErrMalformed) {
		t.Errorf("pushed by another than the owner: %v, %v", err, ev.Err)
	}
}

func versioned(conn *wire.Conn, v int64) error {
	e := conn.Begin(kindChange, changeFields)
	for range changeFields {
		e.Int(v)
	}
	return conn.Send(wire.CodecNone)
}

// raw hands a server what send sends, and returns how that went.
func raw(tb testing.TB, b *backend, from peer.ID, send func(*wire.Conn) error) wire.Event {
	tb.Helper()
	events := make(chan wire.Event, 1)
	srv := NewServer(ServerConfig{Backend: b, Config: wire.Config{Observe: func(e wire.Event) { events <- e }}})
	sa, sb := wiretest.Pipe(1 << 20)
	go srv.Serve(sb, from)
	_ = send(wire.NewConn(sa, wire.Config{})) // the server may have hung up
	ev := <-events
	_ = sa.Reset()
	_ = srv.Close()
	return ev
}

// TestNothingWrongIsSent has Push refuse what no server would take.
func TestNothingWrongIsSent(t *testing.T) {
	t.Parallel()
	for name, breakIt := range broken() {
		c := sample(t)
		breakIt(c)
		a, b := wiretest.Pipe(1 << 20)
		if err := Push(t.Context(), a, c, wire.Config{}); !errors.Is(err, index.ErrInvalid) && !errors.Is(err, index.ErrPageOrder) {
			t.Errorf("%s: %v", name, err)
		}
		if n, _ := b.Read(make([]byte, 1)); n > 0 {
			t.Errorf("%s: was sent", name)
		}
	}
}

// TestTooMany pushes more than a device may, one after the other and at once.
func TestTooMany(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		b := new(backend)
		srv := NewServer(ServerConfig{Backend: b})
		push := func(key string) error {
			sa, sb := wiretest.Pipe(1 << 20)
			go srv.Serve(sb, peerOf(t, testKey(key)))
			c := sample(t)
			c.Head.Location.Owner = deviceOf(testKey(key))
			c.sign(t, testKey(key))
			return Push(t.Context(), sa, c, wire.Config{})
		}
		many := int(acceptRate().Burst)
		for i := range many {
			if err := push("owner"); err != nil {
				t.Fatalf("push %d: %v", i, err)
			}
		}
		if err := push("owner"); !errors.Is(err, wire.ErrBusy) || len(b.took) != many {
			t.Errorf("one too many: %v, %d taken", err, len(b.took))
		}
		if err := push("joiner"); err != nil {
			t.Errorf("another device: %v", err)
		}
		time.Sleep(time.Minute)
		b.hold = make(chan struct{})
		got := make(chan error, maxAtOnceOfOwner)
		for range maxAtOnceOfOwner {
			go func() { got <- push("owner") }()
		}
		synctest.Wait()
		if err := push("owner"); !errors.Is(err, wire.ErrBusy) {
			t.Errorf("one too many at once: %v", err)
		}
		close(b.hold)
		for range maxAtOnceOfOwner {
			if err := <-got; err != nil {
				t.Errorf("at once: %v", err)
			}
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestDeadlines lets either side say nothing.
func TestDeadlines(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		sa, _ := wiretest.Pipe(1 << 20)
		start := time.Now()
		if err := Push(t.Context(), sa, sample(t), wire.Config{}); !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != Timeout {
			t.Errorf("no answer: %v after %v", err, time.Since(start))
		}
		start = time.Now()
		if ev := raw(t, new(backend), "owner", func(*wire.Conn) error { return nil }); !errors.Is(ev.Err, os.ErrDeadlineExceeded) || time.Since(start) != Timeout {
			t.Errorf("no push: %v after %v", ev.Err, time.Since(start))
		}
	})
}

func TestPage(t *testing.T) {
	t.Parallel()
	for from, want := range map[int64][2]int{10: {2, 1}, 11: {1, 1}, 12: {1, 0}, 13: {0, 0}} {
		c := sample(t)
		p := c.Page(from)
		if len(p.Rows) != want[0] || len(p.Dead) != want[1] || !p.Exhausted || p.UpTo != 14 || p.Horizon != 10 || p.Head != c.Head {
			t.Errorf("from %d: %+v", from, p)
		}
		if d := cmp.Diff(sample(t), c); d != "" {
			t.Errorf("from %d: the change changed: %s", from, d)
		}
	}
}

// TestOverLibp2p pushes between two hosts, and counts the bytes of one change.
func TestOverLibp2p(t *testing.T) {
	t.Parallel()
	a, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"))
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	b, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"))
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	c := sample(t)
	owner, err := wire.DeviceOf(a.ID())
	if err != nil {
		t.Fatal(err)
	}
	key, err := a.Peerstore().PrivKey(a.ID()).Raw()
	if err != nil {
		t.Fatal(err)
	}
	c.Head.Location.Owner, c.Record, c.Rows, c.Dead = owner, nil, c.Rows[:1], nil
	c.sign(t, key)
	back, traffic := new(backend), new(wire.Traffic)
	srv := NewServer(ServerConfig{Backend: back, Config: wire.Config{Traffic: traffic}})
	defer srv.Close()
	b.SetStreamHandler(ID, srv.Handle)
	if err := a.Connect(t.Context(), peer.AddrInfo{ID: b.ID(), Addrs: b.Addrs()}); err != nil {
		t.Fatal(err)
	}
	s, err := a.NewStream(t.Context(), b.ID(), ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := Push(t.Context(), s, c, wire.Config{}); err != nil {
		t.Fatal(err)
	}
	if n := traffic.In.Load() + traffic.Out.Load(); n > 400 || len(back.took) != 1 {
		t.Errorf("%d bytes for one change, %d taken", n, len(back.took))
	}
}
