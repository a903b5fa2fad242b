package store

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/peerdex/peerdex/index"
)

const (
	// maxSweepers bounds the connections of one location's file that searches use, beside those of other readers.
	maxSweepers = 8
	// sweepCache is their page cache in KiB. A search reads a file once, so that more does not help.
	sweepCache = "1024"
	// pathCache bounds what a sweeper remembers of the paths of folders, in bytes. It does so while the head stays.
	pathCache = 256 << 10
)

// pool keeps the connections of one file that searches use.
type pool struct {
	slots chan struct{} // one token a connection in use
	mu    sync.Mutex
	idle  []*sweeper
}

// sweeper is a connection of a search.
type sweeper struct {
	*conn
	base  string           // path of the root
	head  index.SignedHead // at which paths are known
	paths map[int64]string // of folders met, by id
	size  int              // of paths, in bytes
}

func newPool() *pool { return &pool{slots: make(chan struct{}, maxSweepers)} }

// take returns a connection, and waits for one if it is to. Without waiting it may return nil.
func (p *pool) take(ctx context.Context, path string, wait bool) (*sweeper, error) {
	select {
	case p.slots <- struct{}{}:
	default:
		if !wait {
			return nil, nil
		}
		select {
		case p.slots <- struct{}{}:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	p.mu.Lock()
	var c *sweeper
	if n := len(p.idle); n > 0 {
		c, p.idle = p.idle[n-1], p.idle[:n-1]
	}
	p.mu.Unlock()
	if c != nil {
		return c, nil
	}
	c, err := openSweeper(path)
	if err != nil {
		<-p.slots
	}
	return c, err
}

func openSweeper(path string) (*sweeper, error) {
	if !exists(path) {
		return nil, ErrNotFound
	}
	c, err := openConn(path, accessRead)
	if err != nil {
		return nil, err
	}
	err = c.expect(locationAppID, locationVersion)
	if err == nil {
		err = c.script("PRAGMA cache_size=-" + sweepCache)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", path, err), c.close())
	}
	return &sweeper{conn: c, paths: map[int64]string{}}, nil
}

// put takes a connection back. One that is not well is closed.
func (p *pool) put(c *sweeper, well bool) {
	if well {
		p.mu.Lock()
		p.idle = append(p.idle, c)
		p.mu.Unlock()
	} else {
		_ = c.close() // it only read
	}
	<-p.slots
}

func (p *pool) close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, c := range p.idle {
		errs = append(errs, c.close())
	}
	p.idle = nil
	return errors.Join(errs...)
}

// forget closes a prepared statement: those of searches are of too many forms to keep them.
func (c *conn) forget(sql string) error {
	st, ok := c.stmts[sql]
	if !ok {
		return nil
	}
	delete(c.stmts, sql)
	return dbError(st.Close())
}

// folder returns the path of a folder.
func (c *sweeper) folder(id int64) (string, error) {
	var ids []int64
	var names []string
	at, path := id, c.base
	for at != index.RootID {
		if known, ok := c.paths[at]; ok {
			path = known
			break
		}
		if len(ids) > index.MaxDepth {
			return "", fmt.Errorf("folder %d: deeper than %d folders: %w", id, index.MaxDepth, ErrCorrupt)
		}
		row, err := c.one("SELECT parent, name FROM entries WHERE id = ?", at)
		if errors.Is(err, ErrNotFound) {
			err = ErrCorrupt
		}
		if err != nil {
			return "", fmt.Errorf("folder %d above %d: %w", at, id, err)
		}
		name, _ := row[1].(string)
		ids, names = append(ids, at), append(names, name)
		at, _ = row[0].(int64)
	}
	if len(ids) == 0 {
		return path, nil
	}
	b := []byte(path)
	ends := make([]int, len(ids))
	for i := len(ids) - 1; i >= 0; i-- {
		b = appendName(b, names[i])
		ends[i] = len(b)
	}
	path = string(b)
	if c.size += len(path); c.size > pathCache {
		clear(c.paths)
		c.size = len(path)
	}
	for i, end := range ends { // all share the memory of the longest
		c.paths[ids[i]] = path[:end]
	}
	return path, nil
}

func appendName(path []byte, name string) []byte {
	if n := len(path); n == 0 || path[n-1] != '/' {
		path = append(path, '/')
	}
	return append(path, name...)
}
