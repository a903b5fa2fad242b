package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/store"
	"github.com/peerdex/peerdex/test/bench/entryset"
)

// Works of the store benchmark, in the order in which they are told of.
const (
	workFloor         = "floor"
	workCommit        = "commit"
	workExportNative  = "export native"
	workExportCompact = "export compact"
	workImportNative  = "import native"
	workImportCompact = "import compact"
	workDelta         = "delta"
	workOneChange     = "one change"
	workSearchNone    = "search, no hit"
	workSearchSome    = "search, hits"
	workList          = "list"
	workStream        = "stream"
)

// Samples of small works in each run.
const (
	changeSamples = 40
	listSamples   = 20
)

// storeBench is one run of the store benchmark. It is all in one folder, and one goroutine at a time.
type storeBench struct {
	runs  int
	dir   string
	set   string // file of the entries, made by entryset.Save
	seed  uint64
	notes io.Writer
	res   storeResult
	times map[string]timing

	owner *store.Store
	loc   index.Location
	file  string     // of the location
	snaps []snapshot // of the location, one of each variant
	made  int        // folders and files so far
}

func benchStore(ctx context.Context, args []string, out, notes io.Writer) (err error) {
	fs := flag.NewFlagSet("bench store", flag.ContinueOnError)
	fs.SetOutput(notes)
	var sets setFlags
	sets.add(fs)
	runs := fs.Int("runs", 5, "how often everything is `run`; figures are medians")
	dir := fs.String("dir", "", "`folder` in which to work; default: that for temporary files")
	asJSON := fs.Bool("json", false, "print one JSON object")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 || *runs < 1 {
		return errors.New("store takes flags only, and -runs of 1 or more; -h lists them")
	}
	set, err := sets.open()
	if err != nil {
		return err
	}
	b := &storeBench{runs: *runs, seed: sets.seed, notes: notes, times: map[string]timing{}}
	if b.dir, err = os.MkdirTemp(*dir, "peerdex-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	b.res = newStoreResult(set, &sets, *runs)
	if err := b.all(ctx, set); err != nil {
		return err
	}
	b.res.fill(b.times)
	if *asJSON {
		return json.NewEncoder(out).Encode(&b.res)
	}
	return b.res.table(out)
}

// all does everything in turn.
func (b *storeBench) all(ctx context.Context, set *entryset.Set) (err error) {
	if err := b.save(set); err != nil {
		return err
	}
	defer func() {
		if b.owner != nil {
			err = errors.Join(err, b.owner.Close())
		}
	}()
	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"committing, exporting", b.prepare},
		{"commit, exports and imports against the floor", b.rounds},
		{"searching and listing", b.read},
		{"changing", b.change},
		{"memory", b.memory},
	} {
		b.note("%s", step.name)
		if err := step.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	return nil
}

func (b *storeBench) note(format string, args ...any) {
	fmt.Fprintf(b.notes, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// save writes the set to a file, so that nothing of it stays in memory.
func (b *storeBench) save(set *entryset.Set) error {
	b.note("%d entries", set.Len())
	b.set = filepath.Join(b.dir, "entries")
	f, err := os.Create(b.set)
	if err != nil {
		return err
	}
	b.res.facts, err = entryset.Save(f, set.Entries())
	b.res.word = set.Word()
	return errors.Join(err, f.Close())
}

// fresh returns a path in the folder that never was there.
func (b *storeBench) fresh(name string) string {
	b.made++
	return filepath.Join(b.dir, fmt.Sprintf("%d-%s", b.made, name))
}

// prepare commits the set once for all that reads it, and exports it. It also brings the files into memory.
func (b *storeBench) prepare(ctx context.Context) error {
	var err error
	if b.owner, err = store.Open(b.fresh("owner")); err != nil {
		return err
	}
	if b.loc, _, err = commitSet(ctx, b.owner, b.set); err != nil {
		return err
	}
	if b.file, err = b.owner.LocationFile(ctx, b.loc); err != nil {
		return err
	}
	if err := b.reopen(); err != nil { // closed, it is one file without a log beside it
		return err
	}
	info, err := os.Stat(b.file)
	if err != nil {
		return err
	}
	b.res.BytesPerEntry = float64(info.Size()) / float64(b.res.facts.Entries)
	for _, v := range []store.Variant{store.Native, store.Compact} {
		n, _, err := exportSet(ctx, b.owner, b.loc, v, b.fresh(v.String()+".db"))
		if err != nil {
			return err
		}
		b.snaps = append(b.snaps, n)
	}
	return b.res.compress(b.snaps[1].file)
}

// reopen closes the owner's store and opens it again: snapshots are deleted, and SQLite remembers nothing.
func (b *storeBench) reopen() error {
	dir := b.owner.Dir()
	if err := b.owner.Close(); err != nil {
		return err
	}
	var err error
	b.owner, err = store.Open(dir)
	return err
}

// rounds runs each of the large works in turn with the floor.
func (b *storeBench) rounds(ctx context.Context) error {
	for i := range b.runs {
		b.note("round %d of %d", i+1, b.runs)
		for _, w := range []struct {
			name string
			run  func(context.Context) (cost, error)
		}{
			{workCommit, b.commit},
			{workExportNative, func(ctx context.Context) (cost, error) { return b.export(ctx, store.Native) }},
			{workExportCompact, func(ctx context.Context) (cost, error) { return b.export(ctx, store.Compact) }},
			{workImportNative, func(ctx context.Context) (cost, error) { return b.importing(ctx, b.snaps[0]) }},
			{workImportCompact, func(ctx context.Context) (cost, error) { return b.importing(ctx, b.snaps[1]) }},
		} {
			least, err := floor(ctx, b.file, b.fresh("floor.db"))
			if err != nil {
				return err
			}
			took, err := w.run(ctx)
			if err != nil {
				return err
			}
			b.took(workFloor, least)
			b.took(w.name, took)
		}
	}
	return b.stream()
}

func (b *storeBench) took(work string, c cost) { b.times[work] = append(b.times[work], c) }

// inFresh runs f with an empty store that is deleted afterwards.
func (b *storeBench) inFresh(name string, f func(*store.Store) (cost, error)) (took cost, err error) {
	s, err := store.Open(b.fresh(name))
	if err != nil {
		return cost{}, err
	}
	defer func() { err = errors.Join(err, s.Close(), os.RemoveAll(s.Dir())) }()
	return f(s)
}

func (b *storeBench) commit(ctx context.Context) (cost, error) {
	return b.inFresh("commit", func(s *store.Store) (cost, error) {
		l, took, err := commitSet(ctx, s, b.set)
		if err != nil {
			return cost{}, err
		}
		held, err := s.Held(ctx, l)
		if err == nil && held.Head.Count != b.res.facts.Entries+1 {
			err = fmt.Errorf("commit: %d entries, want %d and the root", held.Head.Count, b.res.facts.Entries)
		}
		return took, err
	})
}

func (b *storeBench) export(ctx context.Context, v store.Variant) (cost, error) {
	if err := b.reopen(); err != nil {
		return cost{}, err
	}
	_, took, err := exportSet(ctx, b.owner, b.loc, v, "")
	return took, err
}

func (b *storeBench) importing(ctx context.Context, n snapshot) (cost, error) {
	return b.inFresh("import", func(s *store.Store) (cost, error) { return importSet(ctx, s, n) })
}

// stream measures what it takes to read the entries alone.
func (b *storeBench) stream() error {
	for range b.runs {
		f, err := os.Open(b.set)
		if err != nil {
			return err
		}
		begin := start()
		for _, err = range entryset.Load(f) {
			if err != nil {
				break
			}
		}
		b.took(workStream, begin.cost())
		if err := errors.Join(err, f.Close()); err != nil {
			return err
		}
	}
	return nil
}

// read measures searches and listings, each after one that isn't counted.
func (b *storeBench) read(ctx context.Context) error {
	for _, w := range []struct{ work, word string }{{workSearchNone, entryset.Absent}, {workSearchSome, b.res.word}} {
		if w.word == "" {
			continue
		}
		for i := range b.runs + 1 {
			hits, took, err := searchSet(ctx, b.owner, b.loc, w.word)
			if err == nil && (hits == 0) != (w.work == workSearchNone) {
				err = fmt.Errorf("%d names hold %q", hits, w.word)
			}
			if err != nil {
				return err
			}
			if b.res.SearchHits = hits; i > 0 {
				b.took(w.work, took)
			}
		}
	}
	folder, err := pathTo(ctx, b.owner, b.loc, b.res.facts.Listing)
	if err != nil {
		return err
	}
	for i := range b.runs*listSamples + 1 {
		n, took, err := listSet(ctx, b.owner, b.loc, folder)
		if err == nil && n != min(b.res.facts.Listed, 1000) {
			err = fmt.Errorf("the listing of %q has %d entries, want %d", folder, n, b.res.facts.Listed)
		}
		if err != nil {
			return err
		}
		if b.res.ListEntries = n; i > 0 {
			b.took(workList, took)
		}
	}
	return nil
}

// change measures deltas to a replica and single changes, and compares the two at the end.
func (b *storeBench) change(ctx context.Context) (err error) {
	replica, err := store.Open(b.fresh("replica"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, replica.Close()) }()
	if _, err := importSet(ctx, replica, b.snaps[0]); err != nil {
		return err
	}
	b.res.DeltaChanges = deltaChanges(b.res.facts.Entries)
	for i := range b.runs {
		if err := editSet(ctx, b.owner, b.loc, b.seed+uint64(i), b.res.DeltaChanges); err != nil {
			return err
		}
		n, took, err := pullDelta(ctx, b.owner, replica, b.loc)
		if err == nil && n != b.res.DeltaChanges {
			err = fmt.Errorf("the delta has %d rows and runs, want %d", n, b.res.DeltaChanges)
		}
		if err != nil {
			return err
		}
		b.took(workDelta, took)
	}
	if err := b.changeOne(ctx); err != nil {
		return err
	}
	if _, _, err := pullDelta(ctx, b.owner, replica, b.loc); err != nil {
		return err
	}
	b.res.Verified, err = equalRows(ctx, b.owner, replica, b.loc)
	return err
}

// deltaChanges is how many changes a delta has: 10,000, or a tenth of a small set.
func deltaChanges(entries int64) int { return int(min(10_000, max(1, entries/10))) }

// changeOne measures changes of single files, all over the set.
func (b *storeBench) changeOne(ctx context.Context) error {
	r := rand.New(rand.NewPCG(b.seed, 2))
	for tries := 0; len(b.times[workOneChange]) < b.runs*changeSamples; tries++ {
		if tries > 100*b.runs*changeSamples {
			return errors.New("one change: there are too few files")
		}
		e, ok, err := live(ctx, b.owner, b.loc, index.RootID+1+r.Int64N(b.res.facts.Entries))
		if err != nil {
			return err
		}
		if !ok || e.Kind != index.KindFile {
			continue
		}
		took, err := changeOne(ctx, b.owner, b.loc, e)
		if err != nil {
			return err
		}
		b.took(workOneChange, took)
	}
	return nil
}

// equalRows compares the files of a location in two stores by SQL.
func equalRows(ctx context.Context, a, b *store.Store, l index.Location) (bool, error) {
	fa, err := a.LocationFile(ctx, l)
	if err != nil {
		return false, err
	}
	fb, err := b.LocationFile(ctx, l)
	if err != nil {
		return false, err
	}
	_, first, err := store.Diff(ctx, fa, fb)
	if err == nil && first != "" {
		err = fmt.Errorf("owner and replica differ: %s", first)
	}
	return err == nil, err
}
