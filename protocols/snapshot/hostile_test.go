package snapshot

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

// provide answers one pull by fn, whatever is asked, and returns what Pull made of it.
func provide(t *testing.T, r Request, sink Sink, fn func(c *wire.Conn) error) error {
	t.Helper()
	a, b := wiretest.Pipe(wire.MaxPayload)
	done := make(chan struct{})
	go func() {
		defer close(done)
		c := wire.NewConn(a, wire.Config{})
		if _, err := c.Receive(wire.IdleTimeout, kindRequest, requestFields); err == nil {
			_ = fn(c)
		}
		_ = a.Close()
	}()
	err := Pull(context.Background(), b, r, sink, Options{VerifyHead: func(*index.SignedHead) error { return nil }})
	<-done
	return err
}

// TestHostileHeader changes one thing in an honest header. Nothing of it may reach the sink.
func TestHostileHeader(t *testing.T) {
	t.Parallel()
	stranger := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	resign := func(h *header, key ed25519.PrivateKey) {
		h.Head.Location.Owner = index.DeviceID(key.Public().(ed25519.PublicKey))
		h.Head, _ = index.SignHead(h.Head.Head, key)
	}
	for name, breakIt := range map[string]func(h *header){
		"variant not asked for": func(h *header) { h.Variant = Native },
		"no such variant":       func(h *header) { h.Variant = 3 },
		"no file":               func(h *header) { h.File = FileID{} },
		"size 0":                func(h *header) { h.Size = 0 },
		"size beyond all":       func(h *header) { h.Size = math.MaxInt64 },
		"offset not asked for":  func(h *header) { h.offset = 1 },
		"offset behind the end": func(h *header) { h.offset = h.Size + 1 },
		"part of nothing":       func(h *header) { h.part = 0 },
		"part too large":        func(h *header) { h.part = wire.MaxFrame },
		"bad signature":         func(h *header) { h.Head.Signature[0] ^= 1 },
		"later head":            func(h *header) { h.Head.Seq++ },
		"another owner's head":  func(h *header) { resign(h, stranger) },
		"another location":      func(h *header) { h.Head.Location.ID[0] ^= 1; resign(h, ownerKey()) },
		"another library":       func(h *header) { h.Head.Library[0] ^= 1; resign(h, ownerKey()) },
		"no record":             func(h *header) { h.Record = nil },
		"another record":        func(h *header) { h.Record = append(bytes.Clone(h.Record), 1) },
	} {
		src := newSource(t, Compact, 10)
		h := header{Offer: src.offers[0], part: piece}
		breakIt(&h)
		r, sink := src.request(), &memSink{}
		r.Variants = Variants(Compact)
		err := provide(t, r, sink, func(c *wire.Conn) error {
			h.encode(c.Encoder())
			return c.Send(wire.CodecNone)
		})
		if !errors.Is(err, wire.ErrMalformed) && !errors.Is(err, index.ErrBadSignature) || sink.begun > 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestHostileParts breaks what comes behind an honest header.
func TestHostileParts(t *testing.T) {
	t.Parallel()
	const size = 2*piece + 10
	file := content(size)
	send := func(codec wire.Codec, encode func(e *wire.Encoder)) func(c *wire.Conn) error {
		return func(c *wire.Conn) error {
			encode(c.Encoder())
			return c.Send(codec)
		}
	}
	part := func(offset, n int) func(c *wire.Conn) error {
		return send(wire.CodecZstd, func(e *wire.Encoder) {
			encodePart(e, int64(offset), append(file, make([]byte, piece)...)[offset:offset+n])
		})
	}
	end := func(size int64) func(c *wire.Conn) error {
		return send(wire.CodecNone, func(e *wire.Encoder) { encodeEnd(e, size) })
	}
	all := func(list ...func(c *wire.Conn) error) []func(c *wire.Conn) error { return list }
	one, two, three := part(0, piece), part(piece, piece), part(2*piece, 10)
	for name, c := range map[string]struct {
		steps []func(c *wire.Conn) error
		want  error
		puts  int
	}{
		"honest":           {all(one, two, three, end(size)), nil, 3},
		"nothing":          {nil, io.ErrUnexpectedEOF, 0},
		"no end":           {all(one, two, three), io.ErrUnexpectedEOF, 3},
		"end of more":      {all(one, two, three, end(size+1)), wire.ErrMalformed, 3},
		"ends early":       {all(one, end(piece)), wire.ErrMalformed, 1},
		"part left out":    {all(one, three), wire.ErrMalformed, 1},
		"part twice":       {all(one, one), wire.ErrMalformed, 1},
		"short part":       {all(part(0, piece-1)), wire.ErrMalformed, 0},
		"long part":        {all(part(0, piece+1)), wire.ErrMalformed, 0},
		"more than said":   {all(one, two, part(2*piece, 11)), wire.ErrMalformed, 2},
		"goes on for ever": {all(one, two, three, part(size, 10), part(size, 10)), wire.ErrMalformed, 3},
		"fails":            {all(one, func(c *wire.Conn) error { return c.SendStatus(wire.Status{Code: wire.CodeFailed}) }), wire.ErrFailed, 1},
		"header again": {all(one, send(wire.CodecNone, func(e *wire.Encoder) {
			h := header{Offer: offer(t, 1, Compact, size), part: piece}
			h.encode(e)
		})), wire.ErrMalformed, 1},
		"columns of another offset": {all(one, send(wire.CodecZstd, func(e *wire.Encoder) { encodeColumns(e, 0, pages(t, piece)) })), wire.ErrMalformed, 1},
		"columns of fewer pages":    {all(one, send(wire.CodecZstd, func(e *wire.Encoder) { encodeColumns(e, piece, pages(t, pageSize)) })), wire.ErrMalformed, 1},
		"columns of more pages":     {all(one, send(wire.CodecZstd, func(e *wire.Encoder) { encodeColumns(e, piece, pages(t, 2*piece)) })), wire.ErrMalformed, 1},
		"no columns":                {all(one, send(wire.CodecNone, func(e *wire.Encoder) { encodeColumns(e, piece, new(columns)) })), wire.ErrMalformed, 1},
		"bad zstd":                  {all(one, func(c *wire.Conn) error { return sendRaw(c, wire.CodecZstd, []byte("nonsense")) }), wire.ErrMalformed, 1},
		"zstd bomb": {all(one, send(wire.CodecZstd, func(e *wire.Encoder) {
			encodePart(e, piece, make([]byte, wire.MaxPayload-100))
		})), wire.ErrMalformed, 1},
	} {
		sink := &memSink{}
		src := newSource(t, Compact, size)
		err := provide(t, src.request(), sink, func(conn *wire.Conn) error {
			h := header{Offer: src.offers[0], part: piece}
			h.encode(conn.Encoder())
			err := conn.Send(wire.CodecNone)
			for _, step := range c.steps {
				if err == nil {
					err = step(conn)
				}
			}
			return err
		})
		if c.want == nil && err != nil || c.want != nil && !errors.Is(err, c.want) || sink.puts > c.puts {
			t.Errorf("%s: %v after %d parts, want %v after at most %d", name, err, sink.puts, c.want, c.puts)
		}
		if !bytes.Equal(sink.b, file[:len(sink.b)]) {
			t.Errorf("%s: other bytes", name)
		}
	}
}

// oneRow are the columns of a page with one row.
func oneRow() *columns {
	c := &columns{counts: []byte{1}}
	r := row{id: 11, parent: 1, name: []byte("docs.txt"), kind: 1, size: 1234, mtime: 1_700_000_000_123_456_789, mode: 0o644, seq: 300, attrs: []byte{7}, hasAttrs: true}
	c.add(&r)
	c.mtimes = binary.BigEndian.AppendUint64(nil, uint64(r.mtime))
	return c
}

// pages are so many bytes of rows.
func pages(tb testing.TB, size int) *columns {
	tb.Helper()
	file, c := entriesFile(tb, 500), new(columns)
	if !c.split(file[len(file)-size:]) {
		tb.Fatal("no rows")
	}
	return c
}

// sendRaw sends a frame that claims a codec.
func sendRaw(c *wire.Conn, codec wire.Codec, b []byte) error {
	var f wire.Frame
	if err := new(wire.Codecs).Pack(&f, append([]byte{byte(codec)}, b...), wire.CodecNone); err != nil {
		return err
	}
	return c.SendFrame(&f)
}

// TestStalls has a provider that stops in the middle, and one that is preparing for ever.
func TestStalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource(t, Compact, 10*piece)
		preparing := func(c *wire.Conn) error {
			c.Begin(kindPreparing, preparingFields)
			return c.Send(wire.CodecNone)
		}
		for name, c := range map[string]struct {
			fn   func(c *wire.Conn) error
			most time.Duration
		}{
			"says nothing": {func(*wire.Conn) error { return nil }, wire.IdleTimeout},
			"stops": {func(c *wire.Conn) error {
				h := header{Offer: src.offers[0], part: piece}
				h.encode(c.Encoder())
				if err := c.Send(wire.CodecNone); err != nil {
					return err
				}
				encodePart(c.Encoder(), 0, src.now[:piece])
				return c.Send(wire.CodecS2)
			}, wire.IdleTimeout},
			"prepares for ever": {func(c *wire.Conn) error {
				for {
					if err := preparing(c); err != nil {
						return err
					}
					time.Sleep(20 * time.Second)
				}
			}, prepareTimeout},
			"prepares without rest": {func(c *wire.Conn) error {
				for {
					if err := preparing(c); err != nil {
						return err
					}
				}
			}, 0},
		} {
			a, b := wiretest.Pipe(window)
			stop, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				if err := c.fn(wire.NewConn(a, wire.Config{})); err == nil {
					<-stop
				}
			}()
			start := time.Now()
			if err := Pull(t.Context(), b, src.request(), &memSink{}, Options{}); err == nil {
				t.Errorf("%s: no error", name)
			}
			if took := time.Since(start); took > c.most {
				t.Errorf("%s: borne for %v, want %v", name, took, c.most)
			}
			close(stop)
			<-done
		}
	})
}

// TestLyingSizeCostsNothing names a size beyond all disks and sends nothing of it.
func TestLyingSizeCostsNothing(t *testing.T) {
	src := newSource(t, Compact, 1)
	src.offers[0].Size = maxSize
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	err := provide(t, src.request(), &memSink{}, func(c *wire.Conn) error {
		h := header{Offer: src.offers[0], part: piece}
		h.encode(c.Encoder())
		return c.Send(wire.CodecNone)
	})
	runtime.ReadMemStats(&after)
	if spent := after.TotalAlloc - before.TotalAlloc; !errors.Is(err, io.ErrUnexpectedEOF) || spent > 16<<20 {
		t.Errorf("%v, %d bytes allocated", err, spent)
	}
}

// TestTamperedBytes flips bits anywhere in an honest transfer, as no transport would: the pull ends in an error, or the
// bytes of the file alone are others, which only their proof can tell.
func TestTamperedBytes(t *testing.T) {
	t.Parallel()
	src := newSource(t, Compact, 3*piece)
	rng := rand.New(rand.NewPCG(3, 4))
	for range 100 {
		sink, at := &memSink{}, rng.IntN(4)
		err := provide(t, src.request(), sink, func(c *wire.Conn) error {
			h := header{Offer: src.offers[0], part: piece}
			var f wire.Frame
			for i := range 5 {
				e := wire.NewEncoder()
				switch i {
				case 0:
					h.encode(e)
				case 4:
					encodeEnd(e, h.Size)
				default:
					encodePart(e, int64(i-1)*piece, src.now[(i-1)*piece:i*piece])
				}
				p := bytes.Clone(e.Payload())
				if i == at {
					p[rng.IntN(min(len(p), 400))] ^= 1 << rng.IntN(8)
				}
				if err := new(wire.Codecs).Pack(&f, p, wire.CodecNone); err != nil {
					return err
				}
				if err := c.SendFrame(&f); err != nil {
					return err
				}
			}
			return nil
		})
		if err == nil && (sink.offer.Head != src.offers[0].Head || len(sink.b) != len(src.now)) {
			t.Fatalf("took %d bytes at a head that was not signed", len(sink.b))
		}
	}
}

// messages are requests and headers with every field in use.
func messages(tb testing.TB) (Request, header) {
	tb.Helper()
	h := header{Offer: offer(tb, 9, Native, 1<<30), offset: 1 << 20, part: partSize}
	return Request{Library: testLibrary, Location: h.Head.Location, Variants: Variants(Compact, Native), File: h.File, Offset: h.offset}, h
}

func TestGolden(t *testing.T) {
	t.Parallel()
	r, h := messages(t)
	first := r
	first.File, first.Offset, first.Variants = FileID{}, 0, Variants(Compact)
	got := wiretest.Golden(t, "testdata/snapshot.txt", *update, []wiretest.Vector{
		{Name: "request", Bytes: payload(func(e *wire.Encoder) { first.encode(e, wire.AllCodecs) })},
		{Name: "request-resumed", Bytes: payload(func(e *wire.Encoder) { r.encode(e, 1<<wire.CodecZstd) })},
		{Name: "header", Bytes: payload(h.encode)},
		{Name: "part", Bytes: payload(func(e *wire.Encoder) { encodePart(e, 1<<20, []byte("SQLite format 3")) })},
		{Name: "columns", Bytes: payload(func(e *wire.Encoder) { encodeColumns(e, 1<<20, oneRow()) })},
		{Name: "end", Bytes: payload(func(e *wire.Encoder) { encodeEnd(e, 1<<30) })},
		{Name: "preparing", Bytes: payload(func(e *wire.Encoder) { e.Begin(kindPreparing, preparingFields) })},
	})
	for name, want := range map[string]struct {
		r Request
		c wire.CodecSet
	}{"request": {first, wire.AllCodecs}, "request-resumed": {r, 1 << wire.CodecZstd}} {
		gotR, codecs, err := decodeRequest(fields(t, got[name], kindRequest, requestFields))
		if err != nil || gotR != want.r || codecs != want.c {
			t.Errorf("%s: %+v, %v, %v", name, gotR, codecs, err)
		}
	}
	gotH, err := decodeHeader(fields(t, got["header"], kindHeader, headerFields))
	if diff := cmp.Diff(h, gotH, cmp.AllowUnexported(header{})); err != nil || diff != "" {
		t.Errorf("%v\n%s", err, diff)
	}
	b := make([]byte, 15)
	if err := decodePart(fields(t, got["part"], kindPart, partFields), 1<<20, b); err != nil || string(b) != "SQLite format 3" {
		t.Errorf("part: %q, %v", b, err)
	}
	page := make([]byte, pageSize)
	if err := decodeColumns(fields(t, got["columns"], kindColumns, columnsFields), new(columns), 1<<20, page); err != nil {
		t.Error(err)
	}
	again := new(columns)
	if !again.split(page) || !bytes.Equal(payload(func(e *wire.Encoder) { encodeColumns(e, 1<<20, again) }), got["columns"]) {
		t.Errorf("columns of another page: %x", bytes.TrimLeft(page[leafHeader+2:], "\x00"))
	}
	if err := decodeEnd(fields(t, got["end"], kindEnd, endFields), 1<<30); err != nil {
		t.Error(err)
	}
}

// TestDocument holds PROTOCOL.md to the numbers in the code.
func TestDocument(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../wire/PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, ok := strings.Cut(string(b), "`"+string(ID)+"`\n")
	for _, want := range []string{
		"int 4096..1,048,512 | bytes of every part but the last (here 262,144)", "int 1..2^42 | bytes of the file",
		"at most 1 KiB, those of messages 2 and 5 at most 16 KiB", "at most 64 bytes larger than the part size",
		"at least every 20 s (here 10), for at most 15 minutes", "less than 16 KiB of the file a second",
	} {
		if !ok || !strings.Contains(text, want) {
			t.Errorf("PROTOCOL.md doesn't say %q", want)
		}
	}
	if maxPart != 1_048_512 || partSize != 262_144 || maxSize != 1<<42 || requestLimit != 1<<10 || headerLimit != 16<<10 || partSlack != 64 ||
		preparingEvery != 10*time.Second || prepareTimeout != 15*time.Minute || minRate != 16<<10 {
		t.Error("a number changed that PROTOCOL.md states")
	}
}

func TestFileID(t *testing.T) {
	t.Parallel()
	id := FileID{1, 0xab}
	if got, err := ParseFileID(id.String()); err != nil || got != id {
		t.Errorf("%v, %v", got, err)
	}
	for _, bad := range []string{"0", "zz", id.String() + "00", id.String()[2:]} {
		if _, err := ParseFileID(bad); !errors.Is(err, index.ErrInvalid) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzRequest(f *testing.F) {
	r, _ := messages(f)
	f.Add(payload(func(e *wire.Encoder) { r.encode(e, wire.AllCodecs) }))
	f.Fuzz(func(t *testing.T, p []byte) {
		r, codecs, err := decodeRequest(fields(t, p, kindRequest, requestFields))
		switch {
		case err != nil && !errors.Is(err, wire.ErrMalformed) && !errors.Is(err, wire.ErrVersion):
			t.Fatalf("error of no kind: %v", err)
		case err == nil:
			again, c, err := decodeRequest(fields(t, payload(func(e *wire.Encoder) { r.encode(e, codecs) }), kindRequest, requestFields))
			if err != nil || again != r || c != codecs {
				t.Fatalf("not the same after a round trip: %v", err)
			}
		}
	})
}

func FuzzHeader(f *testing.F) {
	_, h := messages(f)
	f.Add(payload(h.encode))
	f.Fuzz(func(t *testing.T, p []byte) {
		h, err := decodeHeader(fields(t, p, kindHeader, headerFields))
		if err != nil {
			if !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		if h.Size > maxSize || h.offset > h.Size || h.part > maxPart || h.part < minPart || len(h.Record) > index.MaxRecordLen {
			t.Fatal("beyond the limits")
		}
		again, err := decodeHeader(fields(t, payload(h.encode), kindHeader, headerFields))
		if diff := cmp.Diff(h, again, cmp.AllowUnexported(header{})); err != nil || diff != "" {
			t.Fatalf("not the same after a round trip: %v\n%s", err, diff)
		}
	})
}

func FuzzPart(f *testing.F) {
	f.Add(payload(func(e *wire.Encoder) { encodePart(e, 4096, []byte("four")) }), int64(4096), 4)
	f.Add(payload(func(e *wire.Encoder) { encodeEnd(e, 4096) }), int64(4096), 0)
	f.Fuzz(func(t *testing.T, p []byte, at int64, n int) {
		b := make([]byte, min(max(n, 0), 1<<16))
		if err := decodePart(fields(t, p, kindPart, partFields), at, b); err == nil {
			again := make([]byte, len(b))
			err := decodePart(fields(t, payload(func(e *wire.Encoder) { encodePart(e, at, b) }), kindPart, partFields), at, again)
			if err != nil || !bytes.Equal(again, b) {
				t.Fatalf("not the same after a round trip: %v", err)
			}
		} else if !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("error of no kind: %v", err)
		}
		if err := decodeEnd(fields(t, p, kindEnd, endFields), at); err != nil && !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("error of no kind: %v", err)
		}
	})
}
