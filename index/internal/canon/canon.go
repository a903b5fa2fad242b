// Package canon writes and reads the canonical bytes of peerdex: fixed-width big-endian integers, byte strings with
// a uvarint length, and optional values with a presence byte. There is one encoding for each value, and the reader
// refuses every other, so that what was signed is what was read.
package canon

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is returned for bytes that are cut short, too long, or not in canonical form.
var ErrMalformed = errors.New("malformed canonical bytes")

// AppendU64 appends v in 8 bytes.
func AppendU64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

// AppendU32 appends v in 4 bytes.
func AppendU32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }

// AppendBytes appends v with its length in front.
func AppendBytes[T ~string | ~[]byte](b []byte, v T) []byte {
	b = binary.AppendUvarint(b, uint64(len(v)))
	return append(b, v...)
}

// AppendOptional appends 0 for nil, else 1 and v with its length.
func AppendOptional(b, v []byte) []byte {
	if v == nil {
		return append(b, 0)
	}
	return AppendBytes(append(b, 1), v)
}

// Reader takes canonical bytes apart. The first error sticks, later reads return zero values; ask [Reader.Close]
// once at the end. Byte strings it returns alias its input.
type Reader struct {
	b   []byte
	err error
}

// NewReader reads b.
func NewReader(b []byte) *Reader { return &Reader{b: b} }

func (r *Reader) take(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n < 0 || n > len(r.b) {
		r.err = fmt.Errorf("%w: %d bytes wanted, %d left", ErrMalformed, n, len(r.b))
		return nil
	}
	v := r.b[:n]
	r.b = r.b[n:]
	return v
}

// U8 reads one byte.
func (r *Reader) U8() uint8 {
	if v := r.take(1); v != nil {
		return v[0]
	}
	return 0
}

// U32 reads 4 bytes.
func (r *Reader) U32() uint32 {
	if v := r.take(4); v != nil {
		return binary.BigEndian.Uint32(v)
	}
	return 0
}

// U64 reads 8 bytes.
func (r *Reader) U64() uint64 {
	if v := r.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// Fixed fills dst.
func (r *Reader) Fixed(dst []byte) { copy(dst, r.take(len(dst))) }

// Bytes reads a byte string of at most limit bytes.
func (r *Reader) Bytes(limit int) []byte {
	if r.err != nil {
		return nil
	}
	n, w := binary.Uvarint(r.b)
	if w <= 0 || w != len(binary.AppendUvarint(nil, n)) {
		r.err = fmt.Errorf("%w: length", ErrMalformed)
		return nil
	}
	if n > uint64(limit) {
		r.err = fmt.Errorf("%w: %d bytes, limit %d", ErrMalformed, n, limit)
		return nil
	}
	r.b = r.b[w:]
	return r.take(int(n))
}

// Optional reads what [AppendOptional] wrote; nil stands for NULL, and a present empty value is empty, not nil.
func (r *Reader) Optional(limit int) []byte {
	switch p := r.U8(); {
	case r.err != nil || p == 0:
		return nil
	case p != 1:
		r.err = fmt.Errorf("%w: presence byte %d", ErrMalformed, p)
		return nil
	}
	v := r.Bytes(limit)
	if r.err == nil && v == nil {
		v = []byte{}
	}
	return v
}

// Fail makes err the reader's error unless it has one.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// Close returns the first error, or an error if bytes are left over.
func (r *Reader) Close() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%w: %d bytes left over", ErrMalformed, len(r.b))
	}
	return r.err
}
