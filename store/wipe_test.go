package store

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/peerdex/peerdex/index"
)

// spoilt is a location in which many entries with names of their own were deleted or renamed, in an order that splits
// pages in the middle. It returns names that are gone, and names that are there.
func spoilt(t *testing.T, s *Store, l index.Location, n int, moreGone bool) (gone, live []string) {
	t.Helper()
	r := rand.New(rand.NewPCG(1, 2))
	var first, then []index.Change
	for i := range n {
		name := fmt.Sprintf("unique%08d-%d", r.IntN(1e8), i)
		e := index.Entry{ID: int64(i + 2), Parent: index.RootID, Name: name, Kind: index.KindFile}
		first = append(first, index.Change{Op: index.Put, Entry: e})
		switch k := r.IntN(6); {
		case k == 0:
			e.Name = fmt.Sprintf("unique%08d-new-%d", r.IntN(1e8), i)
			then = append(then, index.Change{Op: index.Put, Entry: e})
			gone, live = append(gone, name), append(live, e.Name)
		case k == 1 || moreGone && i > n/2:
			then = append(then, index.Change{Op: index.Delete, Entry: index.Entry{ID: e.ID}})
			gone = append(gone, name)
		default:
			live = append(live, name)
		}
	}
	commit(t, s, l, first...)
	commit(t, s, l, then...)
	return gone, live
}

// TestNativeExportKeepsNothingThatWasDeleted looks for deleted and former names in the bytes of snapshots that are made
// in every way: by copying pages, by reading them through SQLite, and by writing the file anew.
func TestNativeExportKeepsNothingThatWasDeleted(t *testing.T) {
	for name, c := range map[string]struct {
		arrange  func(t *testing.T, s *Store, l index.Location)
		moreGone bool
	}{
		"pages copied":   {},
		"free pages":     {moreGone: true},
		"a long reader":  {arrange: longReader},
		"overflow pages": {arrange: longRecord},
	} {
		t.Run(name, func(t *testing.T) {
			s, to := newStore(t), newStore(t)
			l := newLocationIn(t, s)
			gone, live := spoilt(t, s, l, 3000, c.moreGone)
			if c.arrange != nil {
				c.arrange(t, s, l)
			}
			path, err := s.LocationFile(t.Context(), l)
			if err != nil {
				t.Fatal(err)
			}
			own, err := openConn(path, accessRead)
			if err != nil {
				t.Fatal(err)
			}
			free, err := own.int("PRAGMA freelist_count")
			if err := errors.Join(err, own.close()); err != nil || (free > 0) != c.moreGone {
				t.Fatalf("%d free pages, %v", free, err)
			}
			snap, err := s.Export(t.Context(), l, Native)
			if err != nil {
				t.Fatal(err)
			}
			defer snap.Close()
			b, err := io.ReadAll(io.NewSectionReader(snap, 0, snap.Size))
			if err != nil {
				t.Fatal(err)
			}
			found := func(names []string) (n int) {
				for _, name := range names {
					if bytes.Contains(b, []byte(name)) {
						n++
					}
				}
				return n
			}
			if n := found(gone); n != 0 || len(gone) < 900 {
				t.Errorf("%d of %d names that are gone are in the snapshot", n, len(gone))
			}
			if n := found(live); n != len(live) {
				t.Errorf("%d of %d names are in the snapshot", n, len(live))
			}
			if err := to.Import(t.Context(), l, bytes.NewReader(b), snap.Head, snap.Record, Native); err != nil {
				t.Fatal(err)
			}
			equal(t, s, to, l)
		})
	}
}

// longReader holds a read transaction while an own location is written, so that its WAL can't be emptied.
func longReader(t *testing.T, s *Store, l index.Location) {
	t.Helper()
	begun, end := make(chan struct{}), make(chan struct{})
	done := make(chan error)
	go func() {
		done <- s.viewLocation(context.Background(), l, func(c *conn) error {
			_, err := readMeta(c) // the transaction begins with the first read
			close(begun)
			<-end
			return err
		})
	}()
	<-begun
	commit(t, s, l, put("written while somebody reads", 1))
	t.Cleanup(func() {
		close(end)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// longRecord makes the record too long for one page.
func longRecord(t *testing.T, s *Store, l index.Location) {
	t.Helper()
	_, err := s.SetRecord(t.Context(), l, func(r *index.Record) { r.Root = "/" + strings.Repeat("r", index.MaxRootPath-1) })
	if err != nil {
		t.Fatal(err)
	}
}

// TestWipePageRefusesNonsense wipes pages whose numbers lead out of the page, or backwards: nothing is touched blindly.
func TestWipePageRefusesNonsense(t *testing.T) {
	sound := make([]byte, pageSize)
	copy(sound, []byte{13, 0x0f, 0xe0, 0, 1, 0x0f, 0xd0, 0, 0x0f, 0xd0}) // a cell at 4048, a free block at 4064
	copy(sound[4064:], []byte{0, 0, 0, 32, 'g', 'o', 'n', 'e'})
	copy(sound[2000:], "gone")
	copy(sound[4048:], "live")
	wiped := slices.Clone(sound)
	if err := wipePage(wiped, false); err != nil || bytes.Contains(wiped, []byte("gone")) || !bytes.Contains(wiped, []byte("live")) {
		t.Fatalf("a sound page: %v", err)
	}
	for name, c := range map[string]struct {
		at   int
		b    []byte
		want error
	}{
		"overflow page":          {0, []byte{0}, errNotTree},
		"more cells than space":  {3, []byte{0xff, 0xff}, ErrCorrupt},
		"content beyond the end": {5, []byte{0xff, 0xff}, ErrCorrupt},
		"free block before":      {1, []byte{0, 1}, ErrCorrupt},
		"free block at the end":  {1, []byte{0x0f, 0xfe}, ErrCorrupt},
		"free block too long":    {4066, []byte{0, 33}, ErrCorrupt},
		"free block too short":   {4066, []byte{0, 3}, ErrCorrupt},
		"free blocks in a ring":  {4064, []byte{0x0f, 0xe0}, ErrCorrupt},
	} {
		page := slices.Clone(sound)
		copy(page[c.at:], c.b)
		if err := wipePage(page, false); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
}
