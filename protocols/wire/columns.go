package wire

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/peerdex/peerdex/index"
)

// Rows pack badly one after the other: between two names lie ids that rise by one, and times that don't repeat. So where
// there are many they go column by column, ids as differences to the row before, which takes a quarter of the bytes off.

// columnFields is the number of fields of rows by columns: their number, and the columns.
const columnFields = 1 + columnCount

// The columns, in the order in which they are sent.
const (
	colIDs = iota
	colParents
	colNames
	colKinds
	colSizes
	colMTimes
	colModes
	colBlobs
	colSeqs
	columnCount
)

// Columns writes rows by columns.
func (e *Encoder) Columns(rows []index.Entry) {
	c := &e.cols
	for i := range c {
		c[i] = c[i][:0]
	}
	var before index.Entry
	for i := range rows {
		r := &rows[i]
		c[colIDs] = binary.AppendVarint(c[colIDs], r.ID-before.ID)
		c[colParents] = binary.AppendVarint(c[colParents], r.Parent-before.Parent)
		c[colNames] = append(append(c[colNames], r.Name...), 0)
		c[colKinds] = append(c[colKinds], byte(r.Kind))
		c[colSizes] = binary.AppendUvarint(c[colSizes], uint64(r.Size))
		c[colModes] = binary.AppendUvarint(c[colModes], uint64(r.Mode))
		c[colBlobs] = appendBlob(appendBlob(c[colBlobs], r.Hash), r.Attrs)
		c[colSeqs] = binary.AppendVarint(c[colSeqs], r.Seq-before.Seq)
		before.ID, before.Parent, before.Seq = r.ID, r.Parent, r.Seq
	}
	for shift := 56; shift >= 0; shift -= 8 {
		for i := range rows {
			c[colMTimes] = append(c[colMTimes], byte(rows[i].MTime>>shift))
		}
	}
	e.Array(columnFields)
	e.Int(int64(len(rows)))
	for _, b := range c {
		e.Bytes(b)
	}
}

func appendBlob(b, v []byte) []byte {
	if v == nil {
		return append(b, 0)
	}
	return append(binary.AppendUvarint(b, uint64(len(v))+1), v...)
}

// Columns takes at most limit rows by columns, appended to rows, and checks each as [Decoder.Row] does.
func (d *Decoder) Columns(rows []index.Entry, limit int) []index.Entry {
	d.Array(columnFields)
	n := int(d.Int(0, int64(limit)))
	var c columns
	for i := range columnCount {
		switch i {
		case colNames:
			c.names = string(d.View(MaxPayload)) // the rows share one copy
		case colBlobs:
			c.of[i] = d.Bytes(MaxPayload) // which may be kept
		default:
			c.of[i] = d.View(MaxPayload)
		}
	}
	if d.err != nil {
		return rows
	}
	if c.times = c.of[colMTimes]; len(c.times) != 8*n || len(c.of[colKinds]) != n { // so n is no more than what came
		d.failf("%d rows with %d bytes of times and %d of kinds", n, len(c.times), len(c.of[colKinds]))
		return rows
	}
	rows = slices.Grow(rows, n)
	for i := range n {
		rows = append(rows, index.Entry{})
		if err := c.take(&rows[len(rows)-1], i, n); err != nil {
			d.Fail(err)
			return rows
		}
	}
	for i, b := range c.of {
		if i != colMTimes && i != colKinds && len(b) > 0 || len(c.names) > 0 {
			d.failf("bytes left over in the columns")
			break
		}
	}
	return rows
}

// columns is what is left of the columns of rows that are being read.
type columns struct {
	of     [columnCount][]byte
	names  string
	times  []byte
	before index.Entry
}

// take takes row i of n.
func (c *columns) take(r *index.Entry, i, n int) error {
	var err error
	r.ID = c.diff(colIDs, c.before.ID, index.RootID, index.MaxID, &err)
	r.Parent = c.diff(colParents, c.before.Parent, 0, index.MaxID, &err)
	end := strings.IndexByte(c.names, 0)
	if end < 0 {
		return fmt.Errorf("row %d: no name: %w", i, index.ErrInvalid)
	}
	r.Name, c.names = c.names[:end], c.names[end+1:]
	r.Kind = index.Kind(c.of[colKinds][i])
	r.Size = int64(c.number(colSizes, math.MaxInt64, &err))
	for k := range 8 {
		r.MTime = r.MTime<<8 | int64(c.times[k*n+i])
	}
	r.Mode = uint32(c.number(colModes, math.MaxUint32, &err))
	r.Hash = c.blob(index.MaxHashLen, &err)
	r.Attrs = c.blob(index.MaxAttrsLen, &err)
	r.Seq = c.diff(colSeqs, c.before.Seq, 1, index.MaxSeq, &err)
	c.before.ID, c.before.Parent, c.before.Seq = r.ID, r.Parent, r.Seq
	if err == nil {
		err = r.Validate()
	}
	return err
}

// number takes an unsigned number of a column.
func (c *columns) number(col int, limit uint64, err *error) uint64 {
	v, n := binary.Uvarint(c.of[col])
	if n <= 0 || v > limit {
		*err = fmt.Errorf("column %d: number %d: %w", col, v, index.ErrInvalid)
		return 0
	}
	c.of[col] = c.of[col][n:]
	return v
}

// diff takes the difference to the row before.
func (c *columns) diff(col int, before, lo, hi int64, err *error) int64 {
	d, n := binary.Varint(c.of[col])
	v := before + d
	if n <= 0 || v < lo || v > hi {
		*err = fmt.Errorf("column %d: number %d: %w", col, v, index.ErrInvalid)
		return before
	}
	c.of[col] = c.of[col][n:]
	return v
}

// blob takes a byte string, or NULL.
func (c *columns) blob(limit uint64, err *error) []byte {
	n := c.number(colBlobs, limit+1, err)
	if n == 0 || *err != nil {
		return nil
	}
	if n--; n > uint64(len(c.of[colBlobs])) {
		*err = fmt.Errorf("%d bytes with %d left: %w", n, len(c.of[colBlobs]), index.ErrInvalid)
		return nil
	}
	v := c.of[colBlobs][:n:n]
	c.of[colBlobs] = c.of[colBlobs][n:]
	return v
}
