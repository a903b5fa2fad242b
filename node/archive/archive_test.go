package archive

import (
	"archive/tar"
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/test/harness"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

// part is what a test puts into a file as one location.
type part struct {
	head     index.SignedHead
	record   []byte
	snapshot []byte
}

var testLibrary = index.LibraryID{7, 7, 7}

func makePart(tb testing.TB, n byte, snapshot []byte) part {
	tb.Helper()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize))
	rec := index.Record{Seq: 1, Name: fmt.Sprintf("folder %d", n), Root: "/mnt/a", Platform: "linux"}
	raw, err := rec.MarshalBinary()
	if err != nil {
		tb.Fatal(err)
	}
	h := index.Head{
		Library: testLibrary, Epoch: index.Epoch{Counter: 1, Random: 5}, Seq: 9, Count: 3, NextID: 5, Record: index.HashRecord(raw), AsOf: 1_700_000_000_000_000_000,
	}
	copy(h.Location.Owner[:], key.Public().(ed25519.PublicKey))
	h.Location.ID = index.LocationID{n}
	head, err := index.SignHead(h, key)
	if err != nil {
		tb.Fatal(err)
	}
	return part{head, raw, snapshot}
}

// samples are three locations: a short snapshot, an empty one, and one of many blocks that hardly shrinks.
func samples(tb testing.TB) []part {
	noise := make([]byte, 700_001)
	x := uint32(1)
	for i := range noise {
		x = x*1664525 + 1013904223
		noise[i] = byte(x >> 24)
	}
	return []part{makePart(tb, 1, []byte("SQLite format 3\x00 and so on")), makePart(tb, 2, nil), makePart(tb, 3, noise)}
}

func manifestOf(parts []part) Manifest {
	m := Manifest{Library: testLibrary}
	for i := range parts {
		m.Locations = append(m.Locations, parts[i].head.Location)
	}
	return m
}

func pack(tb testing.TB, parts []part) []byte {
	tb.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b, manifestOf(parts))
	if err != nil {
		tb.Fatal(err)
	}
	for i := range parts {
		p := &parts[i]
		if err := w.Add(&p.head, p.record, int64(len(p.snapshot)), bytes.NewReader(p.snapshot)); err != nil {
			tb.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return b.Bytes()
}

// read reads a file as far as it goes, and says of each location what became of it, and how the file ended.
func read(src io.Reader) (got []string, err error) {
	r, err := NewReader(src)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	for l, lerr := range r.Locations() {
		if l == nil {
			return got, lerr
		}
		var b []byte
		if lerr == nil {
			b, lerr = io.ReadAll(l)
		}
		switch {
		case lerr != nil:
			got = append(got, kind(lerr))
		default:
			got = append(got, fmt.Sprintf("%s %d %d", l.Record.Name, l.Head.Seq, len(b)))
		}
	}
	return got, nil
}

func kind(err error) string {
	for _, k := range []struct {
		name string
		is   error
	}{
		{"format", ErrFormat}, {"newer", ErrNewer}, {"damaged", ErrDamaged}, {"truncated", ErrTruncated}, {"signature", index.ErrBadSignature},
	} {
		if errors.Is(err, k.is) {
			return k.name
		}
	}
	if err == nil {
		return ""
	}
	return "another: " + err.Error()
}

var wholeSample = []string{"folder 1 9 26", "folder 2 9 0", "folder 3 9 700001"}

func TestRoundTrip(t *testing.T) {
	parts := samples(t)
	b := pack(t, parts)
	r, err := NewReader(iotestOneByte{bytes.NewReader(b)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if d := cmp.Diff(manifestOf(parts), r.Manifest()); d != "" {
		t.Error(d)
	}
	i := 0
	var before *Location
	for l, err := range r.Locations() {
		if err != nil {
			t.Fatal(err)
		}
		if before != nil {
			if n, err := before.Read(make([]byte, 9)); n != 0 || err == nil || errors.Is(err, io.EOF) {
				t.Errorf("a location whose place is passed: %d bytes, %v", n, err)
			}
		}
		got, err := io.ReadAll(l)
		if err != nil || !bytes.Equal(got, parts[i].snapshot) || l.Size != int64(len(got)) {
			t.Errorf("location %d: %d bytes, %v", i, len(got), err)
		}
		if l.Head != parts[i].head || !bytes.Equal(l.Raw, parts[i].record) || l.Ref != l.Head.Location {
			t.Errorf("location %d: %+v", i, l)
		}
		before = l
		i++
	}
	if i != len(parts) {
		t.Errorf("%d locations", i)
	}
}

type iotestOneByte struct{ r io.Reader }

func (o iotestOneByte) Read(p []byte) (int, error) { return o.r.Read(p[:min(1, len(p))]) }

// TestSkipping asks for the locations and reads none of them, or some of one.
func TestSkipping(t *testing.T) {
	b := pack(t, samples(t))
	for _, n := range []int64{0, 1, 26, 300_000} {
		r, err := NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		count := 0
		for l, err := range r.Locations() {
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.CopyN(io.Discard, l, min(n, l.Size)); err != nil {
				t.Fatal(err)
			}
			count++
		}
		if count != 3 {
			t.Errorf("%d locations", count)
		}
		r.Close()
	}
}

// TestGolden compares what is written with a file in testdata, uncompressed, since other versions of the library may
// compress differently; and reads the compressed file that was written once.
func TestGolden(t *testing.T) {
	packed := filepath.Join("testdata", "golden.tar.zst")
	text := filepath.Join("testdata", "golden.txt")
	b := pack(t, samples(t)[:2])
	if *update {
		if err := errors.Join(os.WriteFile(packed, b, 0o644), os.WriteFile(text, []byte(dump(t, b)), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(text)
	if err != nil {
		t.Fatal(err)
	}
	old, err := os.ReadFile(packed)
	if err != nil {
		t.Fatal(err)
	}
	for name, file := range map[string][]byte{"written now": b, "written once": old} {
		if d := cmp.Diff(string(want), dump(t, file)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
		got, err := read(bytes.NewReader(file))
		if d := cmp.Diff(wholeSample[:2], got); d != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, d)
		}
	}
}

// dump shows the archive inside, 32 bytes a line.
func dump(t *testing.T, b []byte) string {
	t.Helper()
	zr, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	defer zr.Close()
	raw, err := zr.DecodeAll(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for i := 0; i < len(raw); i += 32 {
		line := raw[i:min(i+32, len(raw))]
		if bytes.Count(line, []byte{0}) == len(line) {
			continue
		}
		fmt.Fprintf(&out, "%06x %s\n", i, hex.EncodeToString(line))
	}
	fmt.Fprintf(&out, "%06x\n", len(raw))
	return out.String()
}

// TestOrdinaryToolsRead unpacks a file as any program would that knows tar and Zstandard.
func TestOrdinaryToolsRead(t *testing.T) {
	parts := samples(t)
	zr, err := zstd.NewReader(bytes.NewReader(pack(t, parts)))
	if err != nil {
		t.Fatal(err)
	}
	defer zr.Close()
	tr := tar.NewReader(zr)
	var names []string
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
		b, err := io.ReadAll(tr)
		if err != nil || int64(len(b)) != h.Size {
			t.Errorf("%s: %d bytes, %v", h.Name, len(b), err)
		}
		if h.Name == "location-3.db" && !bytes.Equal(b, parts[2].snapshot) {
			t.Error("another snapshot")
		}
	}
	want := []string{"manifest.json", "location-1.head", "location-1.db", "location-2.head", "location-2.db", "location-3.head", "location-3.db"}
	if d := cmp.Diff(want, names); d != "" {
		t.Error(d)
	}
}

// TestLargeSnapshotHeader makes sure that sizes beyond tar's octal field are written and read.
func TestLargeSnapshotHeader(t *testing.T) {
	for _, size := range []int64{0, 1, 8<<30 - 1, 8 << 30, 1 << 50} {
		h, err := header("location-4096.head", size)
		if err != nil || len(h) != block {
			t.Fatalf("%d: %d bytes, %v", size, len(h), err)
		}
		got, err := tar.NewReader(bytes.NewReader(h)).Next()
		if err != nil || got.Size != size {
			t.Errorf("%d: %+v, %v", size, got, err)
		}
	}
}

func TestWriterRefuses(t *testing.T) {
	parts := samples(t)
	m := manifestOf(parts)
	for name, bad := range map[string]Manifest{
		"none": {}, "twice": {Locations: append(m.Locations[:1:1], m.Locations[0])}, "too many": {Locations: make([]index.Location, MaxLocations+1)},
	} {
		if _, err := NewWriter(io.Discard, bad); !errors.Is(err, index.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w, err := NewWriter(io.Discard, m)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); !errors.Is(err, index.ErrInvalid) {
		t.Errorf("closed early: %v", err)
	}
	if err := w.Add(&parts[1].head, parts[1].record, 0, bytes.NewReader(nil)); !errors.Is(err, index.ErrInvalid) {
		t.Errorf("out of order: %v", err)
	}
	if err := w.Add(&parts[0].head, parts[0].record, 10, strings.NewReader("short")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("short: %v", err)
	}
	if err := w.Add(&parts[1].head, parts[1].record, 0, bytes.NewReader(nil)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("after an error: %v", err)
	}
}

// TestMemory reads a location that unpacks to 64 MiB from a few KB, in little memory.
func TestMemory(t *testing.T) {
	const size = 64 << 20
	p := makePart(t, 1, nil)
	var b bytes.Buffer
	w, err := NewWriter(&b, manifestOf([]part{p}))
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add(&p.head, p.record, size, zero{}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	r, err := NewReader(bytes.NewReader(b.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for l, err := range r.Locations() {
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(struct{ io.Writer }{io.Discard}, l); err != nil || n != l.Size {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
	runtime.ReadMemStats(&after)
	if got := after.TotalAlloc - before.TotalAlloc; got > 16<<20 {
		t.Errorf("allocated %d bytes", got)
	}
}

type zero struct{}

func (zero) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
