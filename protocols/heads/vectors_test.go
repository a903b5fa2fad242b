package heads

import (
	"bytes"
	"errors"
	"flag"
	"slices"
	"testing"

	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

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
	all := newList(list)
	g := greeting{Hello: Hello{Software: "peerdex/0.1.0"}, members: digestRecords([][]byte{{1, 2}, {3}}), heads: all.digest()}
	return []wiretest.Vector{
		{Name: "hello", Bytes: sent(tb, func(c *wire.Conn) error { return sendGreeting(c, g) })},
		{Name: "records", Bytes: sent(tb, func(c *wire.Conn) error { return c.SendBlobs(kindRecords, [][]byte{{1, 2}, {3}}) })},
		{Name: "known-all", Bytes: sent(tb, func(c *wire.Conn) error { return sendKnown(c, true, nil) })},
		{Name: "known", Bytes: sent(tb, func(c *wire.Conn) error { return sendKnown(c, false, all.tags()) })},
		{Name: "heads", Bytes: sent(tb, func(c *wire.Conn) error { return sendHeads(c, list, []int{0, 3}) })},
		{Name: "no-heads", Bytes: sent(tb, func(c *wire.Conn) error { return sendHeads(c, nil, nil) })},
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	got := wiretest.Golden(t, "testdata/heads.txt", *update, vectors(t))
	list := newList([]Announced{announced(t, testKey("a"), 4, 10), announced(t, testKey("a"), 5, 0)})
	g, err := decodeGreeting(fields(got["hello"], kindHello, helloFields))
	if err != nil || g.Software != "peerdex/0.1.0" || g.members.n != 2 || g.heads != list.digest() {
		t.Errorf("hello: %v, %v", g, err)
	}
	same, tags, err := decodeKnown(fields(got["known"], kindKnown, knownFields))
	if news, gone := list.against(tags); err != nil || same || len(news)+len(gone) > 0 {
		t.Errorf("known: %v, %x, %v", same, tags, err)
	}
	if same, _, err := decodeKnown(fields(got["known-all"], kindKnown, knownFields)); err != nil || !same {
		t.Errorf("all known: %v, %v", same, err)
	}
	p, err := decodeHeads(fields(got["heads"], kindHeads, headsFields), MaxHeads, 4)
	if d := diff(list.heads, p.heads) + diff([]int{0, 3}, p.gone); err != nil || !p.last || d != "" {
		t.Errorf("heads: %v, %v %s", p.last, err, d)
	}
}

func FuzzMessages(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Bytes)
	}
	malformed := func(t *testing.T, err error, also ...error) {
		t.Helper()
		for _, ok := range append(also, nil, wire.ErrMalformed) {
			if errors.Is(err, ok) {
				return
			}
		}
		t.Fatalf("error of no kind: %v", err)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		_, err := decodeGreeting(fields(p, kindHello, helloFields))
		malformed(t, err, wire.ErrVersion)
		_, tags, err := decodeKnown(fields(p, kindKnown, knownFields))
		if malformed(t, err); err == nil && (len(tags)%tagSize != 0 || len(tags) > MaxHeads*tagSize) {
			t.Fatalf("%d bytes of tags", len(tags))
		}
		part, err := decodeHeads(fields(p, kindHeads, headsFields), MaxHeads, 4)
		malformed(t, err)
		for i := range part.heads {
			if err == nil && part.heads[i].verify() != nil {
				t.Fatal("unverified")
			}
		}
		if err == nil && (len(part.gone) > 4 || !slices.IsSorted(part.gone)) {
			t.Fatalf("gone %v", part.gone)
		}
	})
}
