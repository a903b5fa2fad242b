package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/peerdex/peerdex/index"
)

// maxReaders bounds the read connections of one location's file.
const maxReaders = 4

// location is one open generation of a location's file: a writer, and a pool of readers beside it. It is closed when
// it was retired and the last user has let go.
type location struct {
	path       string
	own        bool
	quarantine *QuarantineError // not nil: nothing of the file is used, see Quarantine
	damaged    func(error)      // told of errors that say that the file is damaged

	wmu    sync.Mutex // held for a whole Commit or apply: one writer
	writer *conn      // opened on first use; guarded by wmu

	sweepers *pool // of searches, so that they leave the readers to others

	slots chan struct{} // one token a reader in use
	mu    sync.Mutex
	idle  []*conn
	raw   *os.File // of the file itself, for exports; see rawFile
	users int
	gone  bool          // retired: no new users
	done  chan struct{} // closed when gone and users == 0
}

func (s *Store) newLocation(l index.Location, path, why string) *location {
	h := &location{path: path, own: l.Owner == s.self, sweepers: newPool(), slots: make(chan struct{}, maxReaders), done: make(chan struct{})}
	h.damaged = func(err error) { s.damaged(l, err) }
	if why != "" {
		h.quarantine = &QuarantineError{Location: l, Why: why}
	}
	return h
}

// use returns the open handle of a location; release it when done. A retired handle stays readable until then.
func (s *Store) use(ctx context.Context, l index.Location) (*location, func(), error) {
	for {
		h, err := s.handle(ctx, l)
		if err != nil {
			return nil, nil, err
		}
		if h.quarantine != nil {
			return nil, nil, h.quarantine
		}
		if h.enter() {
			return h, h.leave, nil
		}
		select { // replaced in this moment; the map has the new one
		case <-h.done:
		case <-ctx.Done():
			return nil, nil, ctx.Err()
		}
	}
}

func (s *Store) handle(ctx context.Context, l index.Location) (*location, error) {
	s.mu.Lock()
	h, closed := s.locs[l], s.closed
	s.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	if h != nil && !s.readOnly {
		return h, nil // this process alone switches generations
	}
	gen, why, err := s.node.pointer(ctx, l)
	if err != nil {
		return nil, err
	}
	path := s.locationPath(l, gen)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if h := s.locs[l]; h != nil && (h.path == path && (h.quarantine != nil) == (why != "") || !s.readOnly) {
		return h, nil // opened meanwhile
	}
	// A reader beside a daemon keeps the handle of a generation that the daemon replaced until Close.
	if h := s.locs[l]; h != nil {
		s.stale = append(s.stale, h)
	}
	h = s.newLocation(l, path, why)
	s.locs[l] = h
	return h, nil
}

func (h *location) enter() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.gone {
		return false
	}
	h.users++
	return true
}

func (h *location) leave() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.users--
	if h.gone && h.users == 0 {
		close(h.done)
	}
}

// retire stops new users, waits for the others, closes all connections, and deletes the file named, if any.
func (h *location) retire(remove string) error {
	h.mu.Lock()
	if !h.gone {
		h.gone = true
		if h.users == 0 {
			close(h.done)
		}
	}
	h.mu.Unlock()
	<-h.done
	h.wmu.Lock()
	defer h.wmu.Unlock()
	var errs []error
	for _, c := range h.idle {
		errs = append(errs, c.close())
	}
	h.idle = nil
	errs = append(errs, h.sweepers.close())
	if h.writer != nil {
		errs = append(errs, h.writer.close())
		h.writer = nil
	}
	if h.raw != nil {
		errs = append(errs, h.raw.Close())
		h.raw = nil
	}
	if remove != "" {
		errs = append(errs, removeDB(remove))
	}
	return errors.Join(errs...)
}

// rawFile is a descriptor of the file for reading pages past SQLite. Closing one drops all locks that this process has on
// the file, so it is opened once, and closed by retire after the last connection.
func (h *location) rawFile() (*os.File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.raw == nil {
		f, err := os.Open(h.path)
		if err != nil {
			return nil, err
		}
		h.raw = f
	}
	return h.raw, nil
}

// write runs f with the writer connection, one caller at a time.
func (h *location) write(f func(*conn) error) error {
	h.wmu.Lock()
	defer h.wmu.Unlock()
	if h.writer == nil {
		a := accessReplica
		if h.own {
			a = accessFull
		}
		c, err := h.connect(a)
		if err != nil {
			return err
		}
		h.writer = c
	}
	err := f(h.writer)
	h.tell(err)
	return err
}

// connect opens the file, which must be there: opening another for writing would make an empty one.
func (h *location) connect(a access) (*conn, error) {
	if !exists(h.path) {
		return nil, errNoFile
	}
	c, err := openConn(h.path, a)
	if err == nil {
		if err = c.expect(locationAppID, locationVersion); err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", h.path, err), c.close())
		}
	}
	h.tell(err)
	return c, err
}

// errNoFile is ErrNotFound of a file: its location was dropped in this moment, or somebody deleted it.
var errNoFile = fmt.Errorf("the file is missing: %w", ErrNotFound)

// tell passes damage on to whoever wants to know.
func (h *location) tell(err error) {
	if errors.Is(err, ErrCorrupt) {
		h.damaged(err)
	}
}

// read runs f with a reader connection in a read transaction.
func (h *location) read(ctx context.Context, f func(*conn) error) error {
	select {
	case h.slots <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { <-h.slots }()
	h.mu.Lock()
	var c *conn
	if n := len(h.idle); n > 0 {
		c, h.idle = h.idle[n-1], h.idle[:n-1]
	}
	h.mu.Unlock()
	if c == nil {
		var err error
		if c, err = h.connect(accessRead); err != nil {
			return err
		}
	}
	err := c.view(func() error { return f(c) })
	if errors.Is(err, ErrCorrupt) { // what it has in memory is not to be trusted either
		h.tell(err)
		return errors.Join(err, c.close())
	}
	h.mu.Lock()
	h.idle = append(h.idle, c)
	h.mu.Unlock()
	return err
}

// reader is read for who writes: he can't wait for himself, so ctx bounds the wait for a free connection.
func (h *location) reader(ctx context.Context) reader {
	return func(f func(*conn) error) error { return h.read(ctx, f) }
}

// viewLocation runs f on a consistent view of a location's file.
func (s *Store) viewLocation(ctx context.Context, l index.Location, f func(*conn) error) error {
	h, release, err := s.use(ctx, l)
	if err != nil {
		return fmt.Errorf("location %v: %w", l, err)
	}
	defer release()
	return s.missing(ctx, l, h, h.read(ctx, f))
}

// viewFresh is viewLocation with a connection of its own, which has nothing in memory and tells nobody of damage.
func (s *Store) viewFresh(ctx context.Context, l index.Location, f func(path string, c *conn) error) error {
	h, release, err := s.use(ctx, l)
	if err != nil {
		return fmt.Errorf("location %v: %w", l, err)
	}
	defer release()
	fresh := &location{path: h.path, damaged: func(error) {}}
	c, err := fresh.connect(accessRead)
	if err != nil {
		return s.missing(ctx, l, h, err)
	}
	return errors.Join(c.view(func() error { return f(h.path, c) }), c.close())
}

// missing tells a location that was dropped in this moment from one whose file somebody deleted.
func (s *Store) missing(ctx context.Context, l index.Location, h *location, err error) error {
	if !errors.Is(err, errNoFile) {
		return err
	}
	gen, gerr := s.node.generation(ctx, l)
	if gerr != nil || s.locationPath(l, gen) != h.path {
		return err
	}
	err = fmt.Errorf("%w: its file is missing", ErrCorrupt)
	h.tell(err)
	return err
}

// meta is what a location's file says of itself.
type meta struct {
	head    index.SignedHead
	record  []byte
	horizon int64
	base    index.Hash // chain of dead runs up to the horizon
	token   []byte
}

func readMeta(c *conn) (meta, error) {
	row, err := c.one("SELECT head, record, horizon, token, base FROM meta")
	if errors.Is(err, ErrNotFound) {
		err = fmt.Errorf("%w: there is none", ErrCorrupt)
	}
	if err != nil {
		return meta{}, fmt.Errorf("read meta: %w", err)
	}
	var m meta
	head, _ := row[0].([]byte)
	if len(head) > 0 {
		if err := m.head.UnmarshalBinary(head); err != nil {
			return meta{}, fmt.Errorf("read meta: %w (%w)", ErrCorrupt, err)
		}
	}
	rec, _ := row[1].([]byte)
	m.record = append([]byte(nil), rec...)
	m.horizon, _ = row[2].(int64)
	base, _ := row[4].([]byte)
	if len(base) != 8+index.HashSize || binary.BigEndian.Uint64(base) != uint64(m.horizon) {
		return meta{}, fmt.Errorf("read meta: horizon: %w", ErrCorrupt)
	}
	m.base = index.Hash(base[8:])
	if t, ok := row[3].([]byte); ok {
		m.token = append([]byte(nil), t...)
	}
	return m, nil
}

func writeMeta(c *conn, m *meta) error {
	head := []byte{}
	if m.head.Seq != 0 {
		head, _ = m.head.MarshalBinary()
	}
	var token any
	if m.token != nil {
		token = m.token
	}
	base := append(binary.BigEndian.AppendUint64(nil, uint64(m.horizon)), m.base[:]...)
	err := c.run("INSERT INTO meta (one, head, record, horizon, base, token) VALUES (1, ?, ?, ?, ?, ?)"+
		" ON CONFLICT (one) DO UPDATE SET head = excluded.head, record = excluded.record, horizon = excluded.horizon,"+
		" base = excluded.base, token = excluded.token",
		head, m.record, m.horizon, base, token)
	if err != nil {
		return fmt.Errorf("write meta: %w", err)
	}
	return nil
}

// Held is what this device holds of a location: the head, the record it covers, and the horizon.
type Held struct {
	Head    index.SignedHead
	Record  index.Record
	Raw     []byte // the record's canonical bytes
	Horizon int64
}

// Held reads what this device holds of a location, or ErrNotFound.
func (s *Store) Held(ctx context.Context, l index.Location) (Held, error) {
	var held Held
	err := s.viewLocation(ctx, l, func(c *conn) error {
		m, err := readMeta(c)
		if err != nil {
			return err
		}
		held = Held{Head: m.head, Raw: m.record, Horizon: m.horizon}
		if err := held.Record.UnmarshalBinary(m.record); err != nil {
			return fmt.Errorf("record: %w (%w)", ErrCorrupt, err)
		}
		return nil
	})
	return held, err
}

// Size is how large the file of a location is, without what is not yet in it but in its log. Bytes; [ErrNotFound] if there
// is none.
func (s *Store) Size(ctx context.Context, l index.Location) (int64, error) {
	var pages int64
	err := s.viewLocation(ctx, l, func(c *conn) (err error) {
		pages, err = c.int("PRAGMA page_count")
		return err
	})
	return pages * pageSize, err
}

// Locations lists the locations of which this device has a file, own ones and replicas, in order of owner and ID.
func (s *Store) Locations(ctx context.Context) ([]index.Location, error) {
	gens, err := s.node.generations(ctx)
	if err != nil {
		return nil, err
	}
	return sortedLocations(gens), nil
}
