package batch

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

// provide answers one pull with exactly these frames, whatever is asked, and returns what Pull made of them.
func provide(t *testing.T, tok index.Token, sink Sink, frames ...func(c *wire.Conn) error) (index.Token, error) {
	t.Helper()
	a, b := wiretest.Pipe(wire.MaxPayload)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := wire.NewConn(a, wire.Config{})
		_, _ = c.Receive(wire.IdleTimeout, kindRequest, requestFields) // one who closes at once may be gone before it is sent
		for _, f := range frames {
			if err := f(c); err != nil {
				break
			}
		}
		_ = a.Close()
	}()
	last, err := Pull(context.Background(), b, tok, sink, Options{Library: testLibrary})
	<-done
	return last, err
}

// sendFrame sends f as it is.
func sendFrame(f frame) func(c *wire.Conn) error {
	return func(c *wire.Conn) error {
		f.encode(c)
		return c.Send(wire.CodecZstd)
	}
}

// firstFrame is an honest answer in one frame to the token.
func firstFrame(t *testing.T, s *state, tok *index.Token) frame {
	t.Helper()
	p, err := s.page(PageRequest{Location: tok.Location, Epoch: tok.Epoch, Mode: tok.Mode, Position: tok.Position, Limit: wire.MaxRows, Count: true})
	if err != nil {
		t.Fatal(err)
	}
	return frame{page: p, head: &p.Head, record: p.Record}
}

// TestHostileProvider changes one thing in an honest frame. Nothing of it may reach the sink.
func TestHostileProvider(t *testing.T) {
	t.Parallel()
	o := sample(t, 20)
	newest := &o.history[1]
	stranger := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	resign := func(h index.Head, key ed25519.PrivateKey) *index.SignedHead {
		h.Location.Owner = index.DeviceID(key.Public().(ed25519.PublicKey))
		s, err := index.SignHead(h, key)
		if err != nil {
			t.Fatal(err)
		}
		return &s
	}
	changed := func(f *frame, fn func(h *index.SignedHead)) {
		h := *f.head
		fn(&h)
		f.head = &h
	}
	for name, breakIt := range map[string]func(f *frame){
		"no head":              func(f *frame) { f.head = nil },
		"no record":            func(f *frame) { f.record = nil },
		"other record":         func(f *frame) { f.record = append(f.record[:len(f.record)-1:len(f.record)-1], 1) },
		"malformed record":     func(f *frame) { f.record = []byte("record") },
		"bad signature":        func(f *frame) { changed(f, func(h *index.SignedHead) { h.Signature[0] ^= 1 }) },
		"later head":           func(f *frame) { changed(f, func(h *index.SignedHead) { h.Seq++ }) },
		"another owner's head": func(f *frame) { f.head = resign(f.head.Head, stranger) },
		"another location": func(f *frame) {
			changed(f, func(h *index.SignedHead) { h.Location.ID[0] ^= 1; *h = *resign(h.Head, o.key) })
		},
		"another library": func(f *frame) {
			changed(f, func(h *index.SignedHead) { h.Library[0] ^= 1; *h = *resign(h.Head, o.key) })
		},
		"another epoch": func(f *frame) {
			changed(f, func(h *index.SignedHead) { h.Epoch.Random ^= 1; *h = *resign(h.Head, o.key) })
		},
		"batch index":            func(f *frame) { f.index = 1 },
		"no counts":              func(f *frame) { f.page.LeftRows, f.page.LeftDead = -1, -1 },
		"rows out of order":      func(f *frame) { f.page.Rows[1], f.page.Rows[2] = f.page.Rows[2], f.page.Rows[1] },
		"row twice":              func(f *frame) { f.page.Rows[1] = f.page.Rows[2] },
		"seq above the head's":   func(f *frame) { f.page.Rows[3].Seq = f.page.Head.Seq + 1 },
		"id never given":         func(f *frame) { last := len(f.page.Rows) - 1; f.page.Rows[last].ID = f.page.Head.NextID },
		"bad name":               func(f *frame) { f.page.Rows[3].Name = "../x" },
		"row above the position": func(f *frame) { f.page.UpTo = f.page.Rows[len(f.page.Rows)-1].ID - 1 },
		"nothing, not exhausted": func(f *frame) { f.page.Rows, f.page.Exhausted, f.page.UpTo = nil, false, 5 },
	} {
		for _, mode := range []index.Mode{index.ModeFull, index.ModeDelta} {
			tok := index.NewFull(newest.head.Location, newest.head.Epoch)
			if mode == index.ModeDelta {
				tok = index.NewDelta(o.history[0].head.Head)
			}
			f := firstFrame(t, newest, &tok)
			if name == "row above the position" && mode == index.ModeDelta {
				f.page.UpTo = f.page.Rows[0].Seq
			} else {
				breakIt(&f)
			}
			sink := &replica{rows: map[int64]index.Entry{}}
			last, err := provide(t, tok, sink, sendFrame(f))
			if err == nil || sink.puts > 0 || last != tok {
				t.Errorf("%s, mode %d: %v, %d pages reached the sink", name, mode, err, sink.puts)
			}
		}
	}
}

// TestHostileDeletions hides, moves and makes up deletions: the chain does not lead to the head.
func TestHostileDeletions(t *testing.T) {
	t.Parallel()
	o := sample(t, 20)
	tok := index.NewDelta(o.history[0].head.Head)
	for name, breakIt := range map[string]func(f *frame){
		"hidden":   func(f *frame) { f.page.Dead = f.page.Dead[1:] },
		"all gone": func(f *frame) { f.page.Dead = nil },
		"widened":  func(f *frame) { f.page.Dead[0].Hi++ },
		"made up": func(f *frame) {
			f.page.Dead = append(f.page.Dead, index.DeadRun{Seq: f.page.Head.Seq, Lo: 2, Hi: 3})
		},
	} {
		f := firstFrame(t, &o.history[1], &tok)
		breakIt(&f)
		sink := &replica{rows: map[int64]index.Entry{}}
		if _, err := provide(t, tok, sink, sendFrame(f)); !errors.Is(err, ErrMismatch) || sink.puts > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestHostileStream(t *testing.T) {
	t.Parallel()
	o := sample(t, 20)
	newest := &o.history[1]
	tok := index.NewFull(newest.head.Location, newest.head.Epoch)
	good := firstFrame(t, newest, &tok)
	part, ok := good, false
	var lower, upper *index.Page
	if lower, upper, ok = split(&good.page, index.ModeFull); !ok {
		t.Fatal("one row")
	}
	part.page = *lower
	next := frame{index: 1, page: *upper}
	raw := func(b ...byte) func(c *wire.Conn) error {
		return func(c *wire.Conn) error {
			c.Begin(kindFrame, 1).Bytes(b)
			return c.Send(wire.CodecNone)
		}
	}
	brk := func(fn func(f *frame)) func(c *wire.Conn) error {
		f := next
		fn(&f)
		return sendFrame(f)
	}
	for name, c := range map[string]struct {
		frames []func(c *wire.Conn) error
		want   error
		puts   int
	}{
		"nothing":           {nil, io.ErrUnexpectedEOF, 0},
		"other message":     {[]func(c *wire.Conn) error{raw(1, 2, 3)}, wire.ErrMalformed, 0},
		"ends in between":   {[]func(c *wire.Conn) error{sendFrame(part)}, io.ErrUnexpectedEOF, 1},
		"index repeated":    {[]func(c *wire.Conn) error{sendFrame(part), brk(func(f *frame) { f.index = 0 })}, wire.ErrMalformed, 1},
		"counts again":      {[]func(c *wire.Conn) error{sendFrame(part), brk(func(f *frame) { f.page.LeftRows = 3 })}, wire.ErrMalformed, 1},
		"record, no head":   {[]func(c *wire.Conn) error{sendFrame(part), brk(func(f *frame) { f.record = good.record })}, wire.ErrMalformed, 1},
		"same page again":   {[]func(c *wire.Conn) error{sendFrame(part), brk(func(f *frame) { f.page.Rows = lower.Rows })}, index.ErrPageOrder, 1},
		"unknown refusal":   {[]func(c *wire.Conn) error{func(c *wire.Conn) error { return c.SendStatus(wire.Status{Code: 299}) }}, wire.ErrRefused, 0},
		"ok is no answer":   {[]func(c *wire.Conn) error{func(c *wire.Conn) error { return c.SendStatus(wire.Status{Code: 100}) }}, nil, 0},
		"two honest frames": {[]func(c *wire.Conn) error{sendFrame(part), sendFrame(next)}, nil, 2},
	} {
		sink := &replica{rows: map[int64]index.Entry{}}
		_, err := provide(t, tok, sink, c.frames...)
		if err == nil || (c.want != nil && !errors.Is(err, c.want)) || sink.puts != c.puts {
			t.Errorf("%s: %v after %d pages, want %v after %d", name, err, sink.puts, c.want, c.puts)
		}
	}
}

// TestTamperedBytes flips bits anywhere in an honest transfer, as no transport would. Whatever a relay changes, the
// pull ends in an error, or in rows that the count, the root or the record of the head cover; it never panics, and
// never takes a head that the owner didn't sign.
func TestTamperedBytes(t *testing.T) {
	t.Parallel()
	o := sample(t, 30)
	newest := &o.history[1]
	rng := rand.New(rand.NewPCG(3, 4))
	for range 2000 {
		tok := index.NewFull(newest.head.Location, newest.head.Epoch)
		f := firstFrame(t, newest, &tok)
		sink := &replica{rows: map[int64]index.Entry{}}
		tamper := func(c *wire.Conn) error {
			p := f.encode(c).Payload()
			p[rng.IntN(len(p))] ^= 1 << rng.IntN(8)
			return c.Send(wire.CodecNone)
		}
		last, err := provide(t, tok, sink, tamper)
		if err == nil {
			t.Fatal("done after the first answer of two")
		}
		if last.Base.Seq != 0 && last.Base != newest.head.Head {
			t.Fatalf("took a head that was not signed: %+v", last.Base)
		}
	}
}

// messages are requests and frames with every field in use.
func messages(t testing.TB) (request, frame) {
	t.Helper()
	o := sample(t, 6)
	tok := index.NewDelta(o.history[0].head.Head)
	p, err := o.history[1].page(PageRequest{Location: tok.Location, Epoch: tok.Epoch, Mode: tok.Mode, Position: tok.Position, Limit: 9, Count: true})
	if err != nil {
		t.Fatal(err)
	}
	p.Horizon = 2
	return newRequest(&tok, &Options{BatchSize: 500, Codecs: wire.AllCodecs}),
		frame{index: 0, batches: 1, done: 3, total: 4, page: p, head: &p.Head, record: p.Record}
}

// payload returns the message that encode begins.
func payload(encode func(c *wire.Conn)) []byte {
	_, b := wiretest.Pipe(1)
	c := wire.NewConn(b, wire.Config{})
	encode(c)
	return bytes.Clone(c.Begun())
}

func TestGolden(t *testing.T) {
	t.Parallel()
	r, f := messages(t)
	got := wiretest.Golden(t, "testdata/batch.txt", *update, []wiretest.Vector{
		{Name: "request", Bytes: payload(r.encode)},
		{Name: "frame", Bytes: payload(func(c *wire.Conn) { f.encode(c) })},
		{Name: "next-frame", Bytes: payload(func(c *wire.Conn) {
			n := frame{index: 1, page: index.Page{LeftRows: -1, LeftDead: -1, UpTo: 12, Exhausted: true}}
			n.encode(c)
		})},
	})
	d := fields(t, got["request"], kindRequest, requestFields)
	if gotR, err := decodeRequest(d); err != nil || gotR != r {
		t.Errorf("request: %+v, %v", gotR, err)
	}
	var gotF frame
	if err := gotF.decode(fields(t, got["frame"], kindFrame, frameFields)); err != nil {
		t.Fatal(err)
	}
	gotF.page.Head, gotF.page.Record = *gotF.head, gotF.record
	if diff := cmp.Diff(f, gotF, cmp.AllowUnexported(frame{})); diff != "" {
		t.Error(diff)
	}
}

// fields returns a decoder that stands behind the kind of a message.
func fields(t testing.TB, p []byte, kind, n int) *wire.Decoder {
	t.Helper()
	d := wire.NewDecoder()
	d.Reset(p)
	d.Array(n + 1)
	d.Int(int64(kind), int64(kind))
	return d
}

func FuzzRequest(f *testing.F) {
	r, _ := messages(f)
	f.Add(payload(r.encode))
	f.Fuzz(func(t *testing.T, p []byte) {
		r, err := decodeRequest(fields(t, p, kindRequest, requestFields))
		switch {
		case err != nil && !errors.Is(err, wire.ErrMalformed) && !errors.Is(err, wire.ErrVersion):
			t.Fatalf("error of no kind: %v", err)
		case err == nil:
			again, err := decodeRequest(fields(t, payload(r.encode), kindRequest, requestFields))
			if err != nil || again != r {
				t.Fatalf("not the same after a round trip: %v", err)
			}
		}
	})
}

func FuzzFrame(f *testing.F) {
	_, fr := messages(f)
	f.Add(payload(func(c *wire.Conn) { fr.encode(c) }))
	f.Fuzz(func(t *testing.T, p []byte) {
		var fr frame
		if err := fr.decode(fields(t, p, kindFrame, frameFields)); err != nil {
			if !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		if len(fr.page.Rows) > wire.MaxRows || len(fr.page.Dead) > wire.MaxRows {
			t.Fatal("beyond the limits")
		}
		var again frame
		if err := again.decode(fields(t, payload(func(c *wire.Conn) { fr.encode(c) }), kindFrame, frameFields)); err != nil {
			t.Fatalf("not the same after a round trip: %v", err)
		}
		if diff := cmp.Diff(fr, again, cmp.AllowUnexported(frame{})); diff != "" {
			t.Fatal(diff)
		}
	})
}
