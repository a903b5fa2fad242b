package scan

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/peerdex/peerdex/index"
)

// Kinds of a row beside those of an entry.
const (
	kindFailed index.Kind = 0   // its lstat failed; row.size is the place of the error
	kindMount  index.Kind = 255 // a folder of another filesystem
)

// rowSize is the size of a row in bytes. It's small, since a folder may hold millions.
const rowSize = 24

// row is one entry of a listing.
type row struct {
	size  int64
	mtime int64
	off   uint32 // of the name: block, and 16 bits of offset in it
	mode  uint16
	kind  index.Kind
	len   uint8 // of the name
}

func (r *row) isDir() bool { return r.kind == index.KindDir || r.kind == kindMount }

func (r *row) entryKind() index.Kind {
	if r.kind == kindMount {
		return index.KindDir
	}
	return r.kind
}

// listing is what one folder holds, in order of names.
type listing struct {
	rows    []row
	first   string   // the names of all rows, in blocks: most folders take one allocation,
	more    []string // and large ones are never copied to grow
	dirs    int      // rows that are folders, or more
	errs    []error
	refused []refusal // names that can't be entries
	err     error     // why rows is not all there is; nil if it is
	gone    bool      // the folder vanished after its own folder was listed
}

type refusal struct {
	name string
	err  error
}

// blockSize bounds a block of names, in bytes.
const blockSize = 1 << 16

func (l *listing) name(i int) string { return l.nameOf(&l.rows[i]) }

func (l *listing) nameOf(r *row) string {
	block, off := l.first, int(r.off%blockSize)
	if b := r.off / blockSize; b > 0 {
		block = l.more[b-1]
	}
	return block[off : off+int(r.len)]
}

// empty reports whether the folder was read to its end and holds nothing at all.
func (l *listing) empty() bool { return l.err == nil && len(l.rows) == 0 && len(l.refused) == 0 }

// cost is about how many bytes the listing holds.
func (l *listing) cost() int {
	return 256 + len(l.first) + blockSize*len(l.more) + rowSize*len(l.rows) + 64*(len(l.errs)+len(l.refused))
}

// node is a folder that waits for its turn, or that others wait below.
type node struct {
	parent  *node // nil for the root
	name    string
	id      int64
	depth   int32    // folders above it
	fresh   bool     // the store knows nothing below it
	listing *listing // once listed
}

// appendPath appends the path below the root, "" for the root.
func (n *node) appendPath(b []byte) []byte {
	if n.parent == nil {
		return b
	}
	if b = n.parent.appendPath(b); n.parent.parent != nil {
		b = append(b, '/')
	}
	return append(b, n.name...)
}

// lister lists folders, one after the other. Its buffers are kept from one to the next.
type lister struct {
	fs     fsys
	dev    uint64
	stop   *atomic.Bool
	path   []byte
	blocks uint32 // of names that are full
	names  []byte // the block at hand
	rows   []row
}

// maxKept bounds the rows that are kept.
const maxKept = 32 << 10

var errStopped = errors.New("stopped")

// list returns what the folder holds.
func (w *lister) list(n *node) *listing {
	l := &listing{}
	f, err := w.fs.open(w.rel(n))
	if err != nil {
		l.err = fmt.Errorf("open folder: %w", err)
		l.gone = errors.Is(err, fs.ErrNotExist) && n.parent != nil && w.vanished(n)
		return l
	}
	defer f.close()
	w.blocks, w.names, w.rows = 0, w.names[:0], w.rows[:0]
	l.err = w.read(f, l)
	w.endBlock(l)
	if cap(w.rows) > maxKept {
		l.rows, w.rows = w.rows, nil
	} else {
		l.rows = slices.Clone(w.rows)
	}
	l.sort()
	return l
}

// endBlock moves the names collected so far into the listing.
func (w *lister) endBlock(l *listing) {
	if block := string(w.names); w.blocks == 0 {
		l.first = block
	} else {
		l.more = append(l.more, block)
	}
	w.names = w.names[:0]
}

// read looks at every entry of an open folder.
func (w *lister) read(f folder, l *listing) error {
	for count := 1; ; count++ {
		if count%1024 == 0 && w.stop.Load() {
			return errStopped
		}
		name, err := f.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read folder: %w", err)
		}
		if len(l.more) >= math.MaxUint32/blockSize {
			return fmt.Errorf("read folder: names of about 4 GiB: %w", index.ErrInvalid)
		}
		w.add(f, l, name)
	}
}

func (w *lister) rel(n *node) string {
	w.path = n.appendPath(w.path[:0])
	return string(w.path)
}

// add looks at one entry and appends its row.
func (w *lister) add(f folder, l *listing, name []byte) {
	if len(name) == 0 || len(name) > index.MaxNameLen || bytes.IndexByte(name, '/') >= 0 {
		s := string(name)
		l.refused = append(l.refused, refusal{s, index.ValidName(s)})
		return
	}
	ino, err := f.lstat(name)
	r := row{len: uint8(len(name))}
	switch {
	case err == nil:
		r.kind, r.mode, r.size, r.mtime = ino.kind, ino.mode, ino.size, ino.mtime
		if ino.kind == index.KindDir {
			l.dirs++
			if ino.dev != w.dev {
				r.kind = kindMount
			}
		}
	case errors.Is(err, fs.ErrNotExist):
		return // gone since its name was read
	default:
		r.kind, r.size = kindFailed, int64(len(l.errs))
		l.errs = append(l.errs, fmt.Errorf("stat: %w", err))
	}
	if len(w.names)+len(name) > blockSize {
		w.endBlock(l)
		w.blocks++
	}
	r.off = w.blocks*blockSize + uint32(len(w.names))
	w.names = append(w.names, name...)
	w.rows = append(w.rows, r)
}

// sort brings the rows in order of names. Some filesystems return a name twice when a folder changes meanwhile.
func (l *listing) sort() {
	order := func(a, b row) int { return strings.Compare(l.nameOf(&a), l.nameOf(&b)) }
	if !slices.IsSortedFunc(l.rows, order) {
		slices.SortFunc(l.rows, order)
	}
	l.rows = slices.CompactFunc(l.rows, func(a, b row) bool { return order(a, b) == 0 })
}

// vanished reports whether the folder is certainly gone: its own folder can be opened and hasn't it any more.
func (w *lister) vanished(n *node) bool {
	parent, err := w.fs.open(w.rel(n.parent))
	if err != nil {
		return false
	}
	defer parent.close()
	_, err = parent.lstat([]byte(n.name))
	return errors.Is(err, fs.ErrNotExist)
}
