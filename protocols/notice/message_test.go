package notice

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"flag"
	"os"
	"testing"

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

func testLibrary() Library {
	return Library{ID: index.LibraryID{9}, Secret: sha256.Sum256([]byte("secret"))}
}

// headOf is a head of the nth location of a key's owner, at some seq.
func headOf(tb testing.TB, key ed25519.PrivateKey, n byte, seq int64) index.SignedHead {
	tb.Helper()
	s, err := index.SignHead(index.Head{
		Library: testLibrary().ID, Location: index.Location{Owner: deviceOf(key), ID: index.LocationID{n}},
		Epoch: index.Epoch{Counter: 1, Random: 5}, Seq: seq, Count: 41, NextID: 99, Root: index.Hash{1}, Dead: index.Hash{2},
		Record: index.Hash{3}, AsOf: 1_700_000_000_000_000_000 + seq,
	}, key)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func mustChannel(tb testing.TB, lib Library) *channel {
	tb.Helper()
	c, err := newChannel(lib)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

func TestGolden(t *testing.T) {
	t.Parallel()
	c := mustChannel(t, testLibrary())
	want := BulkIndexComplete{Head: headOf(t, testKey("owner"), 7, 12)}
	nonce := bytes.Repeat([]byte{0x55}, nonceSize)
	got := wiretest.Golden(t, "testdata/notice.txt", *update, []wiretest.Vector{
		{Name: "library", Bytes: c.library[:]},
		{Name: "secret", Bytes: bytes.Clone(func() []byte { s := testLibrary().Secret; return s[:] }())},
		{Name: "topic", Bytes: []byte(c.topic)},
		{Name: "sealed", Bytes: c.sealWith(nonce, &want)},
	})
	b, err := c.open(want.Device(), got["sealed"])
	if err != nil || b != want {
		t.Errorf("%+v, %v", b, err)
	}
	if b.Device() != deviceOf(testKey("owner")) || b.Location().ID != (index.LocationID{7}) || b.Entries() != 41 || b.IndexedAt().Unix() != 1_700_000_000 {
		t.Errorf("%v %v %d %v", b.Device(), b.Location(), b.Entries(), b.IndexedAt())
	}
}

func TestSealed(t *testing.T) {
	t.Parallel()
	key, other := testKey("owner"), testKey("other")
	c := mustChannel(t, testLibrary())
	good := BulkIndexComplete{Head: headOf(t, key, 1, 3)}
	one, two := c.seal(&good), c.seal(&good)
	if len(one) != SealedSize || SealedSize > 300 {
		t.Errorf("%d bytes, SealedSize %d; want at most 300", len(one), SealedSize)
	}
	if bytes.Equal(one[:nonceSize], two[:nonceSize]) {
		t.Error("a nonce was used twice")
	}
	forged := good
	forged.Head.Count++
	foreign := good
	foreign.Head.Library[0]++
	var err error
	if foreign.Head, err = index.SignHead(foreign.Head.Head, key); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string]struct {
		by     index.DeviceID
		sealed []byte
	}{
		"changed":            {deviceOf(key), append(bytes.Clone(one[:40]), append([]byte{one[40] ^ 1}, one[41:]...)...)},
		"by another author":  {deviceOf(other), one},
		"short":              {deviceOf(key), one[:len(one)-1]},
		"long":               {deviceOf(key), append(bytes.Clone(one), 0)},
		"empty":              {deviceOf(key), nil},
		"forged head":        {deviceOf(key), c.seal(&forged)},
		"of another library": {deviceOf(key), c.seal(&foreign)},
		"another's secret":   {deviceOf(key), mustChannel(t, Library{ID: testLibrary().ID}).seal(&good)},
	} {
		if got, err := c.open(b.by, b.sealed); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if got, err := c.open(deviceOf(key), one); err != nil || got != good {
		t.Errorf("%+v, %v", got, err)
	}
	if other := mustChannel(t, Library{ID: testLibrary().ID}); other.topic == c.topic || len(c.topic) != 2*topicSize {
		t.Errorf("topics %q, %q", c.topic, other.topic)
	}
}

func FuzzDecode(f *testing.F) {
	key := testKey("owner")
	head := headOf(f, key, 1, 3)
	b, _ := head.MarshalBinary()
	f.Add(append([]byte{version}, b[headFrom:]...))
	f.Fuzz(func(t *testing.T, plain []byte) {
		b, err := decode(testLibrary().ID, deviceOf(key), plain)
		switch {
		case err == nil && (b.Head.Verify() != nil || b.Device() != deviceOf(key)):
			t.Fatal("unverified")
		case err != nil && !errors.Is(err, wire.ErrMalformed):
			t.Fatalf("error of no kind: %v", err)
		}
	})
}

func FuzzOpen(f *testing.F) {
	key := testKey("owner")
	c, err := newChannel(testLibrary())
	if err != nil {
		f.Fatal(err)
	}
	good := BulkIndexComplete{Head: headOf(f, key, 1, 3)}
	f.Add(c.sealWith(make([]byte, nonceSize), &good))
	f.Fuzz(func(t *testing.T, sealed []byte) {
		if b, err := c.open(deviceOf(key), sealed); err == nil && b != good || err != nil && !errors.Is(err, wire.ErrMalformed) {
			t.Fatalf("%+v, %v", b, err)
		}
	})
}
