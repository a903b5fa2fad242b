package wire

import (
	"bytes"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

func TestColumns(t *testing.T) {
	t.Parallel()
	rows := testRows()
	last := index.Entry{ID: index.MaxID, Parent: 1, Name: "z", Kind: index.KindOther, Size: math.MaxInt64, MTime: math.MinInt64, Mode: 0o7777, Seq: index.MaxSeq}
	backward := slices.Clone(append(rows, last))
	slices.Reverse(backward)
	for name, want := range map[string][]index.Entry{"none": {}, "some": rows, "extremes, and backwards": backward} {
		d := NewDecoder()
		d.Reset(encoded(func(e *Encoder) { e.Columns(want) }))
		before := []index.Entry{{ID: 7}}
		got := d.Columns(before, MaxRows)
		if diff := cmp.Diff(append(before, want...), got); d.Close() != nil || diff != "" {
			t.Errorf("%s: %v %s", name, d.Err(), diff)
		}
	}
	e := NewEncoder()
	e.Columns(backward)
	e.Reset()
	e.Columns(rows)
	wiretest.Golden(t, "testdata/columns.txt", *update, []wiretest.Vector{{Name: "columns", Bytes: bytes.Clone(e.Payload())}})
}

// TestBadColumns changes one thing of columns that are right.
func TestBadColumns(t *testing.T) {
	t.Parallel()
	one := index.Entry{ID: 2, Parent: 1, Name: "n", Kind: index.KindFile, Mode: 0o644, Seq: 5}
	good := func() (int, [columnCount][]byte) {
		e := NewEncoder()
		e.Columns([]index.Entry{one})
		return 1, e.cols
	}
	many := bytes.Repeat([]byte{0xff}, 11)
	for name, edit := range map[string]func(n *int, c *[columnCount][]byte){
		"a row more": func(n *int, _ *[columnCount][]byte) { *n = 2 },
		"a row less": func(n *int, _ *[columnCount][]byte) { *n = 0 },
		"beyond the limit": func(n *int, c *[columnCount][]byte) {
			*n = 3
			c[colKinds], c[colMTimes] = make([]byte, 3), make([]byte, 24)
		},
		"no id":               func(_ *int, c *[columnCount][]byte) { c[colIDs] = nil },
		"id 0":                func(_ *int, c *[columnCount][]byte) { c[colIDs] = []byte{0} },
		"long number":         func(_ *int, c *[columnCount][]byte) { c[colIDs] = many },
		"two ids":             func(_ *int, c *[columnCount][]byte) { c[colIDs] = append(c[colIDs], 2) },
		"parent below 0":      func(_ *int, c *[columnCount][]byte) { c[colParents] = []byte{1} },
		"its own parent":      func(_ *int, c *[columnCount][]byte) { c[colParents] = []byte{4} },
		"name without an end": func(_ *int, c *[columnCount][]byte) { c[colNames] = []byte("n") },
		"no name":             func(_ *int, c *[columnCount][]byte) { c[colNames] = []byte{0} },
		"two names":           func(_ *int, c *[columnCount][]byte) { c[colNames] = []byte("n\x00m\x00") },
		"name with a slash":   func(_ *int, c *[columnCount][]byte) { c[colNames] = []byte("a/b\x00") },
		"kind 9":              func(_ *int, c *[columnCount][]byte) { c[colKinds] = []byte{9} },
		"size above 2^63":     func(_ *int, c *[columnCount][]byte) { c[colSizes] = append(bytes.Repeat([]byte{0xff}, 9), 1) },
		"half a time":         func(_ *int, c *[columnCount][]byte) { c[colMTimes] = c[colMTimes][:4] },
		"mode too large":      func(_ *int, c *[columnCount][]byte) { c[colModes] = []byte{0xff, 0xff, 0xff, 0xff, 0x7f} },
		"hash cut short":      func(_ *int, c *[columnCount][]byte) { c[colBlobs] = []byte{5, 1, 0} },
		"hash too long":       func(_ *int, c *[columnCount][]byte) { c[colBlobs] = append(append([]byte{66}, make([]byte, 65)...), 0) },
		"no attrs":            func(_ *int, c *[columnCount][]byte) { c[colBlobs] = []byte{0} },
		"a third blob":        func(_ *int, c *[columnCount][]byte) { c[colBlobs] = []byte{0, 0, 0} },
		"seq 0":               func(_ *int, c *[columnCount][]byte) { c[colSeqs] = []byte{0} },
	} {
		n, c := good()
		edit(&n, &c)
		d := NewDecoder()
		d.Reset(encoded(func(e *Encoder) {
			e.Array(columnFields)
			e.Int(int64(n))
			for _, b := range c {
				e.Bytes(b)
			}
		}))
		d.Columns(nil, 2)
		if !isMalformed(d.Close()) {
			t.Errorf("%s: %v", name, d.Err())
		}
	}
}

func FuzzColumns(f *testing.F) {
	f.Add(encoded(func(e *Encoder) { e.Columns(testRows()) }))
	f.Add(encoded(func(e *Encoder) { e.Columns(nil) }))
	f.Fuzz(func(t *testing.T, p []byte) {
		d := NewDecoder()
		d.Reset(p)
		rows := d.Columns(nil, 100)
		if err := d.Close(); err != nil {
			if !isMalformed(err) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		if len(rows) > 100 {
			t.Fatal("beyond the limit")
		}
		d.Reset(encoded(func(e *Encoder) { e.Columns(rows) }))
		again := d.Columns(nil, 100)
		if diff := cmp.Diff(rows, again); d.Close() != nil || diff != "" {
			t.Fatalf("not the same after a round trip: %v %s", d.Err(), diff)
		}
	})
}
