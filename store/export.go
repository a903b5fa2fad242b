package store

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	sqlite3 "github.com/mattn/go-sqlite3"

	"github.com/peerdex/peerdex/index"
)

// Variant says what a snapshot holds. Values are part of the formats and are never renumbered.
type Variant uint8

// The variants of snapshots. Both are SQLite files of the schema of a location's file, with pages of 4096 bytes, none of
// them free, in rollback-journal format.
const (
	// Compact holds the entries and nothing else: no indexes, tree and dead runs are empty. Its receiver copies the
	// rows into a file of its own, and can't serve deltas from before the snapshot's head.
	Compact Variant = 1
	// Native holds everything that the location's file holds, indexes, tree and dead runs included. Its receiver
	// checks all of it and uses the file itself.
	Native Variant = 2
)

// String returns "compact" or "native".
func (v Variant) String() string {
	switch v {
	case Compact:
		return "compact"
	case Native:
		return "native"
	}
	return fmt.Sprintf("variant(%d)", uint8(v))
}

// Limits of the files made by exports.
const (
	defaultSnapshotSpace = 4 << 30          // bytes
	snapshotIdle         = 15 * time.Minute // an unused one is deleted after so long
)

const (
	snapshotPrefix = "snapshot-" // of every file of this kind in staging/
	pageSize       = 4096
)

// Snapshot is a location at one signed head as an SQLite file, open for reading. Close it when done; the file stays for
// others, and for a transfer that is resumed, until its space is needed. Safe for concurrent use.
type Snapshot struct {
	ID       string // 32 hex digits, random: the same ID stands for the same bytes
	Location index.Location
	Variant  Variant
	Head     index.SignedHead
	Record   []byte // canonical bytes, covered by the head
	Horizon  int64  // lowest seq from which a replica made of it can serve a delta
	Size     int64  // bytes

	file *snapFile
	once sync.Once
}

// ReadAt implements [io.ReaderAt].
func (n *Snapshot) ReadAt(p []byte, off int64) (int, error) { return n.file.f.ReadAt(p, off) }

// Close lets go of the snapshot. Later calls return nil.
func (n *Snapshot) Close() error {
	var err error
	n.once.Do(func() { err = n.file.owner.release(n.file) })
	return err
}

// snapshots keeps the files made by exports. The zero value is ready.
type snapshots struct {
	mu    sync.Mutex
	space int64 // 0 = default
	files []*snapFile
	build chan struct{} // held by the one export that makes a file; nil until the first
}

// snapFile is one file in staging/, and those who read it.
type snapFile struct {
	Snapshot // as given out; its file is nil
	owner    *snapshots
	path     string
	f        *os.File // open while users > 0
	users    int
	used     time.Time // when the last of them let go
}

// SetSnapshotSpace bounds the bytes that snapshots for others may take in staging/; 0 means 4 GiB. It holds from the next
// export on.
func (s *Store) SetSnapshotSpace(bytes int64) {
	s.snaps.mu.Lock()
	defer s.snaps.mu.Unlock()
	s.snaps.space = bytes
}

// Export returns a snapshot of a location, own or replica, at the head that it stands at. Writes go on meanwhile. The
// snapshot is made once for all who ask for the same state and variant. It returns [ErrNotFound] if there is no such
// location, and [ErrBusy] if the snapshots in use leave no space; those unused are deleted first, the oldest first. A store
// that was opened for reading makes compact ones only, and a process that opens the folder for writing meanwhile may take
// away one that is not complete yet.
func (s *Store) Export(ctx context.Context, l index.Location, v Variant) (*Snapshot, error) {
	if v != Compact && v != Native {
		return nil, fmt.Errorf("export: %v: %w", v, index.ErrInvalid)
	}
	if s.readOnly && v == Native {
		return nil, fmt.Errorf("export %v: the store was opened for reading: %w", v, index.ErrInvalid)
	}
	n, err := s.export(ctx, l, v)
	if err != nil {
		return nil, fmt.Errorf("export %v: %w", v, err)
	}
	return n, nil
}

// CopiesNative reports whether a native snapshot of a location is a copy of its file. If not, the file has free pages and
// would be rebuilt, which takes longer than a compact snapshot.
func (s *Store) CopiesNative(ctx context.Context, l index.Location) (bool, error) {
	free := int64(0)
	err := s.viewLocation(ctx, l, func(c *conn) (err error) {
		free, err = c.int("PRAGMA freelist_count")
		return err
	})
	return free == 0, err
}

func (s *Store) export(ctx context.Context, l index.Location, v Variant) (*Snapshot, error) {
	turn := s.snaps.turn()
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	h, leave, err := s.use(ctx, l)
	if err != nil {
		return nil, err
	}
	defer leave()
	var m meta
	var pages int64
	err = h.read(ctx, func(c *conn) error {
		if m, err = readMeta(c); err == nil {
			pages, err = c.int("PRAGMA page_count")
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if n, err := s.snaps.find(func(f *snapFile) bool {
		return f.Location == l && f.Variant == v && sameState(&f.Head.Head, &m.head.Head)
	}); n != nil || err != nil {
		return n, err
	}
	// No variant is larger than the file it comes from, but for what is written meanwhile.
	if err := s.snaps.reserve(pages * pageSize); err != nil {
		return nil, err
	}
	f := &snapFile{owner: &s.snaps}
	f.ID, f.path = s.newSnapshotPath()
	f.Location, f.Variant = l, v
	if err := buildSnapshot(ctx, h, f); err != nil {
		return nil, errors.Join(err, removeDB(f.path))
	}
	return s.snaps.add(f)
}

// sameState reports whether two heads differ in nothing but "as of".
func sameState(a, b *index.Head) bool {
	x := *a
	x.AsOf = b.AsOf
	return x == *b
}

// OpenSnapshot opens a snapshot that was exported before, by its ID, for a transfer that is resumed. It returns
// [ErrNotFound] when that file was deleted since.
func (s *Store) OpenSnapshot(id string) (*Snapshot, error) {
	n, err := s.snaps.find(func(f *snapFile) bool { return f.ID == id })
	if n == nil && err == nil {
		err = fmt.Errorf("snapshot %q: %w", id, ErrNotFound)
	}
	return n, err
}

// newSnapshotPath returns the name of a file in staging/ that never was there.
func (s *Store) newSnapshotPath() (id, path string) {
	var b [16]byte
	_, _ = rand.Read(b[:])
	id = hex.EncodeToString(b[:])
	return id, filepath.Join(s.dir, "staging", snapshotPrefix+id+".db")
}

// deleteSnapshots deletes what exports and imports left when the process ended.
func (s *Store) deleteSnapshots() error {
	dir := filepath.Join(s.dir, "staging")
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list staging: %w", err)
	}
	for _, f := range files {
		if strings.HasPrefix(f.Name(), snapshotPrefix) {
			if err := os.Remove(filepath.Join(dir, f.Name())); err != nil {
				return fmt.Errorf("delete leftover: %w", err)
			}
		}
	}
	return nil
}

// turn is the token of the one export that may make a file.
func (p *snapshots) turn() chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.build == nil {
		p.build = make(chan struct{}, 1)
	}
	return p.build
}

// find gives out a file that is there; nil if none fits.
func (p *snapshots) find(fits func(*snapFile) bool) (*Snapshot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, f := range p.files {
		if fits(f) {
			return p.open(f)
		}
	}
	return nil, nil
}

func (p *snapshots) add(f *snapFile) (*Snapshot, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n, err := p.open(f)
	if err != nil {
		return nil, errors.Join(err, removeDB(f.path))
	}
	p.files = append(p.files, f)
	return n, nil
}

func (p *snapshots) open(f *snapFile) (*Snapshot, error) {
	if f.users == 0 {
		file, err := os.Open(f.path)
		if err != nil {
			return nil, fmt.Errorf("open snapshot: %w", err)
		}
		f.f = file
	}
	f.users++
	return &Snapshot{
		ID: f.ID, Location: f.Location, Variant: f.Variant, Head: f.Head, Record: f.Record, Horizon: f.Horizon, Size: f.Size, file: f,
	}, nil
}

func (p *snapshots) release(f *snapFile) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f.users--; f.users > 0 {
		return nil
	}
	f.used = time.Now()
	if err := f.f.Close(); !errors.Is(err, os.ErrClosed) { // the store was closed before the snapshot
		return err
	}
	return nil
}

// reserve deletes unused files until there is room for so many bytes: those long idle, then the oldest.
func (p *snapshots) reserve(bytes int64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	space := p.space
	if space == 0 {
		space = defaultSnapshotSpace
	}
	for {
		total, oldest := bytes, -1
		for i, f := range p.files {
			total += f.Size
			if f.users == 0 && (oldest < 0 || f.used.Before(p.files[oldest].used)) {
				oldest = i
			}
		}
		if oldest >= 0 && (total > space || time.Since(p.files[oldest].used) > snapshotIdle) {
			if err := removeDB(p.files[oldest].path); err != nil {
				return fmt.Errorf("delete snapshot: %w", err)
			}
			p.files = append(p.files[:oldest], p.files[oldest+1:]...)
			continue
		}
		if total > space {
			return fmt.Errorf("%d bytes of snapshots, limit %d: %w", total, space, ErrBusy)
		}
		return nil
	}
}

// forget deletes the files of a location. Those in use can be read to their end.
func (p *snapshots) forget(l index.Location) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	p.files = slices.DeleteFunc(p.files, func(f *snapFile) bool {
		if f.Location != l {
			return false
		}
		if err := removeDB(f.path); err != nil && f.users == 0 { // some systems keep what is open; Open deletes it
			errs = append(errs, err)
		}
		return true
	})
	return errors.Join(errs...)
}

// close deletes all files.
func (p *snapshots) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, f := range p.files {
		if f.users > 0 {
			errs = append(errs, f.f.Close())
		}
		errs = append(errs, removeDB(f.path))
	}
	p.files = nil
	return errors.Join(errs...)
}

// buildSnapshot makes the file f.path from a location's file, and fills in what f says of it.
func buildSnapshot(ctx context.Context, h *location, f *snapFile) error {
	if err := createPrivate(f.path); err != nil {
		return err
	}
	build := exportNative
	if f.Variant == Compact {
		build = exportCompact
	}
	if err := build(ctx, h, f.path); err != nil {
		return err
	}
	c, err := openConn(f.path, accessRead)
	if err != nil {
		return err
	}
	m, err := readMeta(c)
	if err := errors.Join(err, c.close()); err != nil {
		return err
	}
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	f.Head, f.Record, f.Horizon, f.Size = m.head, m.record, m.horizon, info.Size()
	return nil
}

// createPrivate makes an empty file that only this user can read. SQLite gives journals the same permissions.
func createPrivate(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("staging: %w", fsError(err))
	}
	return f.Close()
}

// attachURI names a file for ATTACH, with the options of SQLite's URIs.
func attachURI(path, options string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + options
}

// exportCompact copies rows and meta in one read transaction. Writers go on in the WAL.
func exportCompact(ctx context.Context, h *location, to string) (err error) {
	c, err := openConn(to, accessScratch)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.create(locationAppID, locationVersion, schema("location.sql")); err != nil {
		return err
	}
	if err := c.run("ATTACH ? AS src", attachURI(h.path, "mode=ro")); err != nil {
		return fmt.Errorf("attach: %w", err)
	}
	return c.tx(func() error {
		// The same text of schema on both sides and nothing but a star: SQLite copies rows without decoding them.
		if err := c.work(ctx, "INSERT INTO main.entries SELECT * FROM src.entries"); err != nil {
			return err
		}
		row, err := c.one("SELECT head, record FROM src.meta")
		if err != nil {
			return err
		}
		var head index.SignedHead
		b, _ := row[0].([]byte)
		if err := head.UnmarshalBinary(b); err != nil {
			return fmt.Errorf("read meta: %w (%w)", ErrCorrupt, err)
		}
		rec, _ := row[1].([]byte)
		return writeMeta(c, &meta{head: head, record: rec, horizon: head.Seq, base: head.Dead})
	})
}

// Copied between two looks at the context.
const (
	backupPages = 4096
	copyBytes   = 1 << 20 // whole pages
)

// exportNative copies the file in one read transaction, without what was deleted from it. A file with free pages, or
// with such whose contents can't be told from what was deleted, is rebuilt instead.
func exportNative(ctx context.Context, h *location, to string) (err error) {
	src, err := openConn(h.path, accessRead)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	quiet, err := h.quiet(src)
	defer func() { err = errors.Join(err, src.rollback()) }()
	if err != nil {
		return err
	}
	free, err := src.int("PRAGMA freelist_count")
	switch {
	case err != nil:
		return err
	case free > 0:
		return rebuildInto(ctx, src, to)
	case quiet:
		err = copyPages(ctx, h, src, to)
	default:
		if err = backup(ctx, src, to); err == nil {
			err = wipeFile(to)
		}
	}
	if errors.Is(err, errNotTree) {
		return rebuildInto(ctx, src, to)
	}
	if err != nil {
		return err
	}
	return markRollback(to)
}

// rebuildInto writes the rows of src, whose read transaction it ends, to a file that nothing else was ever in.
func rebuildInto(ctx context.Context, src *conn, to string) error {
	if err := errors.Join(src.rollback(), src.script("PRAGMA query_only=OFF"), os.Truncate(to, 0)); err != nil {
		return err
	}
	return src.work(ctx, "VACUUM INTO ?", to)
}

// quiet empties the WAL and begins a read transaction on c before anything is written again. It reports whether that
// went well: as long as the transaction stands, the file itself holds all of the state that c sees, and stays as it is,
// since no checkpoint can write to it. Writers go on in the WAL.
func (h *location) quiet(c *conn) (bool, error) {
	quiet := false
	err := h.write(func(w *conn) error {
		// Long readers are not waited for: pages are read through SQLite then.
		if err := w.script("PRAGMA busy_timeout=100"); err != nil {
			return err
		}
		busy, err := w.int("PRAGMA wal_checkpoint(TRUNCATE)")
		var se sqlite3.Error
		if errors.As(err, &se) && se.Code == sqlite3.ErrBusy {
			busy, err = 1, nil
		}
		if err := errors.Join(err, w.script("PRAGMA busy_timeout=10000")); err != nil {
			return err
		}
		if err := c.run("BEGIN"); err != nil {
			return err
		}
		if _, err := readMeta(c); err != nil { // the transaction begins with the first read
			return err
		}
		info, err := os.Stat(h.path + "-wal")
		quiet = busy == 0 && err == nil && info.Size() == 0
		return nil
	})
	return quiet, err
}

// copyPages copies the pages that src sees from the file itself, and wipes them.
func copyPages(ctx context.Context, h *location, src *conn, to string) (err error) {
	pages, err := src.int("PRAGMA page_count")
	if err != nil {
		return err
	}
	raw, err := h.rawFile()
	if err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	buf := make([]byte, min(pages*pageSize, copyBytes))
	for at := int64(0); at < pages*pageSize; at += int64(len(buf)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		buf = buf[:min(int64(len(buf)), pages*pageSize-at)]
		if _, err := raw.ReadAt(buf, at); err != nil {
			return fmt.Errorf("copy pages: %w", err)
		}
		if err := wipePages(buf, at/pageSize+1); err != nil {
			return err
		}
		if _, err := out.Write(buf); err != nil {
			return fmt.Errorf("copy pages: %w", fsError(err))
		}
	}
	return nil
}

// backup copies all pages of src, whose read transaction is open, to a fresh file.
func backup(ctx context.Context, src *conn, to string) (err error) {
	dst, err := openConn(to, accessScratch)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, dst.close()) }()
	b, err := dst.Backup("main", src.SQLiteConn, "main")
	if err != nil {
		return fmt.Errorf("copy pages: %w", dbError(err))
	}
	for done := false; !done && err == nil; {
		if err = ctx.Err(); err == nil {
			done, err = b.Step(backupPages)
		}
	}
	if err := errors.Join(dbError(err), b.Finish()); err != nil {
		return fmt.Errorf("copy pages: %w", err)
	}
	return nil
}

// markRollback marks a closed file as one of a rollback journal, so that it can be read without a WAL beside it.
func markRollback(path string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte{1, 1}, 18)
	return errors.Join(err, f.Close())
}
