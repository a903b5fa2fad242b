package snapshot

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/peerdex/peerdex/protocols/wire"
)

// A part of a compact file is nearly all rows, page after page, and rows pack badly: between two names lie a dozen bytes
// of record header, ids that rise by one, and times that don't repeat. So the rows of pages that are exactly what SQLite
// writes for a table that only grows are sent column by column, ids as differences. That halves what goes over the wire.
// Every other page is sent as it is. What comes out is the same, byte for byte.

// columns are the pages of a part. The fields but raw hold one value a row, in order.
type columns struct {
	counts  []byte // rows of each page; 0 = it is in raw
	ids     []byte // difference to the row before
	parents []byte // difference to the row before
	names   []byte // each ends with a NUL
	kinds   []byte
	sizes   []byte
	mtimes  []byte // all highest bytes, then all second ones, and so on
	modes   []byte
	blobs   []byte // hash and attrs: 0 for NULL, or length + 1 and the bytes
	seqs    []byte // difference to the row before
	raw     []byte

	before row
	rows   []row // of the page at hand
	times  []int64
}

// fields are the columns in the order in which they are sent.
func (c *columns) fields() []*[]byte {
	return []*[]byte{&c.counts, &c.ids, &c.parents, &c.names, &c.kinds, &c.sizes, &c.mtimes, &c.modes, &c.blobs, &c.seqs, &c.raw}
}

// size bounds the size of the columns in a message.
func (c *columns) size() int {
	n := 0
	for _, f := range c.fields() {
		n += len(*f) + 5
	}
	return n
}

// split makes c the columns of a part. It reports false if no page of it has rows of the form wanted.
func (c *columns) split(b []byte) bool {
	for _, f := range c.fields() {
		*f = (*f)[:0]
	}
	c.before, c.times = row{}, c.times[:0]
	for len(b) > 0 {
		page := b[:min(len(b), pageSize)]
		b = b[len(page):]
		if !c.parse(page) {
			c.counts = append(c.counts, 0)
			c.raw = append(c.raw, page...)
			continue
		}
		c.counts = binary.AppendUvarint(c.counts, uint64(len(c.rows)))
		for i := range c.rows {
			c.add(&c.rows[i])
		}
	}
	for shift := 56; shift >= 0; shift -= 8 {
		for _, t := range c.times {
			c.mtimes = append(c.mtimes, byte(t>>shift))
		}
	}
	return len(c.times) > 0
}

func (c *columns) add(r *row) {
	c.ids = binary.AppendVarint(c.ids, r.id-c.before.id)
	c.parents = binary.AppendVarint(c.parents, r.parent-c.before.parent)
	c.names = append(append(c.names, r.name...), 0)
	c.kinds = binary.AppendUvarint(c.kinds, uint64(r.kind))
	c.sizes = binary.AppendUvarint(c.sizes, uint64(r.size))
	c.times = append(c.times, r.mtime)
	c.modes = binary.AppendUvarint(c.modes, uint64(r.mode))
	c.blobs = appendBlob(appendBlob(c.blobs, r.hasHash, r.hash), r.hasAttrs, r.attrs)
	c.seqs = binary.AppendVarint(c.seqs, r.seq-c.before.seq)
	c.before.id, c.before.parent, c.before.seq = r.id, r.parent, r.seq
}

func appendBlob(b []byte, has bool, v []byte) []byte {
	if !has {
		return append(b, 0)
	}
	return append(binary.AppendUvarint(b, uint64(len(v))+1), v...)
}

// parse reads the rows of a page, and reports false unless build makes exactly that page of them.
func (c *columns) parse(page []byte) bool {
	c.rows = c.rows[:0]
	if len(page) != pageSize || page[0] != leafType || page[1] != 0 || page[2] != 0 || page[7] != 0 {
		return false
	}
	n := int(binary.BigEndian.Uint16(page[3:]))
	pointers, end := leafHeader+2*n, pageSize
	if n == 0 || pointers > pageSize {
		return false
	}
	for i := range n {
		at := int(binary.BigEndian.Uint16(page[leafHeader+2*i:]))
		if at < pointers || at >= end {
			return false
		}
		c.rows = append(c.rows, row{})
		if !c.rows[i].parse(page[at:end]) {
			return false
		}
		end = at
	}
	if int(binary.BigEndian.Uint16(page[5:])) != end {
		return false
	}
	for _, b := range page[pointers:end] {
		if b != 0 {
			return false
		}
	}
	return true
}

// errColumns is returned for columns that are not those of a part of the size wanted.
func errColumns(what string) error { return fmt.Errorf("%w: columns: %s", wire.ErrMalformed, what) }

// join fills b with the part whose columns c are. It uses the columns up.
func (c *columns) join(b []byte) error {
	total, n := 0, 0
	for counts := c.counts; len(counts) > 0; n++ {
		rows, err := takeUvarint(&counts, pageSize)
		if err != nil {
			return err
		}
		total += int(rows)
	}
	if n != (len(b)+pageSize-1)/pageSize || len(c.mtimes) != 8*total {
		return errColumns("other numbers of pages or rows")
	}
	c.before = row{}
	for at := 0; len(b) > 0; {
		page := b[:min(len(b), pageSize)]
		b = b[len(page):]
		rows, err := takeUvarint(&c.counts, pageSize)
		switch {
		case err != nil:
			return err
		case rows > 0:
			if err := c.build(page, int(rows), at, total); err != nil {
				return err
			}
			at += int(rows)
		case len(c.raw) < len(page):
			return errColumns("a page is missing")
		default:
			c.raw = c.raw[copy(page, c.raw):]
		}
	}
	c.mtimes = nil
	for _, f := range c.fields() {
		if len(*f) > 0 {
			return errColumns("more than the pages hold")
		}
	}
	return nil
}

// build makes a page of the next rows, the first of which is row at of all.
func (c *columns) build(page []byte, rows, at, all int) error {
	pointers := leafHeader + 2*rows
	if len(page) != pageSize || pointers > pageSize {
		return errColumns("too many rows")
	}
	end := pageSize
	for i := range rows {
		var r row
		if err := c.take(&r); err != nil {
			return err
		}
		for plane := range 8 {
			r.mtime = r.mtime<<8 | int64(c.mtimes[plane*all+at+i])
		}
		size := r.recordSize()
		cell := varintSize(uint64(size)) + varintSize(uint64(r.id)) + size
		if size > maxLocal || cell > end-pointers {
			return errColumns("rows larger than their page")
		}
		end -= cell
		r.put(page[end:end+cell], size)
		binary.BigEndian.PutUint16(page[leafHeader+2*i:], uint16(end))
	}
	clear(page[pointers:end])
	page[0], page[1], page[2], page[7] = leafType, 0, 0, 0
	binary.BigEndian.PutUint16(page[3:], uint16(rows))
	binary.BigEndian.PutUint16(page[5:], uint16(end))
	return nil
}

// take takes the next row, but for its time.
func (c *columns) take(r *row) error {
	var kind, size, mode uint64
	var err error
	r.id = c.before.id + takeDiff(&c.ids, &err)
	r.parent = c.before.parent + takeDiff(&c.parents, &err)
	r.seq = c.before.seq + takeDiff(&c.seqs, &err)
	for _, f := range []struct {
		from *[]byte
		to   *uint64
	}{{&c.kinds, &kind}, {&c.sizes, &size}, {&c.modes, &mode}} {
		if err == nil {
			*f.to, err = takeUvarint(f.from, 1<<63-1)
		}
	}
	if err != nil {
		return err
	}
	r.kind, r.size, r.mode = int64(kind), int64(size), int64(mode)
	end := bytes.IndexByte(c.names, 0)
	if end < 0 || r.id < 0 || r.id >= maxRowID {
		return errColumns("name or id")
	}
	r.name, c.names = c.names[:end], c.names[end+1:]
	if r.hash, r.hasHash, err = c.takeBlob(); err != nil {
		return err
	}
	r.attrs, r.hasAttrs, err = c.takeBlob()
	c.before.id, c.before.parent, c.before.seq = r.id, r.parent, r.seq
	return err
}

func (c *columns) takeBlob() ([]byte, bool, error) {
	n, err := takeUvarint(&c.blobs, maxLocal)
	if err != nil || n == 0 {
		return nil, false, err
	}
	if n--; n > uint64(len(c.blobs)) {
		return nil, false, errColumns("blob")
	}
	v := c.blobs[:n]
	c.blobs = c.blobs[n:]
	return v, true, nil
}

// takeUvarint takes a number up to limit.
func takeUvarint(b *[]byte, limit uint64) (uint64, error) {
	v, n := binary.Uvarint(*b)
	if n <= 0 || v > limit {
		return 0, errColumns("number")
	}
	*b = (*b)[n:]
	return v, nil
}

// takeDiff takes a difference; the first error stays.
func takeDiff(b *[]byte, err *error) int64 {
	v, n := binary.Varint(*b)
	if n <= 0 {
		if *err == nil {
			*err = errColumns("difference")
		}
		return 0
	}
	*b = (*b)[n:]
	return v
}
