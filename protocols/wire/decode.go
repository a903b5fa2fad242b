package wire

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"slices"
	"time"

	"github.com/vmihailenco/msgpack/v5"
	"github.com/vmihailenco/msgpack/v5/msgpcode"

	"github.com/peerdex/peerdex/index"
)

// Elements and least encoded sizes of the repeated parts of messages.
const (
	rowFields  = 10
	minRowSize = 12 // the array's header, ten fields of one byte, and the length of the name
	deadFields = 3
	minDead    = 4
)

// payload is the reader that the msgpack decoder walks. Byte strings are cut from it directly, so that the library
// never sees a length it could believe.
type payload struct {
	b   []byte
	off int
}

func (p *payload) left() int { return len(p.b) - p.off }

// Read implements [io.Reader].
func (p *payload) Read(b []byte) (int, error) {
	if p.off == len(p.b) {
		return 0, io.EOF
	}
	n := copy(b, p.b[p.off:])
	p.off += n
	return n, nil
}

// ReadByte implements [io.ByteReader].
func (p *payload) ReadByte() (byte, error) {
	if p.off == len(p.b) {
		return 0, io.EOF
	}
	p.off++
	return p.b[p.off-1], nil
}

// UnreadByte implements [io.ByteScanner], without which the library would buffer.
func (p *payload) UnreadByte() error {
	p.off--
	return nil
}

// Decoder reads the fields of one message, in order. The first error sticks, and later reads return zero values: ask
// [Decoder.Close] once at the end, and use nothing before it returned nil. Everything is checked before memory is
// spent on it: types exactly (no floats, no nil where a field is not optional, byte strings as bin), integers
// against the range asked for, lengths against the limit and against what is left. All errors wrap [ErrMalformed].
// Not safe for concurrent use.
type Decoder struct {
	src  payload
	mp   *msgpack.Decoder
	err  error
	text string // copy of the payload that strings are cut from
	blob []byte // copy of the payload that byte strings are cut from
}

// NewDecoder returns a decoder of nothing: see [Decoder.Reset].
func NewDecoder() *Decoder {
	d := new(Decoder)
	d.mp = msgpack.NewDecoder(&d.src)
	return d
}

// Reset makes d read p, which must not change until the last read. What d returned before stays valid.
func (d *Decoder) Reset(p []byte) {
	d.src = payload{b: p}
	d.err, d.text, d.blob = nil, "", nil
}

// Fail makes err the decoder's error unless it has one.
func (d *Decoder) Fail(err error) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: %w", ErrMalformed, err)
	}
}

// No message has more fields, or a higher kind.
const (
	maxFields = 31
	maxKind   = 127
)

// Begin makes d read the message p, as Reset does, and takes its kind; fields is the number of fields that follow. A
// status is returned as a [Status] error.
func (d *Decoder) Begin(p []byte) (kind, fields int, err error) {
	d.Reset(p)
	fields = d.List(maxFields+1, 1) - 1
	kind = int(d.Int(0, maxKind))
	if d.err == nil && kind == kindStatus {
		return 0, 0, d.status(fields)
	}
	return kind, fields, d.err
}

// status reads the rest of a status and returns it as an error.
func (d *Decoder) status(fields int) error {
	if fields != statusFields {
		return fmt.Errorf("%w: status with %d fields", ErrMalformed, fields)
	}
	s := Status{Code: Code(d.Int(100, 499))}
	s.RetryAfter = time.Duration(d.Int(0, int64(MaxRetryAfter/time.Second))) * time.Second
	if err := d.Close(); err != nil {
		return err
	}
	return s
}

func (d *Decoder) failf(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: byte %d: %s", ErrMalformed, d.src.off, fmt.Sprintf(format, args...))
	}
}

// Err returns the first error so far.
func (d *Decoder) Err() error { return d.err }

// Close returns the first error, or an error if bytes are left over.
func (d *Decoder) Close() error {
	if n := d.src.left(); n > 0 {
		d.failf("%d bytes left over", n)
	}
	return d.err
}

// code returns the type byte of the next value without taking it; 0xc1, which is no type, at the end.
func (d *Decoder) code() byte {
	if d.err != nil || d.src.left() == 0 {
		d.failf("cut short")
		return 0xc1
	}
	return d.src.b[d.src.off]
}

// arrayLen takes the header of an array, and checks that so many elements of size bytes can follow.
func (d *Decoder) arrayLen(size int) int {
	c := d.code()
	if !msgpcode.IsFixedArray(c) && c != msgpcode.Array16 && c != msgpcode.Array32 {
		d.failf("type %#x, want an array", c)
		return 0
	}
	n, err := d.mp.DecodeArrayLen()
	if err != nil {
		d.Fail(err)
		return 0
	}
	if n < 0 || n > d.src.left()/size {
		d.failf("array of %d with %d bytes left", n, d.src.left())
		return 0
	}
	return n
}

// Array takes the header of an array of exactly n elements.
func (d *Decoder) Array(n int) {
	if got := d.arrayLen(1); d.err == nil && got != n {
		d.failf("array of %d, want %d", got, n)
	}
}

// List takes the header of an array of at most limit elements, each at least size bytes long, and returns their
// number.
func (d *Decoder) List(limit, size int) int {
	n := d.arrayLen(size)
	if n > limit {
		d.failf("array of %d, limit %d", n, limit)
		return 0
	}
	return n
}

// Int takes an integer from lo to hi.
func (d *Decoder) Int(lo, hi int64) int64 {
	c := d.code()
	var v int64
	switch {
	case d.err != nil:
		return 0
	case msgpcode.IsFixedNum(c):
		v = int64(int8(c))
		d.src.off++
	case c >= msgpcode.Uint8 && c <= msgpcode.Int64:
		var err error
		if v, err = d.mp.DecodeInt64(); err != nil {
			d.Fail(err)
			return 0
		}
		if c == msgpcode.Uint64 && v < 0 {
			d.failf("integer above 2^63")
			return 0
		}
	default:
		d.failf("type %#x, want an integer", c)
		return 0
	}
	if v < lo || v > hi {
		d.failf("%d, want %d to %d", v, lo, hi)
		return 0
	}
	return v
}

// Uint takes an integer that may use all 64 bits.
func (d *Decoder) Uint() uint64 {
	if d.code() != msgpcode.Uint64 {
		return uint64(d.Int(0, math.MaxInt64))
	}
	v, err := d.mp.DecodeUint64()
	if err != nil {
		d.Fail(err)
		return 0
	}
	return v
}

// OptInt takes an integer from 0 to hi, or nil, for which it returns -1.
func (d *Decoder) OptInt(hi int64) int64 {
	if d.code() == msgpcode.Nil {
		d.src.off++
		return -1
	}
	return d.Int(0, hi)
}

// Bool takes true or false.
func (d *Decoder) Bool() bool {
	switch c := d.code(); c {
	case msgpcode.False, msgpcode.True:
		d.src.off++
		return c == msgpcode.True
	default:
		d.failf("type %#x, want a bool", c)
		return false
	}
}

// bin takes a byte string of at most limit bytes and returns where it lies in the payload.
func (d *Decoder) bin(limit int) (from, to int) {
	if c := d.code(); d.err != nil || !msgpcode.IsBin(c) {
		d.failf("type %#x, want bin", c)
		return 0, 0
	}
	n, err := d.mp.DecodeBytesLen()
	switch {
	case err != nil:
		d.Fail(err)
		return 0, 0
	case n < 0 || n > d.src.left():
		d.failf("bin of %d bytes with %d left", n, d.src.left())
		return 0, 0
	case n > limit:
		d.failf("bin of %d bytes, limit %d", n, limit)
		return 0, 0
	}
	d.src.off += n
	return d.src.off - n, d.src.off
}

// Bytes takes a byte string of at most limit bytes. The result is the caller's, and never nil.
func (d *Decoder) Bytes(limit int) []byte {
	from, to := d.bin(limit)
	if from == to {
		return []byte{}
	}
	if d.blob == nil {
		d.blob = bytes.Clone(d.src.b)
	}
	return d.blob[from:to:to]
}

// View is Bytes without a copy: the result is part of the payload, and changes with it.
func (d *Decoder) View(limit int) []byte {
	from, to := d.bin(limit)
	return d.src.b[from:to:to]
}

// OptBytes takes a byte string of at most limit bytes, or nil.
func (d *Decoder) OptBytes(limit int) []byte {
	if d.code() == msgpcode.Nil {
		d.src.off++
		return nil
	}
	return d.Bytes(limit)
}

// Fixed fills dst with a byte string of exactly its length.
func (d *Decoder) Fixed(dst []byte) {
	from, to := d.bin(len(dst))
	if d.err == nil && to-from != len(dst) {
		d.failf("bin of %d bytes, want %d", to-from, len(dst))
		return
	}
	copy(dst, d.src.b[from:to])
}

// String takes a byte string of at most limit bytes as a string. All strings of a message share one copy of it, so
// one that is kept for long should be cloned.
func (d *Decoder) String(limit int) string {
	from, to := d.bin(limit)
	if from == to {
		return ""
	}
	if d.text == "" {
		d.text = string(d.src.b)
	}
	return d.text[from:to]
}

// Row takes a row and checks it: see [index.Entry.Validate]; seq from 1 to [index.MaxSeq].
func (d *Decoder) Row(r *index.Entry) {
	d.Array(rowFields)
	r.ID = d.Int(index.RootID, index.MaxID)
	r.Parent = d.Int(0, index.MaxID)
	r.Name = d.String(index.MaxNameLen)
	r.Kind = index.Kind(d.Int(0, math.MaxUint8))
	r.Size = d.Int(0, math.MaxInt64)
	r.MTime = d.Int(math.MinInt64, math.MaxInt64)
	r.Mode = uint32(d.Int(0, math.MaxUint32))
	r.Hash = d.OptBytes(index.MaxHashLen)
	r.Attrs = d.OptBytes(index.MaxAttrsLen)
	r.Seq = d.Int(1, index.MaxSeq)
	if d.err == nil {
		if err := r.Validate(); err != nil {
			d.Fail(err)
		}
	}
}

// Rows takes a list of at most limit rows, appended to rows.
func (d *Decoder) Rows(rows []index.Entry, limit int) []index.Entry {
	n := d.List(limit, minRowSize)
	rows = slices.Grow(rows, n)
	for ; n > 0 && d.err == nil; n-- {
		rows = append(rows, index.Entry{})
		d.Row(&rows[len(rows)-1])
	}
	return rows
}

// DeadRuns takes a list of at most limit dead runs, appended to runs, and checks each.
func (d *Decoder) DeadRuns(runs []index.DeadRun, limit int) []index.DeadRun {
	n := d.List(limit, minDead)
	runs = slices.Grow(runs, n)
	for ; n > 0 && d.err == nil; n-- {
		d.Array(deadFields)
		r := index.DeadRun{
			Seq: d.Int(1, index.MaxSeq),
			Lo:  d.Int(index.RootID+1, index.MaxID),
			Hi:  d.Int(index.RootID+1, index.MaxID),
		}
		if d.err == nil {
			if err := r.Validate(); err != nil {
				d.Fail(err)
			}
		}
		runs = append(runs, r)
	}
	return runs
}

// Head takes a signed head, or an empty byte string, for which it returns nil. The fields are checked, the
// signature is not: see [index.SignedHead.Verify].
func (d *Decoder) Head() *index.SignedHead {
	from, to := d.bin(index.SignedHeadSize)
	if d.err != nil || from == to {
		return nil
	}
	h := new(index.SignedHead)
	if err := h.UnmarshalBinary(d.src.b[from:to]); err != nil {
		d.Fail(err)
		return nil
	}
	return h
}
