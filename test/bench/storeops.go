package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
	"github.com/peerdex/peerdex/store"
	"github.com/peerdex/peerdex/store/query"
	"github.com/peerdex/peerdex/test/bench/entryset"
)

// pageRows is how many rows and dead runs a page of a transfer has.
const pageRows = 1000

// commitSet makes a location in s and measures the commit of all entries of a file made by [entryset.Save].
func commitSet(ctx context.Context, s *store.Store, set string) (index.Location, cost, error) {
	l, err := s.Create(ctx, index.LibraryID{1}, index.Record{Name: "bench", Root: "/bench", Platform: "linux"})
	if err != nil {
		return l, cost{}, err
	}
	f, err := os.Open(set)
	if err != nil {
		return l, cost{}, err
	}
	defer f.Close()
	settle()
	begin := start()
	_, err = s.Commit(ctx, l, entryset.Puts(entryset.Load(f)), store.CommitOptions{AsOf: time.Now})
	return l, begin.cost(), err
}

// snapshot is a file as a device receives one: the bytes, and what it needs to know of them.
type snapshot struct {
	variant store.Variant
	head    index.SignedHead
	record  []byte
	file    string
}

// exportSet measures an export, and copies it to a file unless that is "".
func exportSet(ctx context.Context, s *store.Store, l index.Location, v store.Variant, file string) (snapshot, cost, error) {
	settle()
	begin := start()
	n, err := s.Export(ctx, l, v)
	took := begin.cost()
	if err != nil {
		return snapshot{}, cost{}, err
	}
	if file != "" {
		err = writeFile(file, io.NewSectionReader(n, 0, n.Size))
	}
	return snapshot{v, n.Head, n.Record, file}, took, errors.Join(err, n.Close())
}

// importSet measures an import into s, and compares the head that comes out of it.
func importSet(ctx context.Context, s *store.Store, n snapshot) (cost, error) {
	l := n.head.Location
	file := filepath.Join(s.Dir(), "received.db")
	f, err := os.Open(n.file)
	if err != nil {
		return cost{}, err
	}
	defer f.Close()
	if err := writeFile(file, f); err != nil {
		return cost{}, err
	}
	settle()
	begin := start()
	if err := s.ImportFile(ctx, l, file, n.head, n.record, n.variant); err != nil {
		return cost{}, err
	}
	took := begin.cost()
	held, err := s.Held(ctx, l)
	if err == nil && held.Head != n.head {
		err = fmt.Errorf("import %v: the replica stands at seq %d, not %d", n.variant, held.Head.Seq, n.head.Seq)
	}
	return took, err
}

// writeFile makes a file of r's bytes and syncs it.
func writeFile(path string, r io.Reader) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Sync(), f.Close())
}

// editSet commits n scattered changes.
func editSet(ctx context.Context, s *store.Store, l index.Location, seed uint64, n int) error {
	held, err := s.Held(ctx, l)
	if err != nil {
		return err
	}
	edits := entryset.Edits(seed, n, held.Head.NextID, func(id int64) (index.Entry, bool, error) { return live(ctx, s, l, id) })
	_, err = s.Commit(ctx, l, edits, store.CommitOptions{AsOf: time.Now})
	return err
}

// live reads an entry, and says whether there is one.
func live(ctx context.Context, s *store.Store, l index.Location, id int64) (index.Entry, bool, error) {
	e, err := s.Entry(ctx, l, id)
	if errors.Is(err, store.ErrNotFound) {
		return e, false, nil
	}
	return e, err == nil, err
}

// pullDelta measures a delta from owner to replica, page by page, until it is applied and the root was compared. It
// returns how many rows and runs came.
func pullDelta(ctx context.Context, owner, replica *store.Store, l index.Location) (n int, took cost, err error) {
	held, err := owner.Held(ctx, l)
	if err != nil {
		return 0, cost{}, err
	}
	settle()
	begin := start()
	in, err := replica.Intake(ctx, l, held.Head.Epoch, index.ModeDelta)
	if err != nil {
		return 0, cost{}, err
	}
	defer func() { err = errors.Join(err, in.Close()) }()
	for done, first := false, true; !done; first = false {
		tok := in.Token()
		p, err := owner.Page(ctx, store.PageRequest{
			Location: l, Epoch: tok.Epoch, Mode: tok.Mode, Position: tok.Position, Limit: pageRows, Count: first,
		})
		if err != nil {
			return 0, cost{}, err
		}
		var next index.Token
		if next, done, err = tok.Advance(&p, proof.FoldDead); err != nil {
			return 0, cost{}, err
		}
		n += len(p.Rows) + len(p.Dead)
		if err := in.Put(ctx, &p, next, done); err != nil {
			return 0, cost{}, err
		}
	}
	took = begin.cost()
	now, err := replica.Held(ctx, l)
	if err == nil && now.Head != held.Head {
		err = fmt.Errorf("delta: the replica stands at seq %d, not %d", now.Head.Seq, held.Head.Seq)
	}
	return n, took, err
}

// changeOne measures the commit of a new size and time of one file.
func changeOne(ctx context.Context, s *store.Store, l index.Location, e index.Entry) (cost, error) {
	e.Size++
	e.MTime++
	one := func(yield func(index.Change, error) bool) { yield(index.Change{Op: index.Put, Entry: e}, nil) }
	begin := start()
	r, err := s.Commit(ctx, l, one, store.CommitOptions{AsOf: time.Now})
	took := begin.cost()
	if err == nil && r.Put != 1 {
		err = fmt.Errorf("one change: %d rows changed", r.Put)
	}
	return took, err
}

// searchSet measures a search for a word, to its last hit.
func searchSet(ctx context.Context, s *store.Store, l index.Location, word string) (hits int64, took cost, err error) {
	begin := start()
	q, err := query.Parse(word, begin.at)
	if err != nil {
		return 0, cost{}, err
	}
	for _, err := range s.Search(ctx, store.SearchRequest{Query: q, Locations: []index.Location{l}}) {
		if err != nil {
			return 0, cost{}, err
		}
		hits++
	}
	return hits, begin.cost(), nil
}

// listSet measures the listing of a folder by its path.
func listSet(ctx context.Context, s *store.Store, l index.Location, path string) (entries int64, took cost, err error) {
	begin := start()
	list, err := s.List(ctx, l, path, "", 1000)
	return int64(len(list.Entries)), begin.cost(), err
}

// pathTo returns the path of a folder, given by id.
func pathTo(ctx context.Context, s *store.Store, l index.Location, id int64) (string, error) {
	path := ""
	for id != index.RootID {
		e, err := s.Entry(ctx, l, id)
		if err != nil {
			return "", err
		}
		path = e.Name + "/" + path
		id = e.Parent
	}
	return path[:max(len(path)-1, 0)], nil
}
