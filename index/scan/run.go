package scan

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/peerdex/peerdex/index"
)

// errBreak says that the loop over the changes was left.
var errBreak = errors.New("loop left")

// progressEvery is the shortest time between two calls of Config.Progress.
const progressEvery = 100 * time.Millisecond

// run is the state of a walk, of the iterating goroutine only.
type run struct {
	cfg    *Config
	fs     fsys
	root   inode
	queue  *lookahead
	yield  func(index.Change, error) bool
	res    Result
	begin  time.Time
	told   time.Time // of the last progress
	slab   []node    // memory for the folders found in the folder at hand
	kids   []*node   // those to walk
	mounts []*node   // those that are known and of other filesystems
	path   []byte
}

func (s *Scan) run(ctx context.Context, yield func(index.Change, error) bool) error {
	if err := s.cfg.validate(); err != nil {
		return err
	}
	begin := time.Now()
	fs, root, err := s.openFS(s.cfg.Root)
	if err != nil {
		return err
	}
	defer fs.close()
	r := &run{
		cfg: &s.cfg, fs: fs, root: root, queue: newLookahead(fs, root.dev), yield: yield,
		res: Result{NextID: s.cfg.NextID}, begin: begin, told: begin,
	}
	halted := make(chan struct{})
	unhook := context.AfterFunc(ctx, func() { r.queue.halt(); close(halted) })
	defer func() {
		if !unhook() {
			<-halted
		}
	}()
	defer r.queue.close()
	if err := r.walk(ctx); err != nil {
		return err
	}
	r.res.Duration = time.Since(begin)
	s.result = r.res
	return nil
}

// walk handles the root first, before any worker starts: what is wrong with it comes before the first change.
func (r *run) walk(ctx context.Context) error {
	r.queue.push([]*node{{id: index.RootID}})
	n := r.queue.take()
	if n == nil {
		return stopError(ctx)
	}
	if err := n.listing.err; err != nil {
		return rootError(err)
	}
	if n.listing.empty() && r.cfg.HasEntries {
		return ErrRootEmpty
	}
	filled := r.cfg.HasEntries || !n.listing.empty()
	if err := r.rootRow(ctx); err != nil {
		return err
	}
	r.queue.start(r.cfg.Workers)
	for ; n != nil && ctx.Err() == nil; n = r.queue.take() {
		if err := r.folder(ctx, n); err != nil {
			return err
		}
	}
	if ctx.Err() != nil { // else take found the end
		return stopError(ctx)
	}
	return r.checkRoot(filled)
}

func stopError(ctx context.Context) error { return fmt.Errorf("stopped: %w", ctx.Err()) }

// rootRow yields the root's own row if it differs.
func (r *run) rootRow(ctx context.Context) error {
	known := r.cfg.RootEntry
	e := index.Entry{
		ID: index.RootID, Kind: index.KindDir, MTime: r.root.mtime, Mode: uint32(r.root.mode), Attrs: known.Attrs,
	}
	r.res.Folders++
	if known.ID == e.ID && known.Kind == e.Kind && known.MTime == e.MTime && known.Mode == e.Mode {
		return nil
	}
	r.res.Changed++
	return r.put(ctx, e)
}

// checkRoot looks whether the root is still the folder it was, and still holds something if filled is set.
func (r *run) checkRoot(filled bool) error {
	now, err := r.fs.root()
	switch {
	case err != nil:
		return rootError(err)
	case now.kind != index.KindDir || !now.sameNode(r.root):
		return fmt.Errorf("%w: another took its place during the scan", ErrRootMissing)
	case !filled:
		return nil
	}
	f, err := r.fs.open("")
	if err != nil {
		return rootError(err)
	}
	defer f.close()
	switch _, err := f.next(); {
	case errors.Is(err, io.EOF):
		return ErrRootEmpty
	case err != nil:
		return rootError(err)
	}
	return nil
}

// folder compares one listed folder with what the store knows of it, yields what differs, and queues its folders.
func (r *run) folder(ctx context.Context, n *node) error {
	l := n.listing
	if l.gone || l.err != nil || len(l.errs) > 0 {
		if err := r.checkRoot(false); err != nil {
			return err
		}
	}
	switch {
	case l.gone:
		r.res.Missing = append(r.res.Missing, Missing{ID: n.id, Kind: index.KindDir})
	case l.err != nil:
		r.unreadable(n, "", l.err)
	}
	for _, bad := range l.refused {
		r.unreadable(n, bad.name, bad.err)
	}
	r.kids, r.mounts = r.kids[:0], r.mounts[:0]
	r.slab = make([]node, 0, l.dirs)
	if !l.gone {
		if err := r.merge(ctx, n, l); err != nil {
			return err
		}
	}
	for _, m := range r.mounts {
		if err := r.keepMount(ctx, m); err != nil {
			return err
		}
	}
	n.listing = nil // n lives on above its folders
	r.queue.push(r.kids)
	r.progress()
	return nil
}
