package wire

import (
	"bytes"

	"github.com/vmihailenco/msgpack/v5"

	"github.com/peerdex/peerdex/index"
)

// Encoder writes the fields of a message, in order, into a buffer that it reuses. Writing can't fail; whether the
// message keeps the limits is checked when it is sent. Not safe for concurrent use.
type Encoder struct {
	buf bytes.Buffer
	mp  *msgpack.Encoder

	cols [columnCount][]byte // see Columns
}

// NewEncoder returns an empty encoder.
func NewEncoder() *Encoder {
	e := new(Encoder)
	e.mp = msgpack.NewEncoder(&e.buf)
	return e
}

// Reset throws away what was written. Slices that Payload returned are no longer valid.
func (e *Encoder) Reset() { e.buf.Reset() }

// Begin starts a message of so many fields after the kind, in place of what was written.
func (e *Encoder) Begin(kind, fields int) {
	e.Reset()
	e.Array(fields + 1)
	e.Int(int64(kind))
}

// Len is the number of bytes written.
func (e *Encoder) Len() int { return e.buf.Len() }

// Payload returns what was written, valid until the next call of any other method.
func (e *Encoder) Payload() []byte { return e.buf.Bytes() }

// The msgpack encoder's only errors are those of its writer, and a bytes.Buffer has none: they are dropped below.

// Array begins an array of n elements, which must follow.
func (e *Encoder) Array(n int) { _ = e.mp.EncodeArrayLen(n) }

// Int writes an integer in its shortest form.
func (e *Encoder) Int(v int64) { _ = e.mp.EncodeInt(v) }

// Uint writes an integer that may use all 64 bits.
func (e *Encoder) Uint(v uint64) { _ = e.mp.EncodeUint(v) }

// OptInt writes v, or nil if v is negative.
func (e *Encoder) OptInt(v int64) {
	if v < 0 {
		_ = e.mp.EncodeNil()
		return
	}
	e.Int(v)
}

// Bool writes true or false.
func (e *Encoder) Bool(v bool) { _ = e.mp.EncodeBool(v) }

// Bytes writes bin; nil is written as an empty one.
func (e *Encoder) Bytes(v []byte) {
	_ = e.mp.EncodeBytesLen(len(v))
	e.buf.Write(v)
}

// OptBytes writes bin, or nil if v is nil.
func (e *Encoder) OptBytes(v []byte) {
	if v == nil {
		_ = e.mp.EncodeNil()
		return
	}
	e.Bytes(v)
}

// String writes the bytes of v as bin: names need not be UTF-8.
func (e *Encoder) String(v string) {
	_ = e.mp.EncodeBytesLen(len(v))
	e.buf.WriteString(v)
}

// Row writes a row as an array of 10: id, parent, name, kind, size, mtime, mode, hash or nil, attrs or nil, seq.
func (e *Encoder) Row(r *index.Entry) {
	e.Array(rowFields)
	e.Int(r.ID)
	e.Int(r.Parent)
	e.String(r.Name)
	e.Int(int64(r.Kind))
	e.Int(r.Size)
	e.Int(r.MTime)
	e.Int(int64(r.Mode))
	e.OptBytes(r.Hash)
	e.OptBytes(r.Attrs)
	e.Int(r.Seq)
}

// Dead writes a dead run as an array of 3: seq, lo, hi.
func (e *Encoder) Dead(d index.DeadRun) {
	e.Array(deadFields)
	e.Int(d.Seq)
	e.Int(d.Lo)
	e.Int(d.Hi)
}

// Head writes a signed head as bin, or an empty bin if h is nil.
func (e *Encoder) Head(h *index.SignedHead) {
	if h == nil {
		e.Bytes(nil)
		return
	}
	var b [index.SignedHeadSize]byte
	e.Bytes(append(h.AppendBytes(b[:0]), h.Signature[:]...))
}
