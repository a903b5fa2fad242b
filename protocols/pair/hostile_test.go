package pair

import (
	"bytes"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index/membership"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

// TestHostileInviter admits with something wrong in it: accept must never see it.
func TestHostileInviter(t *testing.T) {
	t.Parallel()
	other := newLibrary(t)
	other.key = testKey("someone else")
	g, _ := membership.NewGenesis(other.key, "x", time.Unix(1, 0))
	foreign, _ := g.MarshalBinary()
	for name, change := range map[string]func(a *Admission){
		"no records":        func(a *Admission) { a.Records = nil },
		"joiner not named":  func(a *Admission) { a.Records = a.Records[:1] },
		"no genesis":        func(a *Admission) { a.Records = a.Records[1:] },
		"bad signature":     func(a *Admission) { a.Records[1] = bytes.Clone(a.Records[1]); a.Records[1][len(a.Records[1])-1] ^= 1 },
		"not a record":      func(a *Admission) { a.Records = append(a.Records, []byte("record")) },
		"other library":     func(a *Admission) { a.Library[0] ^= 1 },
		"foreign records":   func(a *Admission) { a.Records = append(a.Records, foreign) },
		"too many records":  func(a *Admission) { a.Records = make([][]byte, membership.MaxRecords+1) },
		"a record too long": func(a *Admission) { a.Records = append(a.Records, make([]byte, membership.MaxRecordLen+1)) },
	} {
		tb := newTable(t)
		tb.lib.change = change
		inv, tk := tb.open(0)
		err := tb.join(testKey("joiner"), tk, func(Admission) error { t.Errorf("%s: accepted", name); return nil })
		if err == nil {
			t.Errorf("%s: joined", name)
		}
		if o := tb.outcome(inv.ID); o.Joined {
			t.Errorf("%s: %+v", name, o)
		}
	}
}

// TestTamperedAdmission lets somebody sit in the middle who changes one bit of any frame, as no connection would let
// them: whatever it is, accept sees only what the inviter meant.
func TestTamperedAdmission(t *testing.T) {
	t.Parallel()
	for bit := 0; bit < 60*8; bit += 7 {
		tb := newTable(t)
		_, tk := tb.open(0)
		a, mid1 := wiretest.Pipe(1 << 20)
		mid2, b := wiretest.Pipe(1 << 20)
		var wg sync.WaitGroup
		wg.Go(func() { tb.window.Serve(b, peerOf(t, testKey("joiner"))) })
		wg.Go(func() { _, _ = io.Copy(mid2, mid1); _ = mid2.Close() })
		wg.Go(func() {
			_, _ = io.Copy(mid1, &flipper{r: mid2, at: bit * 37 / 2})
			_ = mid1.Close()
		})
		var got *Admission
		err := Join(t.Context(), a, tk, deviceOf(testKey("joiner")), Hello{Name: "laptop"}, func(a Admission) error { got = &a; return nil }, Options{})
		_ = tb.window.Close()
		wg.Wait()
		if (err == nil) != (got != nil) {
			t.Fatalf("bit %d: %v", bit, err)
		}
		if got != nil && (got.Secret != [32]byte{1, 2, 3} || got.Library != tb.lib.records[0].LibraryID()) {
			t.Fatalf("bit %d: accepted %+v", bit, got)
		}
	}
}

// flipper flips the bit at a place of what it reads.
type flipper struct {
	r  io.Reader
	at int // bits to come
}

func (f *flipper) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if f.at >= 0 && f.at < n*8 {
		p[f.at/8] ^= 1 << (f.at % 8)
	}
	f.at -= n * 8
	return n, err
}

// TestHostileJoiner sends the window what no honest joiner sends.
func TestHostileJoiner(t *testing.T) {
	t.Parallel()
	raw := func(kind, fields int, fn func(e *wire.Encoder)) func(c *wire.Conn) error {
		return func(c *wire.Conn) error {
			fn(c.Begin(kind, fields))
			return c.Send(wire.CodecNone)
		}
	}
	hello := func(v int64, nonce int, name, platform string) func(c *wire.Conn) error {
		return raw(kindHello, helloFields, func(e *wire.Encoder) {
			e.Int(v)
			e.Bytes(make([]byte, nonce))
			e.String(name)
			e.String(platform)
		})
	}
	good := hello(version, nonceSize, "x", "")
	for name, steps := range map[string][]func(c *wire.Conn) error{
		"version":         {hello(2, nonceSize, "x", "")},
		"short nonce":     {hello(version, 31, "x", "")},
		"no name":         {hello(version, nonceSize, "", "")},
		"name with slash": {hello(version, nonceSize, "a/b", "")},
		"long name":       {hello(version, nonceSize, string(bytes.Repeat([]byte("n"), 64)), "")},
		"long platform":   {hello(version, nonceSize, "x", string(bytes.Repeat([]byte("n"), 33)))},
		"proof at once":   {raw(kindProof, proofFields, func(e *wire.Encoder) { e.Bytes(make([]byte, macSize)) })},
		"large frame":     {raw(kindHello, helloFields, func(e *wire.Encoder) { e.Bytes(make([]byte, frameLimit)) })},
		"packed frame": {func(c *wire.Conn) error {
			c.Begin(kindHello, 1).Bytes(make([]byte, 2000))
			return c.Send(wire.CodecZstd)
		}},
		"short proof":      {good, raw(kindProof, proofFields, func(e *wire.Encoder) { e.Bytes(make([]byte, macSize-1)) })},
		"empty proof":      {good, raw(kindProof, proofFields, func(e *wire.Encoder) { e.Bytes(nil) })},
		"zero proof":       {good, raw(kindProof, proofFields, func(e *wire.Encoder) { e.Bytes(make([]byte, macSize)) })},
		"confirms at once": {good, func(c *wire.Conn) error { return c.SendStatus(wire.Status{Code: wire.CodeOK}) }},
	} {
		tb := newTable(t)
		_, tk := tb.open(0)
		a, b := wiretest.Pipe(1 << 20)
		c := wire.NewConn(a, wire.Config{})
		for _, step := range steps {
			if err := step(c); err != nil {
				t.Fatal(err)
			}
		}
		tb.window.Serve(b, peerOf(t, testKey("stranger")))
		if len(tb.lib.admitted) > 0 || !tb.window.IsOpen() {
			t.Errorf("%s: admitted %d, open %v", name, len(tb.lib.admitted), tb.window.IsOpen())
		}
		_ = a.Reset()
		if err := tb.join(testKey("joiner"), tk, nothing); err != nil {
			t.Errorf("%s: joining after it: %v", name, err)
		}
	}
	tb := newTable(t)
	tb.open(0)
	a, b := wiretest.Pipe(1 << 10)
	tb.window.Serve(b, "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N") // a key of another kind
	if err := wire.NewConn(a, wire.Config{}).ReceiveOK(time.Second); !errors.Is(err, wire.ErrWindowClosed) {
		t.Errorf("a key that no device has: %v", err)
	}
}

// TestReplay records a whole handshake and plays the joiner's part again.
func TestReplay(t *testing.T) {
	t.Parallel()
	tb := newTable(t)
	_, tk := tb.open(0)
	a, b := wiretest.Pipe(1 << 20)
	rec := &recorder{Stream: a}
	served := make(chan struct{})
	go func() { defer close(served); tb.window.Serve(b, peerOf(t, testKey("joiner"))) }()
	if err := Join(t.Context(), rec, tk, deviceOf(testKey("joiner")), Hello{Name: "laptop"}, nothing, Options{}); err != nil {
		t.Fatal(err)
	}
	<-served
	again := newTable(t)
	inv, _ := again.open(0)
	again.window.invites[inv.ID].Secret = tk.Secret // even the same secret
	c, d := wiretest.Pipe(1 << 20)
	if _, err := c.Write(rec.sent.Bytes()); err != nil {
		t.Fatal(err)
	}
	again.window.Serve(d, peerOf(t, testKey("joiner")))
	if len(again.lib.admitted) > 0 {
		t.Error("a replay was admitted")
	}
}

type recorder struct {
	*wiretest.Stream
	sent bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error) {
	r.sent.Write(p)
	return r.Stream.Write(p)
}

// TestProofBelongsToTheDevice plays a proof over a connection of another device.
func TestProofBelongsToTheDevice(t *testing.T) {
	t.Parallel()
	tb := newTable(t)
	_, tk := tb.open(0)
	a, b := wiretest.Pipe(1 << 20)
	served := make(chan struct{})
	go func() { defer close(served); tb.window.Serve(b, peerOf(t, testKey("thief"))) }()
	err := Join(t.Context(), a, tk, deviceOf(testKey("joiner")), Hello{Name: "laptop"}, nothing, Options{})
	<-served
	if !errors.Is(err, ErrWrongTicket) || len(tb.lib.admitted) > 0 {
		t.Errorf("%v, admitted %v", err, tb.lib.admitted)
	}
}
