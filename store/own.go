package store

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"time"

	"github.com/peerdex/peerdex/index"
)

// Create makes a location of this device. The record's Seq is given by the store. The location starts with its root
// folder and a signed head whose AsOf is 0: nothing is known true of it yet.
func (s *Store) Create(ctx context.Context, lib index.LibraryID, rec index.Record) (index.Location, error) {
	l := index.Location{Owner: s.self}
	_, _ = rand.Read(l.ID[:])
	gen, err := s.node.nextGeneration(ctx)
	if err != nil {
		return l, err
	}
	path := s.locationPath(l, gen)
	m, err := s.createFile(path, l, index.Head{Library: lib}, rec)
	if err != nil {
		return l, errors.Join(fmt.Errorf("create location: %w", err), removeDB(path))
	}
	if err := s.steps.at("create: sync folder"); err != nil {
		return l, errors.Join(fmt.Errorf("create location: %w", err), removeDB(path))
	}
	if err := syncDir(filepath.Dir(path)); err != nil {
		return l, errors.Join(fmt.Errorf("create location: %w", err), removeDB(path))
	}
	return l, s.pointOwn(ctx, gen, &m)
}

// createFile makes the file of an own location with its root. Counter, seqs and ids continue after those of last.
func (s *Store) createFile(path string, l index.Location, last index.Head, rec index.Record) (m meta, err error) {
	if err := s.steps.at("create: open file"); err != nil {
		return m, err
	}
	c, err := openConn(path, accessFull)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	err = c.tx(func() error {
		if err := c.create(locationAppID, locationVersion, schema("location.sql"), schema("location_index.sql")); err != nil {
			return err
		}
		rec.Seq = last.Seq + 1
		raw, err := rec.MarshalBinary()
		if err != nil {
			return err
		}
		root := index.Entry{ID: index.RootID, Kind: index.KindDir, Seq: last.Seq + 2}
		if err := insertEntry(c, &root); err != nil {
			return err
		}
		hashes, err := rebuildTree(c, nil)
		if err != nil {
			return err
		}
		m.record = raw
		m.head.Head = index.Head{
			Library: last.Library, Location: l, Epoch: newEpoch(last.Epoch.Counter + 1), Seq: root.Seq, Count: 1,
			NextID: max(last.NextID, index.RootID+1), Root: hashes, Record: index.HashRecord(raw),
		}
		if err := s.steps.at("create: write meta"); err != nil {
			return err
		}
		if err := s.signMeta(c, &m); err != nil {
			return err
		}
		return s.steps.at("create: commit")
	})
	return m, err
}

func newEpoch(counter uint64) index.Epoch {
	var b [8]byte
	_, _ = rand.Read(b[:])
	return index.Epoch{Counter: counter, Random: binary.BigEndian.Uint64(b[:])}
}

// signMeta signs the head and writes it, inside the transaction that changed what it covers.
func (s *Store) signMeta(c *conn, m *meta) error {
	signed, err := index.SignHead(m.head.Head, s.key)
	if err != nil {
		return err
	}
	m.head = signed
	return writeMeta(c, m)
}

// SetRecord changes the record of an own location. It takes a seq.
func (s *Store) SetRecord(ctx context.Context, l index.Location, change func(*index.Record)) (index.SignedHead, error) {
	return s.amend(ctx, l, func(m *meta) error {
		var rec index.Record
		if err := rec.UnmarshalBinary(m.record); err != nil {
			return err
		}
		change(&rec)
		m.head.Seq++
		rec.Seq = m.head.Seq
		raw, err := rec.MarshalBinary()
		m.record, m.head.Record = raw, index.HashRecord(raw)
		return err
	})
}

// NewEpoch begins a new epoch of an own location whose past can't be trusted any more, above everything that heard
// says was given: counter, seq and next id. Dead runs of the old epoch are forgotten; receivers compare rows instead.
func (s *Store) NewEpoch(ctx context.Context, l index.Location, heard index.Head) (index.SignedHead, error) {
	var m meta
	err := s.writeLocation(ctx, l, func(c *conn, _ reader) error {
		return c.tx(func() (err error) {
			if m, err = readMeta(c); err != nil {
				return err
			}
			return s.beginEpoch(c, &m, heard)
		})
	})
	if err == nil {
		err = s.remember(ctx, &m)
	}
	if err != nil {
		return m.head, fmt.Errorf("new epoch: %w", err)
	}
	return m.head, nil
}

// beginEpoch signs what a file holds as the first state of a new epoch, above all that last says was given.
func (s *Store) beginEpoch(c *conn, m *meta, last index.Head) error {
	h := &m.head.Head
	h.Epoch = newEpoch(max(h.Epoch.Counter, last.Epoch.Counter) + 1)
	h.Seq = max(h.Seq, last.Seq) + 1
	h.NextID = max(h.NextID, last.NextID)
	h.Dead = index.Hash{}
	m.horizon, m.base = h.Seq, index.Hash{}
	if err := c.run("DELETE FROM dead"); err != nil {
		return err
	}
	return s.signMeta(c, m)
}

func (s *Store) resign(ctx context.Context, l index.Location, lib index.LibraryID) error {
	_, err := s.amend(ctx, l, func(m *meta) error {
		m.head.Library = lib
		return nil
	})
	return err
}

// amend changes head and record of an own location in one transaction.
func (s *Store) amend(ctx context.Context, l index.Location, change func(*meta) error) (index.SignedHead, error) {
	var m meta
	err := s.writeLocation(ctx, l, func(c *conn, _ reader) error {
		return c.tx(func() (err error) {
			if m, err = readMeta(c); err != nil {
				return err
			}
			if err := change(&m); err != nil {
				return err
			}
			if err := s.signMeta(c, &m); err != nil {
				return err
			}
			return s.steps.at("amend: commit")
		})
	})
	if err == nil {
		err = s.remember(ctx, &m)
	}
	return m.head, err
}

// writeLocation runs f with the writer connection of an own location, and a way to read beside it.
func (s *Store) writeLocation(ctx context.Context, l index.Location, f func(*conn, reader) error) error {
	if l.Owner != s.self {
		return fmt.Errorf("location %v belongs to another device: %w", l, index.ErrInvalid)
	}
	if s.readOnly {
		return fmt.Errorf("the store was opened for reading: %w", index.ErrInvalid)
	}
	h, release, err := s.use(ctx, l)
	if err != nil {
		return fmt.Errorf("location %v: %w", l, err)
	}
	defer release()
	return h.write(func(c *conn) error { return f(c, h.reader(ctx)) })
}

// Drop deletes this device's file of a location, own or replica, with everything staged for it. What was heard of
// the location stays. It waits for readers.
func (s *Store) Drop(ctx context.Context, l index.Location) error {
	gen, err := s.node.generation(ctx, l)
	if err != nil {
		return fmt.Errorf("drop location %v: %w", l, err)
	}
	// Staging first: once no pointer names the location, nothing would ever look for it again.
	if err := s.dropStaging(l); err != nil {
		return fmt.Errorf("drop location: %w", err)
	}
	if err := s.node.unpoint(ctx, l); err != nil {
		return fmt.Errorf("drop location: %w", err)
	}
	s.mu.Lock()
	h := s.locs[l]
	delete(s.locs, l)
	s.mu.Unlock()
	path := s.locationPath(l, gen)
	s.steps.passed("drop: forgotten")
	defer s.steps.passed("drop: done")
	if h != nil {
		return h.retire(path)
	}
	return removeDB(path)
}

func (s *Store) dropStaging(l index.Location) error {
	if err := s.dropReceived(l); err != nil {
		return err
	}
	return s.snaps.forget(l)
}

// dropReceived deletes what transfers of a location received so far.
func (s *Store) dropReceived(l index.Location) error {
	if err := s.steps.at("staging: delete all"); err != nil {
		return err
	}
	return errors.Join(removeDB(s.stagingPath(l, stageFull)), removeDB(s.stagingPath(l, stageDelta)),
		removeDB(s.stagingPath(l, stageTree)), removeDownload(s.stagingPath(l, stageDownload)))
}

// ScanState is what the owner remembers of the last scan of a location.
type ScanState struct {
	State      string // as node/api spells it: "never", "current", "volume away", "unreadable"
	Detail     string
	Started    time.Time
	Took       time.Duration
	Unreadable int64    // folders whose rows were kept
	Paths      []string // the first few of them, relative to the root
	HeldCount  int64    // entries that wait for a second scan before they are deleted
	Held       []int64  // ids of the roots of what waits
}
