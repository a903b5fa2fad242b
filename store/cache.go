package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/peerdex/peerdex/index"
)

const (
	cacheAppID   = 0x50445843 // "PDXC"
	cacheVersion = 1

	// What the cache may hold. When it is more, those that were not asked for the longest are forgotten.
	maxAnswers     = 10_000
	maxAnswerBytes = 64 << 20
	// answerOverhead is what a row costs beside body and record, about. Bytes.
	answerOverhead = 600
	// usedEvery is how exactly the time of the last use is kept, so that reading seldom writes.
	usedEvery = time.Minute
)

// Answer is what another device answered about a location.
type Answer struct {
	Head   index.SignedHead // at which it was read
	Record []byte           // of that head, canonical bytes
	Device index.DeviceID   // that answered
	Found  bool             // false: the answer is that there is no such entry
	Body   []byte           // as the asker stored it
}

// cache is cache.db, which is opened when it is first needed. It is lost without harm: a damaged one is begun anew.
type cache struct {
	path     string
	readOnly bool
	max      struct{ answers, bytes int64 }

	mu     sync.Mutex
	c      *conn
	closed bool
}

func newCache(dir string) *cache {
	k := &cache{path: filepath.Join(dir, "cache.db")}
	k.max.answers, k.max.bytes = maxAnswers, maxAnswerBytes
	return k
}

// with runs f alone on the connection. Without a file it is ErrNotFound, unless one is to be made.
func (k *cache) with(ctx context.Context, create bool, f func(*conn) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.closed {
		return ErrClosed
	}
	if k.c == nil {
		if !exists(k.path) && (!create || k.readOnly) {
			return ErrNotFound
		}
		err := k.open()
		if errors.Is(err, ErrCorrupt) && !k.readOnly {
			if err = removeDB(k.path); err == nil {
				err = k.open()
			}
		}
		if err != nil {
			return fmt.Errorf("open cache: %w", err)
		}
	}
	err := f(k.c)
	if errors.Is(err, ErrCorrupt) {
		err = errors.Join(err, k.c.close())
		k.c = nil
		if !k.readOnly {
			err = errors.Join(err, removeDB(k.path))
		}
	}
	return err
}

func (k *cache) open() error {
	a := accessReplica
	if k.readOnly {
		a = accessRead
	}
	c, err := openConn(k.path, a)
	if err != nil {
		return err
	}
	v, err := c.int("PRAGMA user_version")
	switch {
	case err != nil:
	case v == 0 && !k.readOnly:
		err = c.tx(func() error { return c.create(cacheAppID, cacheVersion, schema("cache.sql")) })
	default:
		err = c.expect(cacheAppID, cacheVersion)
	}
	if err != nil {
		return errors.Join(err, c.close())
	}
	k.c = c
	return nil
}

func (k *cache) close() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.closed = true
	if k.c == nil {
		return nil
	}
	err := k.c.close()
	k.c = nil
	return err
}

// Answer returns what was answered to a question about a location, or ErrNotFound.
func (s *Store) Answer(ctx context.Context, l index.Location, question index.Hash) (Answer, error) {
	var a Answer
	err := s.cache.with(ctx, false, func(c *conn) error {
		row, err := c.one("SELECT head, record, device, found, body, used, n FROM answer WHERE owner = ? AND id = ? AND question = ?",
			l.Owner[:], l.ID[:], question[:])
		if err != nil {
			return err
		}
		head, _ := row[0].([]byte)
		if err := a.Head.UnmarshalBinary(head); err != nil {
			return fmt.Errorf("%w (%w)", ErrCorrupt, err)
		}
		a.Record, _ = row[1].([]byte)
		device, _ := row[2].([]byte)
		copy(a.Device[:], device)
		found, _ := row[3].(int64)
		a.Found = found == 1
		a.Body, _ = row[4].([]byte)
		used, _ := row[5].(int64)
		if now := time.Now(); !s.readOnly && now.Sub(time.Unix(0, used)).Abs() >= usedEvery {
			return c.run("UPDATE answer SET used = ? WHERE n = ?", now.UnixNano(), row[6])
		}
		return nil
	})
	if err != nil {
		return Answer{}, fmt.Errorf("cached answer: %w", err)
	}
	return a, nil
}

// KeepAnswer remembers the answer to a question about the location of its head, in place of what was answered before.
// When the cache is full, the answers that were not asked for the longest are forgotten.
func (s *Store) KeepAnswer(ctx context.Context, question index.Hash, a *Answer) error {
	size := int64(len(a.Body) + len(a.Record) + answerOverhead)
	if size > s.cache.max.bytes {
		return nil
	}
	head, err := a.Head.MarshalBinary()
	if err != nil {
		return err
	}
	found := int64(0)
	if a.Found {
		found = 1
	}
	l := a.Head.Location
	err = s.cache.with(ctx, true, func(c *conn) error {
		return c.tx(func() error {
			if err := c.run("DELETE FROM answer WHERE owner = ? AND id = ? AND question = ?", l.Owner[:], l.ID[:], question[:]); err != nil {
				return err
			}
			err := c.run("INSERT INTO answer (owner, id, question, library, head, record, device, found, size, used, body)"+
				" VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", l.Owner[:], l.ID[:], question[:], a.Head.Library[:], head, a.Record, a.Device[:],
				found, size, time.Now().UnixNano(), append([]byte{}, a.Body...))
			if err != nil {
				return err
			}
			return s.cache.trim(ctx, c)
		})
	})
	if err != nil {
		return fmt.Errorf("keep answer: %w", err)
	}
	return nil
}

// trim forgets answers until the cache is a little below its bounds.
func (k *cache) trim(ctx context.Context, c *conn) error {
	row, err := c.one("SELECT count(*), coalesce(sum(size), 0) FROM answer")
	if err != nil {
		return err
	}
	answers, _ := row[0].(int64)
	bytes, _ := row[1].(int64)
	if answers <= k.max.answers && bytes <= k.max.bytes {
		return nil
	}
	var old []int64
	for row, err := range c.query(ctx, "SELECT n, size FROM answer ORDER BY used, size") {
		if err != nil {
			return err
		}
		if answers <= k.max.answers*9/10 && bytes <= k.max.bytes*9/10 {
			break
		}
		n, _ := row[0].(int64)
		size, _ := row[1].(int64)
		old, answers, bytes = append(old, n), answers-1, bytes-size
	}
	for _, n := range old {
		if err := c.run("DELETE FROM answer WHERE n = ?", n); err != nil {
			return err
		}
	}
	return nil
}

// HasAnswers reports whether anything is remembered that was answered about a location.
func (s *Store) HasAnswers(ctx context.Context, l index.Location) (bool, error) {
	err := s.cache.with(ctx, false, func(c *conn) error {
		_, err := c.one("SELECT 1 FROM answer WHERE owner = ? AND id = ? LIMIT 1", l.Owner[:], l.ID[:])
		return err
	})
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// ForgetAnswers forgets what was answered about a location.
func (s *Store) ForgetAnswers(ctx context.Context, l index.Location) error {
	return s.forgetAnswers(ctx, func(c *conn) error {
		return c.run("DELETE FROM answer WHERE owner = ? AND id = ?", l.Owner[:], l.ID[:])
	})
}

// forgetForeign forgets what was answered under another library.
func (s *Store) forgetForeign(ctx context.Context, lib index.LibraryID) error {
	return s.forgetAnswers(ctx, func(c *conn) error { return c.run("DELETE FROM answer WHERE library <> ?", lib[:]) })
}

func (s *Store) forgetAnswers(ctx context.Context, f func(*conn) error) error {
	err := s.cache.with(ctx, false, func(c *conn) error { return c.tx(func() error { return f(c) }) })
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("forget answers: %w", err)
	}
	return nil
}
