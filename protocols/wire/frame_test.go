package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
)

func TestFrameRoundTrip(t *testing.T) {
	t.Parallel()
	sizes := []int{1, 2, 126, 127, 128, minCompress - 1, minCompress, minCompress + 1, 16_382, 16_383, 16_384, 300_000,
		MaxFrame - 1}
	random := make([]byte, MaxFrame)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	for _, codec := range []Codec{CodecNone, CodecZstd, CodecGzip, CodecS2} {
		for _, n := range sizes {
			for name, p := range map[string][]byte{"random": random[:n], "zeros": make([]byte, n)} {
				b := frame(t, p, codec)
				if name == "random" && len(b) > n+1+maxLengthSize {
					t.Errorf("codec %d: %d random bytes take %d", codec, n, len(b))
				}
				c := NewConn(newMemStream(b), Config{})
				got, err := c.readFrame(IdleTimeout)
				if err != nil || !bytes.Equal(got, p) {
					t.Fatalf("codec %d, %d %s bytes: got %d bytes, %v", codec, n, name, len(got), err)
				}
				if _, err := c.readFrame(IdleTimeout); err != io.EOF {
					t.Errorf("after the frame: %v, want EOF", err)
				}
				if c.BytesIn() != int64(len(b)) {
					t.Errorf("counted %d bytes of %d", c.BytesIn(), len(b))
				}
			}
		}
	}
	big := frame(t, make([]byte, MaxPayload), CodecZstd)
	if got, err := NewConn(newMemStream(big), Config{}).readFrame(IdleTimeout); err != nil || len(got) != MaxPayload {
		t.Errorf("largest payload: %d bytes, %v", len(got), err)
	}
}

func TestSendRefusesBeyondLimits(t *testing.T) {
	t.Parallel()
	m := newMemStream(nil)
	c := NewConn(m, Config{})
	for n, codec := range map[int]Codec{MaxFrame: CodecNone, MaxPayload + 1: CodecZstd} {
		c.enc.Reset()
		c.enc.buf.Write(make([]byte, n))
		if err := c.Send(codec); err == nil || m.out.Len() > 0 {
			t.Errorf("%d bytes with codec %d were sent: %v", n, codec, err)
		}
	}
}

// rawFrame puts a length and a codec before bytes, whatever they are.
func rawFrame(codec Codec, b []byte) []byte {
	return append(append(binary.AppendUvarint(nil, uint64(len(b)+1)), byte(codec)), b...)
}

func gzipped(b []byte) []byte {
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write(b)
	_ = w.Close()
	return z.Bytes()
}

func zstdBomb(tb testing.TB, size int) []byte {
	tb.Helper()
	var z bytes.Buffer
	w, err := zstd.NewWriter(&z, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		tb.Fatal(err)
	}
	zero := make([]byte, 1<<20)
	for range size / len(zero) {
		_, _ = w.Write(zero)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return z.Bytes()
}

// hostileFrames are inputs that must end in an error.
func hostileFrames(tb testing.TB) map[string][]byte {
	tb.Helper()
	good := frame(tb, bytes.Repeat([]byte("peerdex "), 200), CodecZstd)
	whole, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		tb.Fatal(err)
	}
	return map[string][]byte{
		"length zero":              {0},
		"length padded":            {0x81, 0x00, 0x00},
		"length of four bytes":     {0xff, 0xff, 0xff, 0x00},
		"length without end":       bytes.Repeat([]byte{0xff}, 16),
		"length above the limit":   append(binary.AppendUvarint(nil, MaxFrame+1), make([]byte, MaxFrame+1)...),
		"cut in the length":        {0x80},
		"cut after the length":     {0x05},
		"cut in the payload":       good[:len(good)-1],
		"unknown codec":            rawFrame(4, []byte("x")),
		"codec 255":                rawFrame(255, []byte("x")),
		"zstd of nothing":          rawFrame(CodecZstd, []byte("not zstd")),
		"zstd window of 2 GiB":     rawFrame(CodecZstd, []byte{0x28, 0xB5, 0x2F, 0xFD, 0x00, 0xA8, 0x03, 0, 0, 0, 0, 0}),
		"zstd claims 4 GiB":        rawFrame(CodecZstd, []byte{0x28, 0xB5, 0x2F, 0xFD, 0xA0, 0xff, 0xff, 0xff, 0xff, 0x03, 0, 0}),
		"zstd bomb of 512 MiB":     rawFrame(CodecZstd, zstdBomb(tb, 512<<20)),
		"zstd bomb of two parts":   rawFrame(CodecZstd, bytes.Repeat(whole.EncodeAll(make([]byte, 3<<20), nil), 2)),
		"zstd with trailing bytes": rawFrame(CodecZstd, append(whole.EncodeAll([]byte("x"), nil), "garbage"...)),
		"gzip of nothing":          rawFrame(CodecGzip, []byte("not gzip")),
		"gzip bomb":                rawFrame(CodecGzip, gzipped(make([]byte, 64<<20))),
		"gzip of two members":      rawFrame(CodecGzip, append(gzipped([]byte("a")), gzipped([]byte("b"))...)),
		"gzip with trailing bytes": rawFrame(CodecGzip, append(gzipped([]byte("a")), 0)),
		"s2 of nothing":            rawFrame(CodecS2, []byte{0xff, 0xff}),
		"s2 claims 4 GiB":          rawFrame(CodecS2, append(binary.AppendUvarint(nil, 1<<32-1), 0, 0)),
		"s2 claims 4 MiB and 1":    rawFrame(CodecS2, append(binary.AppendUvarint(nil, MaxPayload+1), 0, 0)),
		"s2 claims too much":       rawFrame(CodecS2, append(binary.AppendUvarint(nil, 1000), s2.Encode(nil, []byte("x"))[1:]...)),
	}
}

func TestHostileFrames(t *testing.T) {
	// Not parallel: it measures what the process allocates.
	for name, b := range hostileFrames(t) {
		c := NewConn(newMemStream(b), Config{})
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		p, err := c.readFrame(IdleTimeout)
		runtime.ReadMemStats(&after)
		if !isMalformed(err) {
			t.Errorf("%s: %d bytes, error %v", name, len(p), err)
		}
		// The frame, its payload in every size it grew through, and a decompressor.
		if got, limit := after.TotalAlloc-before.TotalAlloc, uint64(MaxFrame+8*MaxPayload); got > limit {
			t.Errorf("%s: allocated %d bytes, limit %d", name, got, limit)
		}
	}
}

func TestRestrict(t *testing.T) {
	t.Parallel()
	packed := frame(t, make([]byte, 4096), CodecZstd)
	c := NewConn(newMemStream(packed), Config{})
	c.Restrict(4096, Plain)
	if _, err := c.readFrame(IdleTimeout); !isMalformed(err) {
		t.Errorf("a packed frame where none is allowed: %v", err)
	}
	for n, ok := range map[int]bool{4095: true, 4096: false} {
		c := NewConn(newMemStream(frame(t, make([]byte, n), CodecNone)), Config{})
		c.Restrict(4096, Plain)
		if _, err := c.readFrame(IdleTimeout); (err == nil) != ok {
			t.Errorf("payload of %d bytes: %v", n, err)
		}
	}
}

func TestBadStreamIsNotMalformed(t *testing.T) {
	t.Parallel()
	c := NewConn(brokenStream{newMemStream(nil)}, Config{})
	if _, err := c.readFrame(IdleTimeout); !errors.Is(err, errBroken) || errors.Is(err, ErrMalformed) {
		t.Errorf("read: %v", err)
	}
	c.Begin(1, 0)
	if err := c.Send(CodecNone); !errors.Is(err, errBroken) {
		t.Errorf("write: %v", err)
	}
}

var errBroken = errors.New("broken")

type brokenStream struct{ *memStream }

func (brokenStream) Read([]byte) (int, error)  { return 0, errBroken }
func (brokenStream) Write([]byte) (int, error) { return 0, errBroken }

func FuzzFrame(f *testing.F) {
	for _, c := range []Codec{CodecNone, CodecZstd, CodecGzip, CodecS2} {
		f.Add(frame(f, bytes.Repeat([]byte("peerdex "), 100), c))
	}
	f.Add([]byte{0x02, 0x00, 0xc0})
	f.Add([]byte{0xff, 0xff, 0x7f, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		c := NewConn(newMemStream(b), Config{})
		for {
			p, err := c.readFrame(IdleTimeout)
			if err != nil {
				if err != io.EOF && !isMalformed(err) {
					t.Fatalf("error of no kind: %v", err)
				}
				return
			}
			if len(p) > MaxPayload || cap(p) > 3*MaxPayload {
				t.Fatalf("payload of %d bytes in %d", len(p), cap(p))
			}
			if len(p) >= MaxFrame {
				continue
			}
			again := frame(t, p, CodecZstd)
			if got, err := NewConn(newMemStream(again), Config{}).readFrame(IdleTimeout); err != nil || !bytes.Equal(got, p) {
				t.Fatalf("not the same after a round trip: %v", err)
			}
		}
	})
}
