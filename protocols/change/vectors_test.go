package change

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

func payload(c *StateChange) []byte {
	e := wire.NewEncoder()
	c.encode(e)
	return bytes.Clone(e.Payload())
}

// read decodes a whole message.
func read(p []byte) (*StateChange, error) {
	d := wire.NewDecoder()
	d.Reset(p)
	d.Array(changeFields + 1)
	d.Int(kindChange, kindChange)
	return decode(d)
}

func vectors(tb testing.TB) []wiretest.Vector {
	whole, small := sample(tb), sample(tb)
	small.Record, small.Rows, small.Dead = nil, small.Rows[:1], nil
	return []wiretest.Vector{{Name: "change", Bytes: payload(whole)}, {Name: "one-row", Bytes: payload(small)}}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	got := wiretest.Golden(t, "testdata/change.txt", *update, vectors(t))
	c, err := read(got["change"])
	if err != nil || c.Head.Verify() != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sample(t), c); d != "" {
		t.Error(d)
	}
}

func FuzzChange(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(v.Bytes)
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		c, err := read(p)
		if err != nil {
			if !errors.Is(err, wire.ErrMalformed) && !errors.Is(err, wire.ErrVersion) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		if c.Changes() > MaxChanges || c.check() != nil {
			t.Fatal("beyond the limits")
		}
		again, err := read(payload(c))
		if err != nil {
			t.Fatalf("not the same after a round trip: %v", err)
		}
		if d := cmp.Diff(c, again); d != "" {
			t.Fatal(d)
		}
		for _, from := range []int64{c.Base, c.Head.Seq - 1} {
			if p := c.Page(from); p.UpTo != c.Head.Seq {
				t.Fatal(p.UpTo)
			}
		}
	})
}
