package scan

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/peerdex/peerdex/index"
)

// Errors that end a scan before it says anything is missing. ErrRootMissing and ErrRootEmpty mean that the volume is
// probably away.
var (
	// ErrRootMissing says that nothing is at the root's path, or that another folder took its place during the scan.
	ErrRootMissing = errors.New("the folder is missing")
	// ErrRootEmpty says that the root holds nothing, while entries below it are known or were just seen.
	ErrRootEmpty = errors.New("the folder is empty")
	// ErrRootNotFolder says that the root is a file, a symbolic link, or another node that is no folder.
	ErrRootNotFolder = errors.New("not a folder")
	// ErrRootUnreadable says that the root exists and can't be read; the reason is wrapped too.
	ErrRootUnreadable = errors.New("the folder cannot be read")
	// ErrUsed says that [Scan.Changes] was ranged over a second time.
	ErrUsed = errors.New("a scan can be used only once")
)

// Reasons in [Unreadable] that don't come from the operating system.
var (
	// ErrOtherFilesystem says that another filesystem is mounted on the folder.
	ErrOtherFilesystem = errors.New("other filesystem")
	// ErrTooDeep says that index.MaxDepth folders lie above what the folder holds.
	ErrTooDeep = errors.New("too deep")
)

// maxUnreadable bounds the list in a result; the rest is only counted.
const maxUnreadable = 100

// Known is what the store knows of the location. It is called from the iterating goroutine only.
type Known interface {
	// Children yields the live entries of a folder in order of raw name bytes. Changes are yielded, and so may be
	// committed, while this iteration is open.
	Children(ctx context.Context, parent int64) iter.Seq2[index.Entry, error]
}

// Config says what to scan. Root, NextID and Known are needed.
type Config struct {
	// Root is the absolute path of the folder. It may lead through symbolic links but must not be one.
	Root string
	// RootEntry is the row of index.RootID as the store knows it.
	RootEntry index.Entry
	// NextID is the first id to give to a new entry.
	NextID int64
	// Known is what the store knows.
	Known Known
	// HasEntries says that the store holds entries below the root; then an empty root means that the volume is away.
	HasEntries bool
	// Skip reports whether a folder, by its absolute path below Root, is left alone: not entered and not indexed, and
	// missing if it was. It is called from the iterating goroutine. nil skips none.
	Skip func(path string) bool
	// Workers is how many goroutines list folders beside the iterating one; 0 takes a default, by the cores.
	Workers int
	// Progress is called from the iterating goroutine at most 10 times a second, and delays the scan while it runs.
	// It may be nil.
	Progress func(Progress)
}

// Progress says how far a scan is.
type Progress struct {
	Files   int64 // entries seen that are not folders
	Folders int64 // folders seen, the root included
	New     int64 // new rows yielded
	Changed int64 // changed rows yielded
	Elapsed time.Duration
}

// Result is what a scan found beside the changes it yielded.
type Result struct {
	Files           int64        // entries seen that are not folders
	Folders         int64        // folders seen, the root included
	New             int64        // new rows yielded
	Changed         int64        // changed rows yielded
	NextID          int64        // Config.NextID + New
	Missing         []Missing    // what the store knows, or was just told, and the folder no longer has
	Unreadable      []Unreadable // the first 100 of what could not be read; all rows below stay
	UnreadableTotal int64        // how many there were
	Duration        time.Duration
}

// Missing is an entry that is gone, with everything below it.
type Missing struct {
	ID   int64
	Kind index.Kind
	// Replacement is the entry that has the name of a folder now, if there is one and it's no folder. It has no id and
	// is to be inserted when the deletion is decided.
	Replacement *index.Entry
}

// Unreadable is a folder or entry that could not be read.
type Unreadable struct {
	Path string // relative to the root, "/" between names; raw bytes
	Err  error
}

// Scan is one walk over one folder. Make it with [New]. It isn't safe for concurrent use.
type Scan struct {
	cfg    Config
	used   atomic.Bool
	result Result
	openFS func(root string) (fsys, inode, error)
}

// New returns a scan that has not begun. Mistakes in cfg are reported by [Scan.Changes].
func New(cfg Config) *Scan {
	return &Scan{cfg: cfg, openFS: openFS}
}

// Changes walks the folder and yields what is new or differs: puts with their ids, without a path. The strings and
// byte slices of a change may be kept. An error is yielded last; leaving the loop early or ending ctx stops the walk.
// No goroutine is left when the loop has ended.
func (s *Scan) Changes(ctx context.Context) iter.Seq2[index.Change, error] {
	return func(yield func(index.Change, error) bool) {
		if s.used.Swap(true) {
			yield(index.Change{}, ErrUsed)
			return
		}
		if err := s.run(ctx, yield); err != nil && !errors.Is(err, errBreak) {
			yield(index.Change{}, fmt.Errorf("scan %q: %w", s.cfg.Root, err))
		}
	}
}

// Result returns what was found. It is zero until [Scan.Changes] has ended without an error.
func (s *Scan) Result() Result { return s.result }

// validate also fills in the defaults.
func (c *Config) validate() error {
	switch {
	case !filepath.IsAbs(c.Root):
		return fmt.Errorf("root is not an absolute path: %w", index.ErrInvalid)
	case c.Known == nil:
		return fmt.Errorf("no known entries given: %w", index.ErrInvalid)
	case c.NextID <= index.RootID:
		return fmt.Errorf("next id %d: %w", c.NextID, index.ErrInvalid)
	}
	c.Root = filepath.Clean(c.Root)
	if c.Workers <= 0 {
		// More than the cores, since on disks and network filesystems they mostly wait.
		c.Workers = min(max(2*runtime.GOMAXPROCS(0), 4), 16)
	}
	return nil
}
