package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/peerdex/peerdex/index"
)

const (
	stageDownload = "download" // kind of the staging file of a snapshot on its way in
	stateSuffix   = ".json"    // of what is known of it, beside it

	// checkpointBytes is after how many bytes a download is made durable, so that a process that ends loses no more.
	checkpointBytes = 32 << 20
	// downloadAge is how long a download that broke off is worth its space: exports don't live longer where they are.
	downloadAge = 24 * time.Hour
	// spaceMargin is what must be free beyond what an import is expected to take.
	spaceMargin = 16 << 20
)

// Incoming is what a provider says of a snapshot that it sends.
type Incoming struct {
	ID      string // see [Snapshot]
	Variant Variant
	Size    int64 // bytes
	Head    index.SignedHead
	Record  []byte // canonical bytes, covered by the head
}

// Download is a snapshot on its way in from another device: a file in staging/ that grows from its beginning, until
// [Download.Finish] proves it right and makes it the replica. What is there when it is closed, or when the process ends,
// is there for the next one. A location has one at most. Make it with [Store.Download]; always Close it. Not safe for
// concurrent use, but for Proved.
type Download struct {
	s    *Store
	im   importer // of in.Head and in.Record once there is a file
	in   Incoming // ID "" = there is no file
	at   int64    // bytes there
	file *os.File // nil when there is none, or when it is whole and being proved

	saved  int64      // bytes that are durable, as far as the last checkpoint begun says
	saving chan error // outcome of the checkpoint under way; nil if there is none
}

// downloadState is what is kept beside the file. Head is in its canonical bytes.
type downloadState struct {
	ID      string
	Variant Variant
	Size    int64
	Offset  int64 // so many bytes of the file are durable; what lies behind is not looked at
	Head    []byte
	Record  []byte
}

// Download begins to receive a snapshot of a location, or takes up what an earlier Download left of one. While it is
// open, nothing else can fill the location: others get [ErrBusy].
func (s *Store) Download(l index.Location) (*Download, error) {
	if l.Owner == s.self || s.readOnly {
		return nil, fmt.Errorf("download: location %v: %w", l, index.ErrInvalid)
	}
	if err := s.claim(l); err != nil {
		return nil, fmt.Errorf("download: %w", err)
	}
	d := &Download{s: s, im: importer{s: s, loc: l, path: s.stagingPath(l, stageDownload)}}
	if err := d.resume(); err != nil {
		s.unclaim(l)
		return nil, fmt.Errorf("download: %w", err)
	}
	return d, nil
}

// resume takes up the file that is there, as far as it is known to be durable; otherwise it is deleted.
func (d *Download) resume() error {
	st, head, err := readDownload(d.im.path)
	if err != nil || head.Location != d.im.loc {
		return removeDownload(d.im.path)
	}
	f, err := os.OpenFile(d.im.path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(st.Offset), seekTo(f, st.Offset)); err != nil {
		return errors.Join(err, f.Close())
	}
	d.file, d.at, d.saved = f, st.Offset, st.Offset
	d.expect(&Incoming{ID: st.ID, Variant: st.Variant, Size: st.Size, Head: head, Record: st.Record})
	return nil
}

func seekTo(f *os.File, at int64) error {
	_, err := f.Seek(at, 0)
	return err
}

func (d *Download) expect(in *Incoming) {
	d.in, d.im.head, d.im.record = *in, in.Head, in.Record
}

// readDownload reads what is kept beside the file at path, and checks that the file has as much as that says.
func readDownload(path string) (st downloadState, head index.SignedHead, err error) {
	b, err := os.ReadFile(path + stateSuffix)
	if err != nil {
		return st, head, err
	}
	if err := json.Unmarshal(b, &st); err != nil {
		return st, head, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if err := head.UnmarshalBinary(st.Head); err != nil {
		return st, head, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	info, err := os.Stat(path)
	if err != nil {
		return st, head, err
	}
	if st.ID == "" || st.Offset < 1 || st.Offset > st.Size || info.Size() < st.Offset || st.Size > maxSnapshot(&head.Head) {
		return st, head, fmt.Errorf("%d bytes of %d, %d there: %w", st.Offset, st.Size, info.Size(), ErrCorrupt)
	}
	return st, head, nil
}

func removeDownload(path string) error {
	errs := []error{removeDB(path)}
	for _, p := range []string{path + stateSuffix, path + stateSuffix + ".new"} {
		if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// deleteDownloads deletes what can't be taken up any more.
func (s *Store) deleteDownloads() error {
	dir := filepath.Join(s.dir, "staging")
	files, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("list staging: %w", err)
	}
	for _, f := range files {
		name, _, ok := strings.Cut(f.Name(), "."+stageDownload+".db")
		if !ok {
			continue
		}
		path := filepath.Join(dir, name+"."+stageDownload+".db")
		if _, _, err := readDownload(path); err == nil {
			if info, err := os.Stat(path + stateSuffix); err == nil && time.Since(info.ModTime()) < downloadAge {
				continue
			}
		}
		if err := removeDownload(path); err != nil {
			return fmt.Errorf("delete leftover: %w", err)
		}
	}
	return nil
}

// Have says what is there: a snapshot's ID, "" for nothing, its variant, and the number of its first bytes.
func (d *Download) Have() (id string, v Variant, offset int64) { return d.in.ID, d.in.Variant, d.at }

// Incoming returns what is known of the snapshot that is there.
func (d *Download) Incoming() Incoming { return d.in }

// Whole reports whether all bytes are there.
func (d *Download) Whole() bool { return d.in.ID != "" && d.at == d.in.Size }

// Proved is how many entries [Download.Finish] has proved so far. Safe for concurrent use.
func (d *Download) Proved() int64 { return d.im.proved.Load() }

// Begin says what comes, and from which byte on: what [Download.Have] says of the same snapshot, or 0, and then what was
// there is deleted. The error is that of [Store.Import] for what can be known without the file; [ErrMismatch] also if
// the size can't be that of what the head says, or the snapshot is another than it was; [ErrDiskFull] if there is no
// room for it.
func (d *Download) Begin(ctx context.Context, in Incoming, offset int64) error {
	im := importer{s: d.s, loc: d.im.loc, head: in.Head, record: in.Record}
	if err := im.expect(ctx); err != nil {
		return fmt.Errorf("download: %w", err)
	}
	if limit := maxSnapshot(&in.Head.Head); in.ID == "" || in.Size < pageSize || in.Size > limit {
		return fmt.Errorf("download: snapshot %q of %d bytes, at most %d: %w", in.ID, in.Size, limit, ErrMismatch)
	}
	if offset != 0 {
		if offset != d.at || d.in.ID != in.ID || d.in.Variant != in.Variant || d.in.Size != in.Size || d.in.Head != in.Head {
			return fmt.Errorf("download: not the snapshot that was begun: %w", ErrMismatch)
		}
		return d.s.checkSpace(&in, in.Size-offset)
	}
	if err := d.Discard(); err != nil {
		return err
	}
	if err := d.s.checkSpace(&in, in.Size); err != nil {
		return err
	}
	if err := createPrivate(d.im.path); err != nil {
		return err
	}
	f, err := os.OpenFile(d.im.path, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	d.file = f
	d.expect(&in)
	return nil
}

// checkSpace reports [ErrDiskFull] if the disk has no room for what is missing and for what an import makes of the whole.
func (s *Store) checkSpace(in *Incoming, missing int64) error {
	free, ok := freeSpace(filepath.Join(s.dir, "staging"))
	need := missing + spaceMargin
	if in.Variant == Compact {
		need += 2 * in.Size // the rows again, with indexes
	}
	if ok && free < need {
		return fmt.Errorf("download: %d bytes free, %d needed: %w", free, need, ErrDiskFull)
	}
	return nil
}

// Write takes the next bytes. The error is [ErrMismatch] if there are more than the snapshot has.
func (d *Download) Write(p []byte) (int, error) {
	if d.file == nil || int64(len(p)) > d.in.Size-d.at {
		return 0, fmt.Errorf("download: more than %d bytes: %w", d.in.Size, ErrMismatch)
	}
	n, err := d.file.Write(p)
	d.at += int64(n)
	if err != nil {
		return n, fmt.Errorf("download: %w", fsError(err))
	}
	if d.at-d.saved >= d.s.limits.checkpoint {
		if err := d.wait(false); err != nil {
			return n, err
		}
		d.checkpoint()
	}
	return n, nil
}

// checkpoint makes what is there durable, beside the writing of more. If one is under way, it is left for later.
func (d *Download) checkpoint() {
	if d.saving != nil {
		return
	}
	st := downloadState{ID: d.in.ID, Variant: d.in.Variant, Size: d.in.Size, Offset: d.at, Record: d.in.Record}
	st.Head, _ = d.in.Head.MarshalBinary()
	file, path, done := d.file, d.im.path+stateSuffix, make(chan error, 1)
	d.saved, d.saving = d.at, done
	go func() { done <- saveDownload(file, path, &st) }()
}

// wait returns the outcome of the checkpoint under way, if there is one; unless block is set, only if it has ended.
func (d *Download) wait(block bool) error {
	if d.saving == nil {
		return nil
	}
	if !block {
		select {
		case err := <-d.saving:
			d.saving = nil
			return err
		default:
			return nil
		}
	}
	err := <-d.saving
	d.saving = nil
	return err
}

func saveDownload(file *os.File, path string, st *downloadState) error {
	b, err := json.Marshal(st)
	if err != nil {
		return fmt.Errorf("download: %w", err)
	}
	if err := file.Sync(); err != nil { // before anything says that these bytes are there
		return fmt.Errorf("download: %w", fsError(err))
	}
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return fmt.Errorf("download: %w", fsError(err))
	}
	if err := errors.Join(syncFile(path+".new"), os.Rename(path+".new", path)); err != nil {
		return fmt.Errorf("download: %w", fsError(err))
	}
	return nil
}

// Finish proves a whole download right and makes it the replica, as [Store.Import] does. If ctx ends before that, the
// download stays; after any other error it is gone.
func (d *Download) Finish(ctx context.Context) error {
	if !d.Whole() {
		return fmt.Errorf("download: %d of %d bytes: %w", d.at, d.in.Size, index.ErrInvalid)
	}
	err := d.wait(true)
	// Before SQLite opens the file: closing a descriptor of it later would drop the locks on what may be a replica by then.
	err = errors.Join(err, d.file.Close())
	d.file, d.im.nodes = nil, nil
	if err == nil {
		err = d.im.expect(ctx)
	}
	if err == nil {
		err = d.im.run(ctx, d.in.Variant)
	}
	if err != nil && ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		file, openErr := os.OpenFile(d.im.path, os.O_WRONLY, 0)
		if d.file = file; openErr != nil {
			d.file = nil
		}
		return fmt.Errorf("import %v: %w", d.in.Variant, errors.Join(err, openErr))
	}
	if err = errors.Join(err, d.Discard()); err != nil {
		return fmt.Errorf("import: %w", err)
	}
	return d.s.dropStaging(d.im.loc) // it leads to where the replica no longer is
}

// Discard deletes what is there, so that the next download begins anew. Close still has to be called.
func (d *Download) Discard() error {
	_ = d.wait(true) // whatever became of it is deleted
	var err error
	if d.file != nil {
		err = d.file.Close()
		d.file = nil
	}
	d.in, d.at, d.saved = Incoming{}, 0, 0
	if err := errors.Join(err, removeDownload(d.im.path)); err != nil {
		return fmt.Errorf("download: %w", err)
	}
	return nil
}

// Close ends the Download. What is there is made durable for the next one.
func (d *Download) Close() error {
	defer d.s.unclaim(d.im.loc)
	if d.file == nil {
		return nil
	}
	if d.at == 0 {
		return d.Discard()
	}
	err := d.wait(true)
	if d.at > d.saved || err != nil {
		d.checkpoint()
		err = d.wait(true)
	}
	err = errors.Join(err, d.file.Close())
	d.file = nil
	return err
}
