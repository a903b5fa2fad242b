package wire

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/test/harness"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// goroot is the Go installation's folder: real names for benchmarks.
func goroot(tb testing.TB) string {
	tb.Helper()
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		tb.Skip("no go command:", err)
	}
	return strings.TrimSpace(string(out))
}

// memStream is a stream with all its input there, that keeps its output.
type memStream struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func newMemStream(in []byte) *memStream { return &memStream{in: bytes.NewReader(in)} }

func (m *memStream) Read(p []byte) (int, error)       { return m.in.Read(p) }
func (m *memStream) Write(p []byte) (int, error)      { return m.out.Write(p) }
func (m *memStream) Close() error                     { return nil }
func (m *memStream) Reset() error                     { return nil }
func (m *memStream) SetReadDeadline(time.Time) error  { return nil }
func (m *memStream) SetWriteDeadline(time.Time) error { return nil }

// testKey is a device's key that is the same in every run.
func testKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func testHead(tb testing.TB) index.SignedHead {
	tb.Helper()
	key := testKey("owner")
	h := index.Head{
		Library:  index.LibraryID{1, 2, 3},
		Location: index.Location{Owner: index.DeviceID(key.Public().(ed25519.PublicKey)), ID: index.LocationID{4, 5, 6}},
		Epoch:    index.Epoch{Counter: 1, Random: 0xfedcba9876543210},
		Seq:      42, Count: 7, NextID: 12, Dead: index.Hash{7}, Record: index.Hash{8}, AsOf: 1_700_000_000_123_456_789,
	}
	s, err := index.SignHead(h, key)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

// testRows has the edges of every field.
func testRows() []index.Entry {
	return []index.Entry{
		{ID: 1, Kind: index.KindDir, Mode: 0o755, MTime: 1_700_000_000_000_000_000, Seq: 1},
		{ID: 2, Parent: 1, Name: "a", Kind: index.KindFile, Seq: 2},
		{ID: 3, Parent: 1, Name: "caf\u00e9 \xff\xfe\n\x1b", Kind: index.KindSymlink, Size: 127, MTime: -1, Mode: 0o777, Seq: 3},
		{ID: index.MaxID, Parent: index.MaxID - 1, Name: strings.Repeat("n", index.MaxNameLen), Kind: index.KindOther,
			Size: math.MaxInt64, MTime: math.MinInt64, Mode: 0o7777, Hash: bytes.Repeat([]byte{0xab}, index.MaxHashLen),
			Attrs: bytes.Repeat([]byte{0xcd}, index.MaxAttrsLen), Seq: index.MaxSeq},
		{ID: 70_000, Parent: 300, Name: "...", Kind: index.KindFile, Size: 1 << 40, MTime: math.MaxInt64, Hash: []byte{},
			Attrs: []byte{}, Seq: 1 << 33},
	}
}

// frame returns what Conn sends for a payload.
func frame(tb testing.TB, payload []byte, c Codec) []byte {
	tb.Helper()
	m := newMemStream(nil)
	conn := NewConn(m, Config{})
	conn.enc.Reset()
	conn.enc.buf.Write(payload)
	if err := conn.Send(c); err != nil {
		tb.Fatal(err)
	}
	return m.out.Bytes()
}

func isMalformed(err error) bool {
	return errors.Is(err, ErrMalformed) || errors.Is(err, io.ErrUnexpectedEOF)
}
