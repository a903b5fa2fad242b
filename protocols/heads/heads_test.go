package heads

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
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

var update = flag.Bool("update", false, "write the golden vectors anew")

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
	return Announced{Head: s, Record: record, Horizon: int64(n), Held: n%2 == 0}
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

	mu     sync.Mutex
	merged [][]byte
	heard  []Announced
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

func (b *backend) Merge(_ context.Context, from peer.ID, records [][]byte) error {
	b.merged = records
	return b.call("merge", from)
}

func (b *backend) Heard(_ context.Context, from peer.ID, heads []Announced) error {
	b.heard = heads
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
		records[i] = bytes.Repeat([]byte{byte(i)}, membership.MaxRecordLen)
	}
	for name, c := range map[string]struct{ a, b *backend }{
		"nothing to say": {&backend{}, &backend{}},
		"a few": {
			&backend{records: [][]byte{{1}, {2}}, heads: many[:3]},
			&backend{records: [][]byte{{1}}, heads: []Announced{announced(t, keyB, 1, 4000)}},
		},
		"many":            {&backend{records: records, heads: many}, &backend{records: records, heads: many[:500]}},
		"only the client": {&backend{records: [][]byte{{1}}, heads: many[:1]}, &backend{}},
		"only the server": {&backend{}, &backend{records: [][]byte{{1}}, heads: many[:1]}},
	} {
		a, b := c.a, c.b
		res, err, served := exchangeOnce(a, b)
		if err != nil || served != nil {
			t.Fatalf("%s: %v, %v", name, err, served)
		}
		for what, d := range map[string]string{
			"records of b": diff(b.records, a.merged), "records of a": diff(a.records, b.merged),
			"heads of b": diff(b.heads, a.heard), "heads of a": diff(a.heads, b.heard),
			"calls of a": diff([]string{"records", "merge", "heads", "heard"}, a.calls),
			"calls of b": diff([]string{"merge", "records", "heard", "heads"}, b.calls),
			"from b":     diff([]peer.ID{"server", "server"}, a.from),
			"from a":     diff([]peer.ID{"client", "client"}, b.from),
		} {
			if d != "" {
				t.Errorf("%s: %s: %s", name, what, d)
			}
		}
		want := Result{Hello: res.Hello, Records: len(b.records), Heads: len(b.heads), Sent: len(a.heads), Complete: true}
		if res != want {
			t.Errorf("%s: %+v, want %+v", name, res, want)
		}
	}
}

func TestBackendErrors(t *testing.T) {
	t.Parallel()
	boom := errors.New("disk on fire")
	for _, call := range []string{"records", "merge", "heads", "heard"} {
		a, b := &backend{errs: map[string]error{call: boom}}, &backend{}
		if _, err, _ := exchangeOnce(a, b); !errors.Is(err, boom) {
			t.Errorf("client: %s: %v", call, err)
		}
		a, b = &backend{}, &backend{errs: map[string]error{call: boom}}
		_, err, served := exchangeOnce(a, b)
		if !errors.Is(err, wire.ErrFailed) || errors.Is(err, boom) || !errors.Is(served, boom) {
			t.Errorf("server: %s: client sees %v, server %v", call, err, served)
		}
	}
	a, b := &backend{heads: []Announced{announced(t, testKey("a"), 0, 1)}}, &backend{errs: map[string]error{"merge": fmt.Errorf("removed: %w", wire.ErrDenied)}}
	if _, err, _ := exchangeOnce(a, b); !errors.Is(err, wire.ErrDenied) || len(b.heard) > 0 || len(a.calls) != 1 {
		t.Errorf("one that is no member: %v; it asked %v", err, a.calls)
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
	if res.Complete || res.Sent != len(b.heard) || res.Sent < 1500 || res.Sent == len(a.heads) {
		t.Errorf("sent %d of %d, heard %d, complete %v", res.Sent, len(a.heads), len(b.heard), res.Complete)
	}
	if d := diff(a.heads[:res.Sent], b.heard); d != "" {
		t.Error(d)
	}
}

// TestHostile sends one server what no honest client sends.
func TestHostile(t *testing.T) {
	t.Parallel()
	key := testKey("a")
	good := announced(t, key, 3, 10)
	heads := func(fn func(a *Announced)) func(c *wire.Conn) error {
		return func(c *wire.Conn) error {
			a := good
			a.Record = bytes.Clone(a.Record)
			fn(&a)
			_, err := sendHeads(c, []Announced{a})
			return err
		}
	}
	hello := func(c *wire.Conn) error { return sendHello(c, Hello{}) }
	records := func(c *wire.Conn) error { return c.SendBlobs(kindRecords, nil) }
	greeting := func(v int64, software string) func(c *wire.Conn) error {
		return func(c *wire.Conn) error {
			e := c.Begin(kindHello, helloFields)
			e.Int(v)
			e.String(software)
			return c.Send(wire.CodecNone)
		}
	}
	blobs := func(n, size int) func(c *wire.Conn) error {
		return func(c *wire.Conn) error {
			list := make([][]byte, n)
			for i := range list {
				list[i] = make([]byte, size)
			}
			return c.SendBlobs(kindRecords, list)
		}
	}
	for name, c := range map[string]struct {
		steps []func(c *wire.Conn) error
		want  error
	}{
		"version 2":        {[]func(c *wire.Conn) error{greeting(2, "")}, wire.ErrVersion},
		"long software":    {[]func(c *wire.Conn) error{greeting(version, strings.Repeat("x", MaxSoftware+1))}, wire.ErrMalformed},
		"binary software":  {[]func(c *wire.Conn) error{greeting(version, "\xff")}, wire.ErrMalformed},
		"no hello":         {[]func(c *wire.Conn) error{records}, wire.ErrMalformed},
		"too many records": {[]func(c *wire.Conn) error{hello, blobs(membership.MaxRecords+1, 1)}, wire.ErrMalformed},
		"long record":      {[]func(c *wire.Conn) error{hello, blobs(1, membership.MaxRecordLen+1)}, wire.ErrMalformed},
		"heads at once":    {[]func(c *wire.Conn) error{hello, heads(func(*Announced) {})}, wire.ErrMalformed},
		"bad signature":    {[]func(c *wire.Conn) error{hello, records, heads(func(a *Announced) { a.Head.Signature[3] ^= 1 })}, wire.ErrMalformed},
		"other head":       {[]func(c *wire.Conn) error{hello, records, heads(func(a *Announced) { a.Head.Count, a.Head.NextID = 9, 99 })}, wire.ErrMalformed},
		"other record":     {[]func(c *wire.Conn) error{hello, records, heads(func(a *Announced) { a.Record[len(a.Record)-1] ^= 1 })}, wire.ErrMalformed},
		"no record":        {[]func(c *wire.Conn) error{hello, records, heads(func(a *Announced) { a.Record = nil })}, wire.ErrMalformed},
		"list of nothing": {[]func(c *wire.Conn) error{hello, records, func(c *wire.Conn) error {
			e := c.Begin(kindHeads, headsFields)
			e.Bool(false)
			e.Array(0)
			return c.Send(wire.CodecNone)
		}}, wire.ErrMalformed},
		"head of nothing": {[]func(c *wire.Conn) error{hello, records, func(c *wire.Conn) error {
			e := c.Begin(kindHeads, headsFields)
			e.Bool(true)
			e.Array(1)
			e.Array(announcedFields)
			e.Head(nil)
			e.Bytes(make([]byte, index.SignedHeadSize))
			e.Int(0)
			e.Bool(true)
			return c.Send(wire.CodecNone)
		}}, wire.ErrMalformed},
	} {
		events := make(chan wire.Event, 1)
		b := &backend{}
		srv := NewServer(Config{Backend: b, Config: wire.Config{Observe: func(e wire.Event) { events <- e }}})
		sa, sb := wiretest.Pipe(8 << 20)
		go srv.Serve(sb, "client")
		conn := wire.NewConn(sa, wire.Config{})
		for _, step := range c.steps {
			_ = step(conn) // the server may have hung up
		}
		if ev := <-events; !errors.Is(ev.Err, c.want) {
			t.Errorf("%s: %v, want %v", name, ev.Err, c.want)
		}
		if len(b.heard) > 0 {
			t.Errorf("%s: reached the backend", name)
		}
		_ = sa.Reset()
		_ = srv.Close()
	}
}

// TestTooManyHeads sends one head more than the limit, all valid.
func TestTooManyHeads(t *testing.T) {
	t.Parallel()
	a := announced(t, testKey("a"), 3, 10)
	sa, sb := wiretest.Pipe(1 << 20)
	got := make(chan error, 1)
	go func() {
		defer func() { _ = sb.Reset() }()
		all, err := receiveHeads(wire.NewConn(sb, wire.Config{}))
		if len(all) > 0 {
			err = errors.New("heads beyond the limit were returned")
		}
		got <- err
	}()
	c := wire.NewConn(sa, wire.Config{})
	for left := MaxHeads + 1; left > 0; left -= 500 {
		n := min(left, 500)
		e := c.Begin(kindHeads, headsFields)
		e.Bool(n == left)
		e.Array(n)
		for range n {
			a.encode(e)
		}
		if c.Send(wire.CodecZstd) != nil {
			break
		}
	}
	if err := <-got; !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("got %v", err)
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

// sent returns the message that fn sends last.
func sent(tb testing.TB, fn func(c *wire.Conn) error) []byte {
	tb.Helper()
	a, _ := wiretest.Pipe(1 << 20)
	c := wire.NewConn(a, wire.Config{})
	if err := fn(c); err != nil {
		tb.Fatal(err)
	}
	return bytes.Clone(c.Begun())
}

// fields returns a decoder that stands behind the kind of a message.
func fields(p []byte, kind, n int) *wire.Decoder {
	d := wire.NewDecoder()
	d.Reset(p)
	d.Array(n + 1)
	d.Int(int64(kind), int64(kind))
	return d
}

func vectors(tb testing.TB) []wiretest.Vector {
	list := []Announced{announced(tb, testKey("a"), 4, 10), announced(tb, testKey("a"), 5, 0)}
	return []wiretest.Vector{
		{Name: "hello", Bytes: sent(tb, func(c *wire.Conn) error { return sendHello(c, Hello{Software: "peerdex/0.1.0"}) })},
		{Name: "records", Bytes: sent(tb, func(c *wire.Conn) error { return c.SendBlobs(kindRecords, [][]byte{{1, 2}, {3}}) })},
		{Name: "heads", Bytes: sent(tb, func(c *wire.Conn) error { _, err := sendHeads(c, list); return err })},
		{Name: "no-heads", Bytes: sent(tb, func(c *wire.Conn) error { _, err := sendHeads(c, nil); return err })},
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	got := wiretest.Golden(t, "testdata/heads.txt", *update, vectors(t))
	if h, err := decodeHello(fields(got["hello"], kindHello, helloFields)); err != nil || h.Software != "peerdex/0.1.0" {
		t.Errorf("hello: %v, %v", h, err)
	}
	all, last, err := decodeHeads(fields(got["heads"], kindHeads, headsFields), MaxHeads)
	if d := diff([]Announced{announced(t, testKey("a"), 4, 10), announced(t, testKey("a"), 5, 0)}, all); err != nil || !last || d != "" {
		t.Errorf("heads: %v, %v %s", last, err, d)
	}
}

func FuzzMessages(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Bytes)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if _, err := decodeHello(fields(p, kindHello, helloFields)); err != nil && !errors.Is(err, wire.ErrMalformed) && !errors.Is(err, wire.ErrVersion) {
			t.Fatalf("error of no kind: %v", err)
		}
		all, _, err := decodeHeads(fields(p, kindHeads, headsFields), MaxHeads)
		if err != nil && !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("error of no kind: %v", err)
		}
		for i := range all {
			if err == nil && all[i].verify() != nil {
				t.Fatal("unverified")
			}
		}
	})
}
