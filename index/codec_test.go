package index_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"math"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

// golden compares bytes, in the order of names, with lines "name hex" of a file, and returns those by name.
func golden(t *testing.T, file string, names []string, got map[string][]byte) map[string][]byte {
	t.Helper()
	if *update {
		var b strings.Builder
		for _, n := range names {
			b.WriteString(n + " " + hex.EncodeToString(got[n]) + "\n")
		}
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string][]byte{}
	for line := range strings.Lines(string(text)) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		if want[name], err = hex.DecodeString(digits); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range names {
		if !bytes.Equal(want[n], got[n]) {
			t.Errorf("%s changed\n got %x\nwant %x", n, got[n], want[n])
		}
	}
	if len(want) != len(names) {
		t.Errorf("%d vectors in %s, want %d", len(want), file, len(names))
	}
	return want
}

func testKey() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("owner"))
	return ed25519.NewKeyFromSeed(seed[:])
}

func testHead(tb testing.TB, seq int64) index.SignedHead {
	tb.Helper()
	key := testKey()
	s, err := index.SignHead(index.Head{
		Library:  index.LibraryID{1, 2, 3},
		Location: index.Location{Owner: index.DeviceID(key.Public().(ed25519.PublicKey)), ID: index.LocationID{4, 5, 6}},
		Epoch:    index.Epoch{Counter: 1, Random: 0xfedcba9876543210},
		Seq:      seq, Count: 7, NextID: 12, Dead: index.Hash{7}, Record: index.Hash{8}, AsOf: 1_700_000_000_123_456_789,
	}, key)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func testRecord() index.Record {
	return index.Record{Seq: 3, Name: "Büro", Root: "/srv/files", Filesystem: "ext4:1234", Platform: "linux", Retired: index.Archived}
}

// tokens are one of each shape.
func tokens(tb testing.TB) map[string]index.Token {
	base, floor := testHead(tb, 40), testHead(tb, 42)
	full := index.NewFull(base.Location, base.Epoch)
	middle := full
	middle.Position, middle.Base, middle.Floor = 9, base.Head, floor.Head
	delta := index.NewDelta(base.Head)
	delta.Position, delta.Floor, delta.Dead = 41, floor.Head, index.Hash{9}
	return map[string]index.Token{"token-new": full, "token-full": middle, "token-delta": delta}
}

func TestCanonicalBytes(t *testing.T) {
	t.Parallel()
	head, record := testHead(t, 42), testRecord()
	entry := index.Entry{ID: 5, Parent: 1, Name: "caf\xe9", Kind: index.KindFile, Size: 1 << 40, MTime: -1, Mode: 0o644,
		Hash: []byte{1, 2}, Attrs: []byte{}, Seq: 9}
	run := index.DeadRun{Seq: 6, Lo: 2, Hi: 70_000}
	chain := proof.FoldDead(index.Hash{}, run)
	signed, _ := head.MarshalBinary()
	rec, err := record.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]byte{
		"row": entry.AppendRow(nil), "dead-run": run.AppendBytes(nil), "dead-chain-1": chain[:],
		"head": head.AppendBytes(nil), "signed-head": signed, "record": rec,
	}
	second := proof.FoldDead(chain, index.DeadRun{Seq: 8, Lo: 4, Hi: 4})
	got["dead-chain-2"] = second[:]
	for name, tok := range tokens(t) {
		if got[name], err = tok.MarshalBinary(); err != nil {
			t.Fatal(err)
		}
	}
	want := golden(t, "testdata/canonical.txt", []string{
		"row", "dead-run", "dead-chain-1", "dead-chain-2", "head", "signed-head", "record", "token-new", "token-full", "token-delta",
	}, got)

	var h index.SignedHead
	if err := h.UnmarshalBinary(want["signed-head"]); err != nil || h != head || h.Verify() != nil {
		t.Errorf("head: %v %v", err, h.Verify())
	}
	var r index.Record
	if err := r.UnmarshalBinary(want["record"]); err != nil || r != record {
		t.Errorf("record: %v %s", err, cmp.Diff(record, r))
	}
	for name, tok := range tokens(t) {
		var back index.Token
		if err := back.UnmarshalBinary(want[name]); err != nil || back != tok {
			t.Errorf("%s: %v %s", name, err, cmp.Diff(tok, back))
		}
	}
	if len(want["signed-head"]) != index.SignedHeadSize || len(want["head"]) != index.HeadSize {
		t.Error("a head has another size than said")
	}
}

// TestCutAndTrailing reads each form cut at every byte, and with a byte too many.
func TestCutAndTrailing(t *testing.T) {
	t.Parallel()
	head, record := testHead(t, 42), testRecord()
	signed, _ := head.MarshalBinary()
	rec, _ := record.MarshalBinary()
	try := func(name string, b []byte, read func(b []byte) error) {
		for n := range b {
			if read(b[:n]) == nil {
				t.Errorf("%s cut to %d of %d bytes was taken", name, n, len(b))
			}
		}
		if read(append(bytes.Clone(b), 0)) == nil {
			t.Errorf("%s with a byte too many was taken", name)
		}
		other := bytes.Clone(b)
		other[0] = 2
		if read(other) == nil {
			t.Errorf("%s of version 2 was taken", name)
		}
		if err := read(b); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	try("head", signed, func(b []byte) error { return new(index.SignedHead).UnmarshalBinary(b) })
	try("record", rec, func(b []byte) error { return new(index.Record).UnmarshalBinary(b) })
	for name, tok := range tokens(t) {
		b, _ := tok.MarshalBinary()
		try(name, b, func(b []byte) error { return new(index.Token).UnmarshalBinary(b) })
	}
}

// TestSignatureCoversAll flips every bit of a signed head.
func TestSignatureCoversAll(t *testing.T) {
	t.Parallel()
	head := testHead(t, 42)
	signed, _ := head.MarshalBinary()
	for i := range 8 * len(signed) {
		b := bytes.Clone(signed)
		b[i/8] ^= 1 << (i % 8)
		var h index.SignedHead
		if h.UnmarshalBinary(b) == nil && h.Verify() == nil {
			t.Errorf("bit %d is not covered", i)
		}
	}
}

func TestBadTokens(t *testing.T) {
	t.Parallel()
	for name, brk := range map[string]func(k *index.Token){
		"no mode":               func(k *index.Token) { k.Mode = 0 },
		"mode 3":                func(k *index.Token) { k.Mode = 3 },
		"position negative":     func(k *index.Token) { k.Position = -1 },
		"position too high":     func(k *index.Token) { k.Position = index.MaxSeq + 1 },
		"position below base":   func(k *index.Token) { k.Position = k.Base.Seq - 1 },
		"floor below base":      func(k *index.Token) { k.Base, k.Floor = k.Floor, k.Base },
		"no base":               func(k *index.Token) { k.Base = index.Head{} },
		"no floor":              func(k *index.Token) { k.Floor = index.Head{} },
		"full, no base":         func(k *index.Token) { k.Mode, k.Base, k.Floor = index.ModeFull, index.Head{}, index.Head{} },
		"base of another epoch": func(k *index.Token) { k.Base.Epoch.Random++ },
		"floor elsewhere":       func(k *index.Token) { k.Floor.Location.ID[0]++ },
		"base is no head":       func(k *index.Token) { k.Base.Count = 0 },
	} {
		tok := tokens(t)["token-delta"]
		brk(&tok)
		b, _ := tok.MarshalBinary()
		if err := new(index.Token).UnmarshalBinary(b); !errors.Is(err, index.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBadHeads(t *testing.T) {
	t.Parallel()
	for name, brk := range map[string]func(h *index.Head){
		"epoch 0":              func(h *index.Head) { h.Epoch.Counter = 0 },
		"epoch too high":       func(h *index.Head) { h.Epoch.Counter = math.MaxUint64 },
		"seq 0":                func(h *index.Head) { h.Seq = 0 },
		"seq too high":         func(h *index.Head) { h.Seq = index.MaxSeq + 1 },
		"no ids":               func(h *index.Head) { h.NextID = 1 },
		"ids too high":         func(h *index.Head) { h.NextID = index.MaxID + 2 },
		"empty":                func(h *index.Head) { h.Count = 0 },
		"more rows than ids":   func(h *index.Head) { h.Count = h.NextID },
		"more rows than sense": func(h *index.Head) { h.Count, h.NextID = index.MaxCount+1, index.MaxID },
		"before 1970":          func(h *index.Head) { h.AsOf = -1 },
	} {
		h := testHead(t, 42).Head
		brk(&h)
		if _, err := index.SignHead(h, testKey()); !errors.Is(err, index.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	h := testHead(t, 42).Head
	h.Location.Owner[0]++
	if _, err := index.SignHead(h, testKey()); !errors.Is(err, index.ErrInvalid) {
		t.Errorf("signed for another owner: %v", err)
	}
}

func FuzzSignedHead(f *testing.F) {
	head := testHead(f, 42)
	b, _ := head.MarshalBinary()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var h index.SignedHead
		if h.UnmarshalBinary(b) != nil {
			return
		}
		if again, _ := h.MarshalBinary(); !bytes.Equal(again, b) {
			t.Fatal("two encodings of one head")
		}
	})
}

func FuzzRecord(f *testing.F) {
	r := testRecord()
	b, _ := r.MarshalBinary()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var r index.Record
		if r.UnmarshalBinary(b) != nil {
			return
		}
		if again, err := r.MarshalBinary(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("two encodings of one record: %v", err)
		}
	})
}

func FuzzToken(f *testing.F) {
	for _, tok := range tokens(f) {
		b, _ := tok.MarshalBinary()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var tok index.Token
		if tok.UnmarshalBinary(b) != nil {
			return
		}
		if again, err := tok.MarshalBinary(); err != nil || !bytes.Equal(again, b) {
			t.Fatalf("two encodings of one token: %v", err)
		}
	})
}
