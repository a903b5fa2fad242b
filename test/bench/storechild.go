package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/store"
)

// storeChild is the subcommand as which the program runs itself to see how much memory the works need.
const storeChild = "store-memory"

// peak is the most memory that one work needed.
type peak struct {
	Work  string `json:"work"`
	Bytes int64  `json:"bytes"`
}

// memory runs the works again in a process that does nothing else.
func (b *storeBench) memory(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	dir := b.fresh("memory")
	cmd := exec.CommandContext(ctx, self, storeChild, "-set", b.set, "-dir", dir, "-changes", strconv.Itoa(b.res.DeltaChanges))
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, b.notes
	if err := cmd.Run(); err != nil {
		return err
	}
	var peaks []peak
	if err := json.Unmarshal(out.Bytes(), &peaks); err != nil {
		return err
	}
	b.res.PeakByWork = map[string]int64{}
	for _, p := range peaks {
		b.res.PeakByWork[p.Work] = p.Bytes
		b.res.PeakRSS = max(b.res.PeakRSS, p.Bytes)
	}
	return os.RemoveAll(dir)
}

// runStoreChild does each work once, and prints the peak of each.
func runStoreChild(ctx context.Context, args []string, out, _ io.Writer) (err error) {
	fs := flag.NewFlagSet(storeChild, flag.ContinueOnError)
	set := fs.String("set", "", "file of the entries")
	dir := fs.String("dir", "", "folder to work in")
	changes := fs.Int("changes", 0, "changes in the delta")
	if err := fs.Parse(args); err != nil {
		return err
	}
	c := storeMemory{set: *set, dir: *dir, changes: *changes}
	defer func() { err = errors.Join(err, c.close()) }()
	var peaks []peak
	for _, w := range []struct {
		name string
		run  func(context.Context) error
	}{
		{workCommit, c.commit},
		{workExportNative, func(ctx context.Context) error { return c.export(ctx, store.Native) }},
		{workExportCompact, func(ctx context.Context) error { return c.export(ctx, store.Compact) }},
		{workImportCompact, func(ctx context.Context) error { return c.importing(ctx, 1) }},
		{workImportNative, func(ctx context.Context) error { return c.importing(ctx, 0) }},
		{workDelta, c.delta},
	} {
		resetPeak()
		if err := w.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		bytes, err := peakRSS()
		if err != nil {
			return err
		}
		peaks = append(peaks, peak{w.name, bytes})
	}
	return json.NewEncoder(out).Encode(peaks)
}

// storeMemory is the state of the works in the process that is watched.
type storeMemory struct {
	set, dir       string
	changes        int
	owner, replica *store.Store
	loc            index.Location
	snaps          []snapshot
}

func (c *storeMemory) close() error {
	var errs []error
	for _, s := range []*store.Store{c.owner, c.replica} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

func (c *storeMemory) commit(ctx context.Context) error {
	var err error
	if c.owner, err = store.Open(filepath.Join(c.dir, "owner")); err != nil {
		return err
	}
	c.loc, _, err = commitSet(ctx, c.owner, c.set)
	return err
}

func (c *storeMemory) export(ctx context.Context, v store.Variant) error {
	n, _, err := exportSet(ctx, c.owner, c.loc, v, filepath.Join(c.dir, v.String()+".db"))
	c.snaps = append(c.snaps, n)
	return err
}

// importing makes the replica anew of a snapshot.
func (c *storeMemory) importing(ctx context.Context, i int) error {
	var err error
	if c.replica != nil {
		err = c.replica.Close()
	}
	if err != nil {
		return err
	}
	if c.replica, err = store.Open(filepath.Join(c.dir, c.snaps[i].variant.String())); err != nil {
		return err
	}
	_, err = importSet(ctx, c.replica, c.snaps[i])
	return err
}

func (c *storeMemory) delta(ctx context.Context) error {
	if err := editSet(ctx, c.owner, c.loc, 1, c.changes); err != nil {
		return err
	}
	_, _, err := pullDelta(ctx, c.owner, c.replica, c.loc)
	return err
}
