package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/store"
	"github.com/peerdex/peerdex/test/bench/entryset"
	"github.com/peerdex/peerdex/test/harness/dump"
)

// syncBench is the sync benchmark. It is all in one folder, and one goroutine at a time.
type syncBench struct {
	how     *strategy
	runs    int
	commits int // of strategy change in each run
	seed    uint64
	dir     string
	set     string // file of the entries, made by entryset.Save
	notes   io.Writer
	res     syncResult

	owner    string // data folder of the provider
	template string // that of a receiver that is paired, and holds nothing
	loc      index.Location
	seq      int64  // the owner's
	made     int    // folders so far
	pushed   uint64 // commits of strategy change so far
}

func benchSync(ctx context.Context, args []string, out, notes io.Writer) (err error) {
	fs := flag.NewFlagSet("bench sync", flag.ContinueOnError)
	fs.SetOutput(notes)
	var sets setFlags
	sets.add(fs)
	name := fs.String("strategy", "auto", "how: "+strings.Join(strategyNames(), ", "))
	changes := fs.Int("changes", -1, "sync so many `changes` to a replica instead of all entries to an empty device; -1: by strategy")
	runs := fs.Int("runs", 3, "how often everything is `run`; figures are medians")
	commits := fs.Int("commits", 20, "with strategy change: so many `commits` one after the other in each run")
	dir := fs.String("dir", "", "`folder` in which to work; default: that for temporary files")
	asJSON := fs.Bool("json", false, "print one JSON object")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if fs.NArg() > 0 || *runs < 1 || *commits < 1 {
		return errors.New("sync takes flags only, and -runs and -commits of 1 or more; -h lists them")
	}
	how := findStrategy(*name)
	if how == nil {
		return fmt.Errorf("-strategy %q: there are %s", *name, strings.Join(strategyNames(), ", "))
	}
	if how.missing != "" {
		return fmt.Errorf("-strategy %s: %s", how.name, how.missing)
	}
	if sets.entries == 0 && sets.paths == "" {
		sets.entries = how.entries
	}
	if *changes < 0 {
		*changes = how.changes
	}
	if (*changes > 0 && how.changed == nil) || (*changes == 0 && how.first == nil) {
		return fmt.Errorf("-strategy %s -changes %d: it can't be", how.name, *changes)
	}
	set, err := sets.open()
	if err != nil {
		return err
	}
	b := &syncBench{how: how, runs: *runs, commits: *commits, seed: sets.seed, notes: notes, res: newSyncResult(set, &sets, how, *changes, *runs)}
	if b.dir, err = os.MkdirTemp(*dir, "peerdex-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.dir)) }()
	if err := b.all(ctx, set); err != nil {
		return err
	}
	b.res.fill()
	if *asJSON {
		return json.NewEncoder(out).Encode(&b.res)
	}
	return b.res.table(out)
}

func (b *syncBench) note(format string, args ...any) {
	fmt.Fprintf(b.notes, "%s  %s\n", time.Now().Format(time.TimeOnly), fmt.Sprintf(format, args...))
}

// all prepares both devices and does every run.
func (b *syncBench) all(ctx context.Context, set *entryset.Set) error {
	b.note("%d entries", set.Len())
	b.set = filepath.Join(b.dir, "entries")
	f, err := os.Create(b.set)
	if err != nil {
		return err
	}
	_, err = entryset.Save(f, set.Entries())
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	b.note("pairing, committing")
	if err := b.prepare(ctx); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	for i := range b.runs {
		b.note("run %d of %d", i+1, b.runs)
		if err := b.run(ctx); err != nil {
			return fmt.Errorf("run %d: %w", i+1, err)
		}
	}
	return nil
}

// fresh returns a path in the folder that never was there.
func (b *syncBench) fresh(name string) string {
	b.made++
	return filepath.Join(b.dir, fmt.Sprintf("%d-%s", b.made, name))
}

// prepare pairs two devices while there is nothing to sync, and then commits the entries on one of them.
func (b *syncBench) prepare(ctx context.Context) (err error) {
	b.owner, b.template = b.fresh("provider"), b.fresh("template")
	p, err := b.start(ctx, "provider", b.owner, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.stop()) }()
	r, err := b.start(ctx, "receiver", b.template, "")
	if err != nil {
		return err
	}
	inv, err := p.ask(order{Do: "invite"})
	if err == nil {
		_, err = r.ask(order{Do: "join", Ticket: inv.Ticket})
	}
	if err := errors.Join(err, r.stop()); err != nil {
		return err
	}
	a, err := p.ask(order{Do: "feed", Set: b.set})
	b.loc, b.seq = a.Location, a.Seq
	return err
}

// start starts a device.
func (b *syncBench) start(ctx context.Context, name, dir, peer string) (*process, error) {
	return startProcess(ctx, b.notes, name, syncChild, "-dir", dir, "-name", name, "-peer", peer, "-strategy", b.how.name)
}

// pair are both devices of a run, in processes that did nothing else before.
type pair struct{ provider, receiver *process }

// both starts the provider and then a receiver on a data folder. They connect by themselves.
func (b *syncBench) both(ctx context.Context, dir string) (*pair, error) {
	p, err := b.start(ctx, "provider", b.owner, "")
	if err != nil {
		return nil, err
	}
	r, err := b.start(ctx, "receiver", dir, p.addr)
	if err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return &pair{p, r}, nil
}

func (p *pair) stop() error { return errors.Join(p.receiver.stop(), p.provider.stop()) }

// usage asks both what they took so far.
func (p *pair) usage() (provider, receiver usage, err error) {
	a, err := p.provider.ask(order{Do: "usage"})
	if err != nil {
		return provider, receiver, err
	}
	c, err := p.receiver.ask(order{Do: "usage"})
	return a.Usage, c.Usage, err
}

// run does one run: the floor, the sync with a receiver that is new, and the proof.
func (b *syncBench) run(ctx context.Context) (err error) {
	file, err := locationFile(ctx, b.owner, b.loc)
	if err != nil {
		return err
	}
	least, err := floor(ctx, file, b.fresh("floor.db"))
	if err != nil {
		return err
	}
	dir := b.fresh("receiver")
	if err := os.CopyFS(dir, os.DirFS(b.template)); err != nil {
		return err
	}
	work, by := b.how.first, b.how.firstBy
	if b.res.Changes > 0 {
		work, by = b.how.changed, b.how.changedBy
	}
	s, err := work(ctx, b, dir)
	if err == nil && by != "" && !slices.Contains(s.used, by) {
		err = fmt.Errorf("the entries came by %q, not by %s", s.used, by)
	}
	if err != nil {
		return err
	}
	s.floor = least
	if err := b.verify(ctx, dir); err != nil {
		return err
	}
	b.res.samples = append(b.res.samples, s)
	return os.RemoveAll(dir)
}

// verify checks everything that can be checked of what a receiver holds, and compares it with the owner's by SQL.
func (b *syncBench) verify(ctx context.Context, dir string) error {
	if b.how.verify != nil {
		return b.how.verify(ctx, b, dir)
	}
	if err := checkReplica(ctx, dir, b.loc); err != nil {
		return fmt.Errorf("the receiver's replica: %w", err)
	}
	return b.compare(ctx, dir)
}

// compare compares the rows of both devices.
func (b *syncBench) compare(ctx context.Context, dir string) error {
	mine, err := locationFile(ctx, b.owner, b.loc)
	if err != nil {
		return err
	}
	theirs, err := locationFile(ctx, dir, b.loc)
	if err != nil {
		return err
	}
	_, first, err := dump.Compare(ctx, mine, theirs)
	if err == nil && first != "" {
		err = fmt.Errorf("the receiver has something else: %s", first)
	}
	return err
}

// checkReplica proves all rows of a stopped device's location.
func checkReplica(ctx context.Context, dir string, l index.Location) (err error) {
	s, err := store.OpenReadOnly(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.CheckLocation(ctx, l, store.CheckOptions{Deep: true})
}

// locationFile is the database file of a location of a stopped device.
func locationFile(ctx context.Context, dir string, l index.Location) (file string, err error) {
	s, err := store.OpenReadOnly(dir)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.LocationFile(ctx, l)
}
