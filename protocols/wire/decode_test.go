package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

func TestView(t *testing.T) {
	t.Parallel()
	e := NewEncoder()
	e.Begin(3, 2)
	e.Bytes([]byte("abc"))
	e.Bytes(nil)
	d := NewDecoder()
	p := e.Payload()
	kind, fields, err := d.Begin(p)
	if err != nil || kind != 3 || fields != 2 {
		t.Fatalf("kind %d, %d fields, %v", kind, fields, err)
	}
	v := d.View(3)
	if empty := d.View(0); string(v) != "abc" || cap(v) != 3 || len(empty) != 0 || d.Close() != nil {
		t.Fatalf("%q, %q, %v", v, empty, d.Err())
	}
	if p[bytes.IndexByte(p, 'a')] = 'x'; string(v) != "xbc" {
		t.Error("it is a copy")
	}
	_, _, _ = d.Begin(p)
	if d.View(2); !isMalformed(d.Err()) {
		t.Errorf("beyond the limit: %v", d.Err())
	}
}

// encoded returns what fn writes.
func encoded(fn func(e *Encoder)) []byte {
	e := NewEncoder()
	fn(e)
	return e.Payload()
}

func TestGoldenVectors(t *testing.T) {
	t.Parallel()
	rows, head := testRows(), testHead(t)
	dead := []index.DeadRun{{Seq: 3, Lo: 2, Hi: 2}, {Seq: index.MaxSeq, Lo: 70_000, Hi: index.MaxID}}
	body := bytes.Repeat([]byte("peerdex "), 100)
	v := []wiretest.Vector{
		{Name: "rows", Bytes: encoded(func(e *Encoder) {
			e.Array(len(rows))
			for i := range rows {
				e.Row(&rows[i])
			}
		})},
		{Name: "dead-runs", Bytes: encoded(func(e *Encoder) {
			e.Array(len(dead))
			for _, d := range dead {
				e.Dead(d)
			}
		})},
		{Name: "head", Bytes: encoded(func(e *Encoder) { e.Head(&head) })},
		{Name: "no-head", Bytes: encoded(func(e *Encoder) { e.Head(nil) })},
		{Name: "status-busy-frame", Bytes: sent(t, func(c *Conn) error { return c.SendStatus(Status{Code: CodeBusy, RetryAfter: 5e9}) })},
		{Name: "blobs-frame", Bytes: sent(t, func(c *Conn) error { return c.SendBlobs(7, [][]byte{{1}, {}, {2, 3}}) })},
		{Name: "plain-frame", Bytes: frame(t, body[:100], CodecNone)},
	}
	got := wiretest.Golden(t, "testdata/wire.txt", *update, v)

	d := NewDecoder()
	d.Reset(got["rows"])
	if diff := cmp.Diff(rows, d.Rows(nil, MaxRows)); diff != "" || d.Close() != nil {
		t.Errorf("rows: %v %s", d.Close(), diff)
	}
	d.Reset(got["dead-runs"])
	if diff := cmp.Diff(dead, d.DeadRuns(nil, MaxRows)); diff != "" || d.Close() != nil {
		t.Errorf("dead runs: %v %s", d.Close(), diff)
	}
	d.Reset(got["head"])
	if h := d.Head(); d.Close() != nil || *h != head || h.Verify() != nil {
		t.Errorf("head: %v", d.Close())
	}
	d.Reset(got["no-head"])
	if h := d.Head(); d.Close() != nil || h != nil {
		t.Errorf("no head: %v %v", h, d.Close())
	}
	_, err := NewConn(newMemStream(got["status-busy-frame"]), Config{}).Receive(IdleTimeout, 1, 1)
	if err != error(Status{Code: CodeBusy, RetryAfter: 5e9}) || !errors.Is(err, ErrBusy) {
		t.Errorf("status: %v", err)
	}
	blobs, err := NewConn(newMemStream(got["blobs-frame"]), Config{}).ReceiveBlobs(7, BlobLimits{Count: 3, Each: 2})
	if diff := cmp.Diff([][]byte{{1}, {}, {2, 3}}, blobs); diff != "" || err != nil {
		t.Errorf("blobs: %v %s", err, diff)
	}
}

// TestGoldenPacked reads frames packed by other builds of the compressors, whose bytes may differ from ours.
func TestGoldenPacked(t *testing.T) {
	t.Parallel()
	body := bytes.Repeat([]byte("peerdex "), 100)
	names := map[Codec]string{CodecZstd: "zstd", CodecGzip: "gzip", CodecS2: "s2"}
	if *update {
		var v []wiretest.Vector
		for _, c := range []Codec{CodecZstd, CodecGzip, CodecS2} {
			v = append(v, wiretest.Vector{Name: names[c], Bytes: frame(t, body, c)})
		}
		wiretest.Golden(t, "testdata/packed.txt", true, v)
	}
	vectors := wiretest.ReadGolden(t, "testdata/packed.txt")
	for c, name := range names {
		b := vectors[name]
		if len(b) < 3 || b[1] != byte(c) {
			t.Fatalf("%s: not that codec: %x", name, b)
		}
		if got, err := NewConn(newMemStream(b), Config{}).readFrame(IdleTimeout); err != nil || !bytes.Equal(got, body) {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// sent returns what fn sends.
func sent(tb testing.TB, fn func(c *Conn) error) []byte {
	tb.Helper()
	m := newMemStream(nil)
	if err := fn(NewConn(m, Config{})); err != nil {
		tb.Fatal(err)
	}
	return m.out.Bytes()
}

func TestDecoderTypes(t *testing.T) {
	t.Parallel()
	values := map[string][]byte{
		"nil": {0xc0}, "false": {0xc2}, "true": {0xc3}, "unused": {0xc1}, "float32": {0xca, 0, 0, 0, 0},
		"float64": {0xcb, 0, 0, 0, 0, 0, 0, 0, 0}, "zero": {0}, "127": {0x7f}, "-1": {0xff}, "-32": {0xe0},
		"uint8": {0xcc, 200}, "uint16": {0xcd, 1, 0}, "uint32": {0xce, 0xff, 0xff, 0xff, 0xff},
		"uint64": {0xcf, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, "uint64 above": {0xcf, 0x80, 0, 0, 0, 0, 0, 0, 0},
		"int8": {0xd0, 0x80}, "int64": {0xd3, 0x80, 0, 0, 0, 0, 0, 0, 0}, "str": {0xa1, 'x'}, "str8": {0xd9, 1, 'x'},
		"bin0": {0xc4, 0}, "bin1": {0xc4, 1, 'x'}, "bin16": {0xc5, 0, 1, 'x'}, "bin32": {0xc6, 0, 0, 0, 1, 'x'},
		"array0": {0x90}, "array1": {0x91, 0}, "array16": {0xdc, 0, 1, 0}, "array32": {0xdd, 0, 0, 0, 1, 0},
		"map0": {0x80}, "map1": {0x81, 0, 0}, "ext": {0xd4, 1, 1}, "ext8": {0xc7, 1, 1, 1},
	}
	readers := map[string]struct {
		read func(d *Decoder)
		ok   string // names of the values it must take
	}{
		"Int":      {func(d *Decoder) { d.Int(math.MinInt64, math.MaxInt64) }, "zero,127,-1,-32,uint8,uint16,uint32,uint64,int8,int64"},
		"Int 0-99": {func(d *Decoder) { d.Int(0, 99) }, "zero"},
		"Uint":     {func(d *Decoder) { d.Uint() }, "zero,127,uint8,uint16,uint32,uint64,uint64 above"},
		"OptInt":   {func(d *Decoder) { d.OptInt(200) }, "nil,zero,127,uint8"},
		"Bool":     {func(d *Decoder) { d.Bool() }, "false,true"},
		"Bytes":    {func(d *Decoder) { d.Bytes(1) }, "bin0,bin1,bin16,bin32"},
		"Bytes 0":  {func(d *Decoder) { d.Bytes(0) }, "bin0"},
		"OptBytes": {func(d *Decoder) { d.OptBytes(1) }, "nil,bin0,bin1,bin16,bin32"},
		"Fixed":    {func(d *Decoder) { d.Fixed(make([]byte, 1)) }, "bin1,bin16,bin32"},
		"String":   {func(d *Decoder) { d.String(1) }, "bin0,bin1,bin16,bin32"},
		"Array":    {func(d *Decoder) { d.Array(1); d.Int(0, 0) }, "array1,array16,array32"},
		"List": {func(d *Decoder) {
			for n := d.List(1, 1); n > 0; n-- {
				d.Int(0, 0)
			}
		}, "array0,array1,array16,array32"},
	}
	for rn, r := range readers {
		for vn, v := range values {
			want := false
			for _, ok := range strings.Split(r.ok, ",") {
				want = want || ok == vn
			}
			for cut := range len(v) + 1 {
				d := NewDecoder()
				d.Reset(v[:cut])
				r.read(d)
				if err := d.Close(); (err == nil) != (want && cut == len(v)) || (err != nil && !isMalformed(err)) {
					t.Errorf("%s of %s cut to %d bytes: %v", rn, vn, cut, err)
				}
			}
			d := NewDecoder()
			d.Reset(append(bytes.Clone(v), 0))
			r.read(d)
			if err := d.Close(); err == nil {
				t.Errorf("%s of %s: trailing byte taken", rn, vn)
			}
		}
	}
}

func TestDecoderValues(t *testing.T) {
	t.Parallel()
	e := NewEncoder()
	ints := []int64{0, 1, 127, 128, 255, 256, 65535, 65536, math.MaxUint32, math.MaxUint32 + 1, math.MaxInt64,
		-1, -32, -33, -128, -129, -32768, -32769, math.MinInt32, math.MinInt32 - 1, math.MinInt64}
	for _, v := range ints {
		e.Int(v)
	}
	e.Uint(math.MaxUint64)
	e.OptInt(-1)
	e.OptInt(5)
	e.OptBytes(nil)
	e.OptBytes([]byte{})
	e.Bytes(nil)
	d := NewDecoder()
	d.Reset(e.Payload())
	for _, v := range ints {
		if got := d.Int(math.MinInt64, math.MaxInt64); got != v {
			t.Errorf("got %d, want %d", got, v)
		}
	}
	if d.Uint() != math.MaxUint64 || d.OptInt(9) != -1 || d.OptInt(9) != 5 {
		t.Error("unsigned or optional integers differ")
	}
	if b := d.OptBytes(9); b != nil {
		t.Errorf("nil became %v", b)
	}
	if b := d.OptBytes(9); b == nil {
		t.Error("empty became nil")
	}
	if b := d.Bytes(9); b == nil || len(b) > 0 {
		t.Errorf("empty became %v", b)
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// TestBadRows breaks each field of a good row.
func TestBadRows(t *testing.T) {
	t.Parallel()
	good := index.Entry{ID: 5, Parent: 1, Name: "n", Kind: index.KindFile, Size: 1, MTime: 1, Mode: 1, Seq: 1}
	bad := map[string]func(r *index.Entry){
		"id 0":           func(r *index.Entry) { r.ID = 0 },
		"id negative":    func(r *index.Entry) { r.ID = -1 },
		"id too high":    func(r *index.Entry) { r.ID = index.MaxID + 1 },
		"root as a file": func(r *index.Entry) { r.ID = 1 },
		"parent 0":       func(r *index.Entry) { r.Parent = 0 },
		"own parent":     func(r *index.Entry) { r.Parent = 5 },
		"no name":        func(r *index.Entry) { r.Name = "" },
		"dot":            func(r *index.Entry) { r.Name = "." },
		"dot dot":        func(r *index.Entry) { r.Name = ".." },
		"slash":          func(r *index.Entry) { r.Name = "a/b" },
		"NUL":            func(r *index.Entry) { r.Name = "a\x00" },
		"long name":      func(r *index.Entry) { r.Name = strings.Repeat("n", 256) },
		"kind 0":         func(r *index.Entry) { r.Kind = 0 },
		"kind 5":         func(r *index.Entry) { r.Kind = 5 },
		"size negative":  func(r *index.Entry) { r.Size = -1 },
		"mode":           func(r *index.Entry) { r.Mode = 0o10000 },
		"hash":           func(r *index.Entry) { r.Hash = make([]byte, index.MaxHashLen+1) },
		"attrs":          func(r *index.Entry) { r.Attrs = make([]byte, index.MaxAttrsLen+1) },
		"seq 0":          func(r *index.Entry) { r.Seq = 0 },
		"seq too high":   func(r *index.Entry) { r.Seq = index.MaxSeq + 1 },
	}
	try := func(r index.Entry) error {
		d := NewDecoder()
		d.Reset(encoded(func(e *Encoder) { e.Row(&r) }))
		var got index.Entry
		d.Row(&got)
		return d.Close()
	}
	if err := try(good); err != nil {
		t.Fatal(err)
	}
	for name, brk := range bad {
		r := good
		brk(&r)
		if err := try(r); !isMalformed(err) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, run := range []index.DeadRun{{}, {Seq: 1, Lo: 1, Hi: 2}, {Seq: 1, Lo: 3, Hi: 2}, {Seq: 0, Lo: 2, Hi: 2},
		{Seq: 1, Lo: 2, Hi: index.MaxID + 1}, {Seq: -1, Lo: 2, Hi: 2}} {
		d := NewDecoder()
		d.Reset(encoded(func(e *Encoder) { e.Array(1); e.Dead(run) }))
		d.DeadRuns(nil, 1)
		if err := d.Close(); !isMalformed(err) {
			t.Errorf("dead run %v: %v", run, err)
		}
	}
}

// TestBombs gives the decoder payloads that claim far more than they hold. It must not believe them.
func TestBombs(t *testing.T) {
	// Not parallel: it measures what the process allocates.
	huge := func(code byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{code}, math.MaxUint32), 0, 0, 0)
	}
	rows := func(d *Decoder) { d.Rows(nil, MaxRows) }
	bombs := map[string]struct {
		payload []byte
		read    func(d *Decoder)
	}{
		"array32 of rows":      {huge(0xdd), rows},
		"array32 of dead runs": {huge(0xdd), func(d *Decoder) { d.DeadRuns(nil, MaxRows) }},
		"map32":                {huge(0xdf), rows},
		"bin32":                {huge(0xc6), func(d *Decoder) { d.Bytes(math.MaxInt32) }},
		"bin32 as string":      {huge(0xc6), func(d *Decoder) { _ = d.String(math.MaxInt32) }},
		"str32":                {huge(0xdb), func(d *Decoder) { _ = d.String(math.MaxInt32) }},
		"ext32":                {huge(0xc9), rows},
		"deep arrays":          {bytes.Repeat([]byte{0x91}, MaxPayload), rows},
		"empty rows":           {append([]byte{0xdc, 0x10, 0x00}, bytes.Repeat([]byte{0x90}, 4096)...), rows},
		"too many rows":        {append([]byte{0xdd, 0, 0, 0x10, 1}, bytes.Repeat([]byte{0x90}, 1<<20)...), rows},
		"head too long":        {append([]byte{0xc5, 0xff, 0xff}, make([]byte, 65535)...), func(d *Decoder) { d.Head() }},
	}
	for name, b := range bombs {
		d := NewDecoder()
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		d.Reset(b.payload)
		b.read(d)
		err := d.Close()
		runtime.ReadMemStats(&after)
		if !isMalformed(err) {
			t.Errorf("%s: %v", name, err)
		}
		if got := after.TotalAlloc - before.TotalAlloc; got > 1<<20 {
			t.Errorf("%s: allocated %d bytes", name, got)
		}
	}
}

func TestRowsShareOneCopy(t *testing.T) {
	rows := testRows()
	p := encoded(func(e *Encoder) {
		e.Array(len(rows))
		for i := range rows {
			e.Row(&rows[i])
		}
	})
	d := NewDecoder()
	buf := make([]index.Entry, 0, len(rows))
	allocs := testing.AllocsPerRun(100, func() {
		d.Reset(p)
		buf = d.Rows(buf[:0], MaxRows)
	})
	if allocs > 2 {
		t.Errorf("%v allocations a frame, want the two copies that names and byte strings are cut from", allocs)
	}
	clear(p) // what was decoded doesn't alias the payload
	if diff := cmp.Diff(rows, buf); diff != "" {
		t.Error(diff)
	}
}

func FuzzRows(f *testing.F) {
	rows := testRows()
	f.Add(encoded(func(e *Encoder) {
		e.Array(len(rows))
		for i := range rows {
			e.Row(&rows[i])
		}
	}))
	f.Add([]byte{0xdd, 0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, p []byte) {
		d := NewDecoder()
		d.Reset(p)
		rows := d.Rows(nil, MaxRows)
		if err := d.Close(); err != nil {
			if !isMalformed(err) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		again := encoded(func(e *Encoder) {
			e.Array(len(rows))
			for i := range rows {
				e.Row(&rows[i])
			}
		})
		d.Reset(again)
		if diff := cmp.Diff(rows, d.Rows(nil, MaxRows)); diff != "" || d.Close() != nil {
			t.Fatalf("not the same after a round trip: %v %s", d.Close(), diff)
		}
	})
}

func FuzzDeadRuns(f *testing.F) {
	f.Add(encoded(func(e *Encoder) { e.Array(1); e.Dead(index.DeadRun{Seq: 9, Lo: 2, Hi: 5}) }))
	f.Fuzz(func(t *testing.T, p []byte) {
		d := NewDecoder()
		d.Reset(p)
		runs := d.DeadRuns(nil, MaxRows)
		if err := d.Close(); err != nil && !isMalformed(err) {
			t.Fatalf("error of no kind: %v", err)
		} else if err == nil {
			for _, r := range runs {
				if err := r.Validate(); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func FuzzStatusAndBlobs(f *testing.F) {
	f.Add(encoded(func(e *Encoder) { e.Array(3); e.Int(0); e.Int(200); e.Int(5) }))
	f.Add(encoded(func(e *Encoder) { e.Array(3); e.Int(7); e.Bool(true); e.Array(1); e.Bytes([]byte("blob")) }))
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) >= MaxFrame {
			return
		}
		m := newMemStream(frame(t, p, CodecNone))
		blobs, err := NewConn(m, Config{}).ReceiveBlobs(7, BlobLimits{Count: 8, Each: 64})
		st, isStatus := errors.AsType[Status](err)
		switch {
		case isStatus && (st.Code < 100 || st.Code > 499 || st.RetryAfter > MaxRetryAfter):
			t.Fatalf("status %v", st)
		case err != nil && !isStatus && !isMalformed(err):
			t.Fatalf("error of no kind: %v", err)
		case err == nil && len(blobs) > 8:
			t.Fatalf("%d blobs", len(blobs))
		}
	})
}
