package snapshot

import (
	"bytes"
	"math/bits"
)

// What SQLite writes for the leaf of a table: https://www.sqlite.org/fileformat2.html, sections 1.6 and 2.1.
const (
	pageSize = 4096

	leafHeader = 8
	leafType   = 0x0d          // of a leaf of a table
	maxLocal   = pageSize - 35 // the largest payload without overflow pages
	maxRowID   = 1 << 56       // below, a varint has 8 bytes at most
	rowFields  = 10            // of the table of entries; the first is the row's id, NULL in the record
)

// row is one row as its page has it.
type row struct {
	id, parent, kind, size, mtime, mode, seq int64
	name, hash, attrs                        []byte
	hasHash, hasAttrs                        bool
}

// parse reads a cell of a table's leaf, all of b.
func (r *row) parse(b []byte) bool {
	size, n := readVarint(b)
	if n == 0 || size > maxLocal {
		return false
	}
	b = b[n:]
	id, n := readVarint(b)
	if n == 0 || uint64(len(b)-n) != size || size == 0 {
		return false
	}
	r.id = int64(id)
	return r.parseRecord(b[n:])
}

// parseRecord reads the columns of a record of at least one byte, all of b.
func (r *row) parseRecord(b []byte) (ok bool) {
	head := int(b[0])
	if head >= 0x80 || head < 1+rowFields || head > len(b) || b[1] != 0 {
		return false
	}
	types, values := b[2:head], b[head:]
	ok = takeInt(&types, &values, &r.parent) && r.takeName(&types, &values) &&
		takeInt(&types, &values, &r.kind) && takeInt(&types, &values, &r.size) && takeInt(&types, &values, &r.mtime) &&
		takeInt(&types, &values, &r.mode) && takeBlob(&types, &values, &r.hash, &r.hasHash) &&
		takeBlob(&types, &values, &r.attrs, &r.hasAttrs) && takeInt(&types, &values, &r.seq)
	return ok && len(types) == 0 && len(values) == 0 && r.kind >= 0 && r.size >= 0 && r.mode >= 0
}

// takeInt takes an integer that is written in its shortest form.
func takeInt(types, values *[]byte, to *int64) bool {
	if len(*types) == 0 || (*types)[0] > 9 || (*types)[0] == 0 || (*types)[0] == 7 {
		return false
	}
	t := (*types)[0]
	n := intSizes[t]
	if n > len(*values) {
		return false
	}
	v := int64(t) - 8 // 8 and 9 are the numbers 0 and 1
	if n > 0 {
		v = int64(int8((*values)[0]))
		for _, b := range (*values)[1:n] {
			v = v<<8 | int64(b)
		}
	}
	*types, *values, *to = (*types)[1:], (*values)[n:], v
	return intType(v) == t
}

// intSizes are the bytes of integers, by type. 7 is no integer.
var intSizes = [10]int{0, 1, 2, 3, 4, 6, 8, 8, 0, 0}

// intType is the type of the shortest form of an integer.
func intType(v int64) byte {
	switch width := bits.Len64(uint64(v ^ v>>63)); { // without the sign
	case v == 0:
		return 8
	case v == 1:
		return 9
	case width < 8:
		return 1
	case width < 16:
		return 2
	case width < 24:
		return 3
	case width < 32:
		return 4
	case width < 48:
		return 5
	}
	return 6
}

// takeBytes takes a text (odd 1) or a blob (odd 0) by its type.
func takeBytes(types, values *[]byte, odd uint64) ([]byte, bool) {
	t, n := readVarint(*types)
	if n == 0 || t < 12 || t&1 != odd || (t-12)/2 > uint64(len(*values)) {
		return nil, false
	}
	size := int(t-12) / 2
	v := (*values)[:size]
	*types, *values = (*types)[n:], (*values)[size:]
	return v, true
}

func (r *row) takeName(types, values *[]byte) (ok bool) {
	r.name, ok = takeBytes(types, values, 1)
	return ok && bytes.IndexByte(r.name, 0) < 0
}

func takeBlob(types, values *[]byte, to *[]byte, has *bool) (ok bool) {
	if len(*types) > 0 && (*types)[0] == 0 {
		*types = (*types)[1:]
		return true
	}
	*to, ok = takeBytes(types, values, 0)
	*has = ok
	return ok
}

// readVarint reads SQLite's form of a number below 2^56, which must be the shortest; n is 0 if it isn't.
func readVarint(b []byte) (v uint64, n int) {
	for n < len(b) && n < 8 {
		c := b[n]
		n++
		v = v<<7 | uint64(c&0x7f)
		if c < 0x80 {
			if n != varintSize(v) {
				return 0, 0
			}
			return v, n
		}
	}
	return 0, 0
}

func varintSize(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

func putVarint(b []byte, v uint64) int {
	n := varintSize(v)
	for i := n - 1; i >= 0; i-- {
		b[i] = byte(v) | 0x80
		v >>= 7
	}
	b[n-1] &= 0x7f
	return n
}

// recordSize is the size of the row's record.
func (r *row) recordSize() int {
	size := 1 + 1 + varintSize(textType(r.name)) + varintSize(blobType(r.hasHash, r.hash)) + varintSize(blobType(r.hasAttrs, r.attrs)) +
		len(r.name) + len(r.hash) + len(r.attrs)
	for _, v := range [...]int64{r.parent, r.kind, r.size, r.mtime, r.mode, r.seq} {
		size += 1 + intSizes[intType(v)]
	}
	return size
}

func textType(v []byte) uint64 { return uint64(len(v))*2 + 13 }

func blobType(has bool, v []byte) uint64 {
	if !has {
		return 0
	}
	return uint64(len(v))*2 + 12
}

// put writes the row's cell, whose record has so many bytes, to b.
func (r *row) put(b []byte, size int) {
	b = b[putVarint(b, uint64(size)):]
	b = b[putVarint(b, uint64(r.id)):]
	name, hash, attrs := textType(r.name), blobType(r.hasHash, r.hash), blobType(r.hasAttrs, r.attrs)
	head := 1 + 1 + 6 + varintSize(name) + varintSize(hash) + varintSize(attrs)
	types, values := b[2:head], b[head:]
	b[0], b[1] = byte(head), 0
	putInt(&types, &values, r.parent)
	types = types[putVarint(types, name):]
	values = values[copy(values, r.name):]
	putInt(&types, &values, r.kind)
	putInt(&types, &values, r.size)
	putInt(&types, &values, r.mtime)
	putInt(&types, &values, r.mode)
	types = types[putVarint(types, hash):]
	values = values[copy(values, r.hash):]
	types = types[putVarint(types, attrs):]
	values = values[copy(values, r.attrs):]
	putInt(&types, &values, r.seq)
}

func putInt(types, values *[]byte, v int64) {
	t := intType(v)
	(*types)[0] = t
	*types = (*types)[1:]
	n := intSizes[t]
	for i := n - 1; i >= 0; i-- {
		(*values)[i] = byte(v)
		v >>= 8
	}
	*values = (*values)[n:]
}
