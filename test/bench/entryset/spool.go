package entryset

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/peerdex/peerdex/index"
)

// Facts are counts of a set.
type Facts struct {
	Entries   int64 // without the root
	Folders   int64 // among them
	MeanName  float64
	MeanDepth float64 // number of names in a path
	Listing   int64   // id of the folder whose number of entries is nearest to 1,000
	Listed    int64   // that number
}

// counter makes Facts of entries in walk order.
type counter struct {
	f            Facts
	names, depth int64
	level, from  int64 // depth of the entry before, and the first id of that depth
	folder, held int64 // the folder whose entries come, and how many came
}

func (c *counter) add(e *index.Entry) {
	if e.Parent >= c.from { // the first of the next level
		c.level, c.from = c.level+1, e.ID
	}
	if e.Parent != c.folder {
		c.close()
		c.folder, c.held = e.Parent, 0
	}
	c.held++
	c.f.Entries++
	c.names += int64(len(e.Name))
	c.depth += c.level
	if e.Kind == index.KindDir {
		c.f.Folders++
	}
}

// close ends a folder.
func (c *counter) close() {
	off := func(n int64) int64 { return max(n-listed, listed-n) }
	if c.held > 0 && (c.f.Listed == 0 || off(c.held) < off(c.f.Listed)) {
		c.f.Listing, c.f.Listed = c.folder, c.held
	}
}

func (c *counter) facts() Facts {
	c.close()
	if n := float64(c.f.Entries); n > 0 {
		c.f.MeanName, c.f.MeanDepth = float64(c.names)/n, float64(c.depth)/n
	}
	return c.f
}

// Blocks of a file made by Save: the length in four bytes, big-endian, then rows one after the other. A row is parent,
// kind, mode, size (uvarint each), time (eight bytes), and name (a byte of length, and the bytes). Ids count from 2.
const blockLen = 64 << 10

// Save writes entries to a file that [Load] reads. It takes what [Set.Entries] yields: entries without hash and
// attributes, in walk order.
func Save(w io.Writer, rows iter.Seq2[index.Entry, error]) (Facts, error) {
	c := counter{}
	b := make([]byte, 4, blockLen+512)
	flush := func() error {
		binary.BigEndian.PutUint32(b, uint32(len(b)-4))
		_, err := w.Write(b)
		b = b[:4]
		return err
	}
	for e, err := range rows {
		if err != nil {
			return Facts{}, err
		}
		c.add(&e)
		b = binary.AppendUvarint(b, uint64(e.Parent))
		b = binary.AppendUvarint(b, uint64(e.Kind))
		b = binary.AppendUvarint(b, uint64(e.Mode))
		b = binary.AppendUvarint(b, uint64(e.Size))
		b = binary.BigEndian.AppendUint64(b, uint64(e.MTime))
		b = append(append(b, byte(len(e.Name))), e.Name...)
		if len(b) >= blockLen {
			if err := flush(); err != nil {
				return Facts{}, err
			}
		}
	}
	return c.facts(), flush()
}

// Load yields the entries that [Save] wrote. It holds one block at a time.
func Load(r io.Reader) iter.Seq2[index.Entry, error] {
	return func(yield func(index.Entry, error) bool) {
		in := bufio.NewReaderSize(r, blockLen)
		id := int64(index.RootID)
		var block []byte
		for {
			var size [4]byte
			_, err := io.ReadFull(in, size[:])
			if errors.Is(err, io.EOF) {
				return
			}
			n := int(min(binary.BigEndian.Uint32(size[:]), 2*blockLen))
			block = slices.Grow(block[:0], n)[:n]
			if err == nil {
				_, err = io.ReadFull(in, block)
			}
			if err != nil {
				yield(index.Entry{}, fmt.Errorf("load entries: %w", err))
				return
			}
			rest := row{text: string(block)} // names are parts of it
			for rest.text != "" {
				id++
				e := rest.next()
				if e.ID = id; rest.short {
					yield(index.Entry{}, fmt.Errorf("load entries: row %d: %w", id, io.ErrUnexpectedEOF))
					return
				}
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// row reads rows from the front of a block.
type row struct {
	text  string
	short bool // it ended too early
}

func (r *row) next() index.Entry {
	e := index.Entry{Parent: r.uvarint(), Kind: index.Kind(r.uvarint()), Mode: uint32(r.uvarint()), Size: r.uvarint()}
	for _, c := range []byte(r.take(8)) {
		e.MTime = e.MTime<<8 | int64(c)
	}
	if n := r.take(1); n != "" {
		e.Name = r.take(int(n[0]))
	}
	return e
}

func (r *row) take(n int) string {
	if n > len(r.text) {
		r.text, r.short = "", true
		return ""
	}
	s := r.text[:n]
	r.text = r.text[n:]
	return s
}

func (r *row) uvarint() int64 {
	var v int64
	for i := range len(r.text) {
		c := r.text[i]
		if i*7 > 56 {
			break
		}
		v |= int64(c&0x7f) << (7 * i)
		if c < 0x80 {
			r.text = r.text[i+1:]
			return v
		}
	}
	r.text, r.short = "", true
	return 0
}
