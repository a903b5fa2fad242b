package store

import (
	"context"
	"crypto/ed25519"
	"embed"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/gofrs/flock"

	"github.com/peerdex/peerdex/index"
)

//go:embed schema/*.sql
var schemaFS embed.FS

// Marks of our database files: SQLite's application_id and user_version.
const (
	nodeAppID       = 0x5044584e // "PDXN"
	nodeVersion     = 1
	locationAppID   = 0x5044584c // "PDXL"
	locationVersion = 1
)

// LockedError says which process has the data folder.
type LockedError struct {
	Dir string
	PID int // 0 when not known
}

// Error names folder and process.
func (e *LockedError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("%s: %v", e.Dir, ErrLocked)
	}
	return fmt.Sprintf("%s: %v (process %d)", e.Dir, ErrLocked, e.PID)
}

// Unwrap returns [ErrLocked].
func (e *LockedError) Unwrap() error { return ErrLocked }

// Store is a data folder. See the package comment.
type Store struct {
	dir      string
	readOnly bool
	lock     *flock.Flock
	key      ed25519.PrivateKey
	self     index.DeviceID
	node     *nodeDB
	steps    *steps // nil but in tests
	limits   limits
	cpu      chan struct{} // one token a worker of a search that reads
	cache    *cache

	mu     sync.Mutex
	closed bool
	locs   map[index.Location]*location
	stale  []*location             // replaced by another process; read-only stores only
	filled map[index.Location]bool // locations with an open intake

	published map[index.Location]index.Hash // the last state that Publish made durable
	onDamage  func(index.Location, error)   // see OnDamage; nil = nobody
	snaps     snapshots
}

// Open opens a data folder for writing and makes it if it isn't there: lock, identity, databases. Leftovers of
// interrupted work are deleted. The error is a [*LockedError] when another process has the folder.
func Open(dir string) (*Store, error) { return openSteps(dir, nil) }

func makeStore(dir string) *Store {
	return &Store{
		dir: dir, locs: map[index.Location]*location{}, filled: map[index.Location]bool{},
		published: map[index.Location]index.Hash{}, cpu: make(chan struct{}, runtime.GOMAXPROCS(0)), cache: newCache(dir),
		limits: limits{chunkRows: chunkRows, stageRows: stageRows, deltaRows: deltaInMemory, besideLeaves: besideLeaves, checkpoint: checkpointBytes, minDead: minDeadRuns, maxDead: maxDeadRuns},
	}
}

func openSteps(dir string, p *steps) (*Store, error) {
	if err := p.at("open: make folders"); err != nil {
		return nil, fmt.Errorf("make data folder: %w", fsError(err))
	}
	for _, d := range []string{dir, filepath.Join(dir, "locations"), filepath.Join(dir, "staging")} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, fmt.Errorf("make data folder: %w", fsError(err))
		}
	}
	s := makeStore(dir)
	s.steps = p
	if err := s.acquireLock(); err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// OpenReadOnly opens a data folder for reading, also while another process writes it. It returns [ErrNotFound] when
// nothing was ever stored there.
func OpenReadOnly(dir string) (*Store, error) {
	s := makeStore(dir)
	s.readOnly, s.cache.readOnly = true, true
	if _, err := os.Stat(filepath.Join(dir, "node.db")); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, ErrNotFound)
	}
	var err error
	if s.key, err = readIdentity(filepath.Join(dir, "identity.key")); err != nil {
		return nil, err
	}
	copy(s.self[:], s.key.Public().(ed25519.PublicKey))
	if s.node, err = openNodeDB(filepath.Join(dir, "node.db"), true, nil); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *Store) open() error {
	var err error
	if s.key, err = loadIdentity(filepath.Join(s.dir, "identity.key"), s.steps); err != nil {
		return err
	}
	copy(s.self[:], s.key.Public().(ed25519.PublicKey))
	if s.node, err = openNodeDB(filepath.Join(s.dir, "node.db"), false, s.steps); err != nil {
		return err
	}
	defer s.steps.passed("open: done")
	if err := s.takeUp(context.Background()); err != nil {
		return err
	}
	return s.deleteLeftovers()
}

func (s *Store) acquireLock() error {
	path := filepath.Join(s.dir, "lock")
	s.lock = flock.New(path, flock.SetPermissions(0o600))
	ok, err := s.lock.TryLock()
	if err != nil {
		return fmt.Errorf("lock data folder: %w", fsError(err))
	}
	if !ok {
		b, _ := os.ReadFile(path)
		pid, _ := strconv.Atoi(strings.TrimSpace(string(b)))
		return &LockedError{Dir: s.dir, PID: pid}
	}
	if err := s.steps.at("open: write lock file"); err != nil {
		return errors.Join(fmt.Errorf("write lock file: %w", fsError(err)), s.lock.Unlock())
	}
	// The file stays for ever: unlinking it would let a second process lock another file of the same name.
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return errors.Join(fmt.Errorf("write lock file: %w", fsError(err)), s.lock.Unlock())
	}
	return nil
}

// Close waits for readers of locations, closes all files and releases the lock. Later calls return nil.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	locs := append(slices.Collect(maps.Values(s.locs)), s.stale...)
	s.mu.Unlock()
	var errs []error
	for _, l := range locs {
		errs = append(errs, l.retire(""))
	}
	errs = append(errs, s.snaps.close(), s.cache.close())
	if s.node != nil {
		errs = append(errs, s.node.close())
	}
	if s.lock != nil {
		errs = append(errs, s.lock.Unlock())
	}
	return errors.Join(errs...)
}

// Dir is the data folder.
func (s *Store) Dir() string { return s.dir }

// Self is this device.
func (s *Store) Self() index.DeviceID { return s.self }

// Identity is the device's key.
func (s *Store) Identity() ed25519.PrivateKey { return s.key }

func (s *Store) locationPath(l index.Location, generation int64) string {
	return filepath.Join(s.dir, "locations", fmt.Sprintf("%s.%d.db", l, generation))
}

func (s *Store) stagingPath(l index.Location, kind string) string {
	return filepath.Join(s.dir, "staging", fmt.Sprintf("%s.%s.db", l, kind))
}

// LocationFile returns the database file in use of a location, for tools that read it by themselves.
func (s *Store) LocationFile(ctx context.Context, l index.Location) (string, error) {
	gen, err := s.node.generation(ctx, l)
	if err != nil {
		return "", err
	}
	return s.locationPath(l, gen), nil
}

// deleteLeftovers removes files of locations that node.db doesn't name, snapshots, and downloads that can't be taken up.
// The rest of staging stays: it is resume state.
func (s *Store) deleteLeftovers() error {
	if err := errors.Join(s.deleteSnapshots(), s.deleteDownloads()); err != nil {
		return err
	}
	gens, err := s.node.generations(context.Background())
	if err != nil {
		return err
	}
	named := map[string]bool{}
	for l, g := range gens {
		named[filepath.Base(s.locationPath(l, g))] = true
	}
	files, err := os.ReadDir(filepath.Join(s.dir, "locations"))
	if err != nil {
		return fmt.Errorf("list locations: %w", err)
	}
	for _, f := range files {
		base := f.Name()
		for _, suffix := range []string{"-wal", "-shm", "-journal"} {
			base = strings.TrimSuffix(base, suffix)
		}
		if !named[base] {
			if err := s.steps.at("open: delete leftover"); err != nil {
				return fmt.Errorf("delete leftover: %w", err)
			}
			if err := os.Remove(filepath.Join(s.dir, "locations", f.Name())); err != nil {
				return fmt.Errorf("delete leftover: %w", err)
			}
		}
	}
	return nil
}

// removeDB deletes a database file with its journals.
func removeDB(path string) error {
	var errs []error
	for _, suffix := range []string{"-wal", "-shm", "-journal", ""} {
		if err := os.Remove(path + suffix); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// syncDir makes renames and deletions in a folder durable.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func schema(name string) string {
	b, err := schemaFS.ReadFile("schema/" + name)
	if err != nil {
		panic(err) // embedded at build time
	}
	return string(b)
}

// exists reports whether a file is there. One that can't be looked at is not missing.
func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, os.ErrNotExist)
}
