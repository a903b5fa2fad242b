package membership_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/membership"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

const vectors = "testdata/records.txt"

func testKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func device(name string) index.DeviceID {
	return index.DeviceID(testKey(name).Public().(ed25519.PublicKey))
}

func genesis(tb testing.TB, name string) membership.Record {
	tb.Helper()
	r, err := membership.NewGenesis(testKey(name), name, time.Unix(1_700_000_000, 0))
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// add lets by take in who.
func add(tb testing.TB, lib index.LibraryID, by, who string, own ...membership.Record) membership.Record {
	tb.Helper()
	r, err := membership.NewAdd(testKey(by), lib, own, device(who), who, time.Unix(1_700_000_001, 0))
	if err != nil {
		tb.Fatal(err)
	}
	return r
}

// TestGolden reads records that were written once; their nonces are random, so they can't be written the same again.
func TestGolden(t *testing.T) {
	t.Parallel()
	if *update {
		g := genesis(t, "nas")
		a := add(t, g.LibraryID(), "nas", "laptop", g)
		lib := g.LibraryID()
		var b strings.Builder
		for name, r := range map[string]membership.Record{"genesis": g, "add": a} {
			raw, _ := r.MarshalBinary()
			b.WriteString(name + " " + hex.EncodeToString(raw) + "\n")
		}
		b.WriteString("library " + lib.String() + "\n")
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(vectors, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(vectors)
	if err != nil {
		t.Fatal(err)
	}
	raw := map[string][]byte{}
	for line := range strings.Lines(string(text)) {
		name, digits, _ := strings.Cut(strings.TrimSpace(line), " ")
		if raw[name], err = hex.DecodeString(digits); err != nil {
			t.Fatal(err)
		}
	}
	var g, a membership.Record
	if err := errors.Join(g.UnmarshalBinary(raw["genesis"]), a.UnmarshalBinary(raw["add"])); err != nil {
		t.Fatal(err)
	}
	lib := g.LibraryID()
	if !bytes.Equal(lib[:], raw["library"]) {
		t.Errorf("library %v, want %x", lib, raw["library"])
	}
	s, err := membership.Evaluate([]membership.Record{a, g})
	if err != nil || s.Library != lib || s.Len() != 2 {
		t.Fatalf("%d members of %v: %v", s.Len(), s.Library, err)
	}
	want := membership.Member{Device: device("laptop"), Name: "laptop", AddedBy: device("nas"), Depth: 1, Time: 1_700_000_001_000_000_000}
	if m, _ := s.Member(device("laptop")); m != want {
		t.Error(cmp.Diff(want, m))
	}
	if a.Counter != 2 || a.Prev != g.Hash() {
		t.Errorf("the second record of its author: counter %d, after %v", a.Counter, a.Prev)
	}
	for name, r := range map[string]membership.Record{"genesis": g, "add": a} {
		if again, _ := r.MarshalBinary(); !bytes.Equal(again, raw[name]) {
			t.Errorf("%s is written differently", name)
		}
	}
}

func TestRecordIsCovered(t *testing.T) {
	t.Parallel()
	g := genesis(t, "nas")
	a := add(t, g.LibraryID(), "nas", "laptop", g)
	for _, r := range []membership.Record{g, a} {
		b, _ := r.MarshalBinary()
		for i := range 8 * len(b) {
			c := bytes.Clone(b)
			c[i/8] ^= 1 << (i % 8)
			if new(membership.Record).UnmarshalBinary(c) == nil {
				t.Errorf("kind %d: bit %d is not covered", r.Kind, i)
			}
		}
		for n := range b {
			if new(membership.Record).UnmarshalBinary(b[:n]) == nil {
				t.Errorf("kind %d: cut to %d bytes it was taken", r.Kind, n)
			}
		}
		if new(membership.Record).UnmarshalBinary(append(bytes.Clone(b), 0)) == nil {
			t.Errorf("kind %d: a byte too many was taken", r.Kind)
		}
	}
}

func TestEvaluate(t *testing.T) {
	t.Parallel()
	g, other := genesis(t, "a"), genesis(t, "x")
	lib := g.LibraryID()
	ab, bc := add(t, lib, "a", "b", g), add(t, lib, "b", "c")
	ac := add(t, lib, "a", "c", g, ab)
	stranger := add(t, lib, "z", "y")
	for name, c := range map[string]struct {
		records []membership.Record
		want    string // names of the members by depth; "" = an error
	}{
		"alone":              {[]membership.Record{g}, "a0"},
		"chain":              {[]membership.Record{bc, ab, g}, "a0 b1 c2"},
		"nearest counts":     {[]membership.Record{bc, ac, ab, g}, "a0 b1 c1"},
		"link missing":       {[]membership.Record{bc, g}, "a0"},
		"by a stranger":      {[]membership.Record{g, stranger}, "a0"},
		"twice the same":     {[]membership.Record{g, ab, ab, g}, "a0 b1"},
		"nothing":            {nil, ""},
		"no genesis":         {[]membership.Record{ab}, ""},
		"two libraries":      {[]membership.Record{g, other}, ""},
		"of another library": {[]membership.Record{other, ab}, ""},
	} {
		for range 6 { // in any order
			rand.Shuffle(len(c.records), func(i, j int) { c.records[i], c.records[j] = c.records[j], c.records[i] })
			s, err := membership.Evaluate(c.records)
			if (err != nil) != (c.want == "") {
				t.Fatalf("%s: %v", name, err)
			}
			names := map[string]int{}
			for _, m := range s.Members() {
				names[m.Name] = m.Depth
			}
			want := map[string]int{}
			for _, f := range strings.Fields(c.want) {
				want[f[:1]] = int(f[1] - '0')
			}
			if diff := cmp.Diff(want, names); diff != "" {
				t.Fatalf("%s: %s", name, diff)
			}
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for name, ok := range map[string]bool{
		"nas": true, "Büro 2": true, strings.Repeat("n", 63): true, "": false, strings.Repeat("n", 64): false, " nas": false, "nas ": false,
		"a/b": false, "a:b": false, `a\b`: false, "a\nb": false, "\xff": false, "a\x7f": false,
	} {
		if err := membership.ValidName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func FuzzRecord(f *testing.F) {
	g := genesis(f, "nas")
	a := add(f, g.LibraryID(), "nas", "laptop", g)
	for _, r := range []membership.Record{g, a} {
		b, _ := r.MarshalBinary()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var r membership.Record
		if r.UnmarshalBinary(b) != nil {
			return
		}
		if again, _ := r.MarshalBinary(); !bytes.Equal(again, b) {
			t.Fatal("two encodings of one record")
		}
	})
}
