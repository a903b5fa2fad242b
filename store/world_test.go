package store

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
)

// Environment of the suites about crashes: the first two make them long, the others are set for child processes.
const (
	envLong  = "PEERDEX_LONG"  // "1": the sizes named in CONTRIBUTING.md
	envKills = "PEERDEX_KILLS" // number of kills
	envChild = "PEERDEX_TEST_CHILD"
	envDir   = "PEERDEX_TEST_DIR"
	envLog   = "PEERDEX_TEST_LOG"
	envStep  = "PEERDEX_TEST_STEP"
)

// crashed is the exit code of a child that ended itself at a step.
const crashed = 42

func TestMain(m *testing.M) {
	if kind := os.Getenv(envChild); kind != "" {
		if err := child(kind); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// smallLimits bring chunks, staging and large deltas about with few rows.
var smallLimits = limits{chunkRows: 16, stageRows: 16, deltaRows: 10, besideLeaves: 2, checkpoint: 8192, minDead: 4, maxDead: 8}

// world is an owner and a replica of its location in one folder, and a log of every state that the owner committed.
// The log lies elsewhere, so that no fault of the stores' disk reaches it.
type world struct {
	dir, log       string
	out            io.Writer // what was made known, a line each
	steps          *steps
	owner, replica *Store
	l              index.Location
	seqs           map[string]string // the change that each seq of the states read so far stands for
	read           map[string]bool   // files of the log that were read
}

// open opens both stores, and makes the location if there is none.
func (w *world) open() error {
	for _, s := range []struct {
		store **Store
		name  string
	}{{&w.owner, "owner"}, {&w.replica, "replica"}} {
		if *s.store != nil {
			continue
		}
		st, err := openSteps(filepath.Join(w.dir, s.name), w.steps)
		if err != nil {
			return fmt.Errorf("open %s: %w", s.name, err)
		}
		st.limits, *s.store = smallLimits, st
	}
	var err error
	if w.l, err = w.own("main"); errors.Is(err, ErrNotFound) {
		w.l, err = w.owner.Create(context.Background(), testLibrary, index.Record{Name: "main", Root: "/main", Platform: "linux"})
		if err == nil {
			err = w.record()
		}
	}
	return err
}

func (w *world) close() error {
	var errs []error
	for _, s := range []*Store{w.owner, w.replica} {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	w.owner, w.replica = nil, nil
	return errors.Join(errs...)
}

// own finds an own location by name.
func (w *world) own(name string) (index.Location, error) {
	ctx := context.Background()
	locs, err := w.owner.Locations(ctx)
	for _, l := range locs {
		held, err := w.owner.Held(ctx, l)
		if err != nil {
			return l, err
		}
		if held.Record.Name == name {
			return l, nil
		}
	}
	return index.Location{}, errors.Join(err, ErrNotFound)
}

// state is what a location's file holds at one moment, read by SQL of its own.
type state struct {
	head    index.SignedHead
	horizon int64
	rows    []string // "E seq ..." by id
	dead    []string // "D seq lo hi" by seq
}

func (st *state) text() string {
	return fmt.Sprintf("H %v %d\n%s\n%s\n", st.head.Root, st.horizon, strings.Join(st.rows, "\n"), strings.Join(st.dead, "\n"))
}

func (st *state) name() string {
	return fmt.Sprintf("%d.%d.%d", st.head.Epoch.Counter, st.head.Epoch.Random, st.head.Seq)
}

func readState(s *Store, l index.Location) (st state, err error) {
	path, err := s.LocationFile(context.Background(), l)
	if err != nil {
		return st, err
	}
	c, err := openConn(path, accessRead)
	if err != nil {
		return st, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	return st, c.view(func() error {
		m, err := readMeta(c)
		if err != nil {
			return err
		}
		st.head, st.horizon = m.head, m.horizon
		const rows = "SELECT seq, id, parent, hex(name), kind, size, mtime, mode, hash, attrs FROM entries ORDER BY id"
		for row, err := range c.query(context.Background(), rows) {
			if err != nil {
				return err
			}
			st.rows = append(st.rows, strings.TrimSuffix("E "+fmt.Sprintln([]any{row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8], row[9]}...), "\n"))
		}
		for row, err := range c.query(context.Background(), "SELECT seq, lo, hi FROM dead ORDER BY seq") {
			if err != nil {
				return err
			}
			st.dead = append(st.dead, fmt.Sprintf("D %d %d %d", row[0], row[1], row[2]))
		}
		return nil
	})
}

// record logs the owner's state of now, and then makes it known. A state that was logged already must be the same.
func (w *world) record() error {
	st, err := readState(w.owner, w.l)
	if err != nil {
		return err
	}
	path := filepath.Join(w.log, st.name())
	if b, err := os.ReadFile(path); err == nil {
		if err := sameOutcome(&st, string(b)); err != nil {
			return fmt.Errorf("violation: committed twice: %w", err)
		}
		return w.tell(&st) // what was logged first may have dead runs that were pruned since
	}
	tmp := fmt.Sprintf("%s.%d.tmp", path, os.Getpid()) // a stopped child may be in the middle of its own
	if err := os.WriteFile(tmp, []byte(st.text()), 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return w.tell(&st)
}

// tell makes a state of the owner known.
func (w *world) tell(st *state) error {
	_, err := fmt.Fprintf(w.out, "own %d %d %d %v\n", st.head.Epoch.Counter, st.head.Epoch.Random, st.head.Seq, st.head.Root)
	return err
}

// commit commits changes to the location; every chunk is logged. What can't be deleted because it is gone is left out.
func (w *world) commit(cs ...index.Change) error {
	ctx := context.Background()
	var recordErr error
	cs = slices.DeleteFunc(cs, func(c index.Change) bool {
		_, err := w.owner.Lookup(ctx, w.l, c.Path)
		return c.Op == index.Delete && errors.Is(err, ErrNotFound)
	})
	_, err := w.owner.Commit(ctx, w.l, changes(cs...), CommitOptions{AsOf: time.Now, Progress: func(int64) {
		recordErr = errors.Join(recordErr, w.record())
	}})
	return errors.Join(err, recordErr)
}

// pull brings the replica to the owner's head, page by page, and makes it known. If the owner has no deltas from there any
// more, it takes all.
func (w *world) pull(mode func(context.Context, *Store, index.Location, index.Epoch) (*Intake, error), limit int) error {
	ctx := context.Background()
	held, err := w.owner.Held(ctx, w.l)
	if err != nil {
		return err
	}
	in, err := mode(ctx, w.replica, w.l, held.Head.Epoch)
	if err != nil {
		return err
	}
	for done := false; !done; {
		if done, err = step(ctx, w.owner, in, limit); errors.Is(err, index.ErrBelowHorizon) {
			if err := errors.Join(in.Discard(), in.Close()); err != nil {
				return err
			}
			return w.pull(full, limit)
		}
		if err != nil {
			return errors.Join(err, in.Close())
		}
	}
	if err := in.Close(); err != nil {
		return err
	}
	held, err = w.replica.Held(ctx, w.l)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.out, "replica %d %d %d\n", held.Head.Epoch.Counter, held.Head.Epoch.Random, held.Head.Seq)
	return err
}

// reconcile does what pull does, by the hash tree. Without a replica there is nothing to compare.
func (w *world) reconcile() error {
	ctx := context.Background()
	if _, err := w.replica.Held(ctx, w.l); absent(err) {
		return nil
	}
	if _, err := reconcile(ctx, w.owner, w.replica, w.l); errors.Is(err, index.ErrBelowHorizon) {
		return w.pull(full, 30)
	} else if err != nil {
		return err
	}
	held, err := w.replica.Held(ctx, w.l)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w.out, "replica %d %d %d\n", held.Head.Epoch.Counter, held.Head.Epoch.Random, held.Head.Seq)
	return err
}

func full(ctx context.Context, s *Store, l index.Location, e index.Epoch) (*Intake, error) {
	return s.Intake(ctx, l, e, index.ModeFull)
}

// prune forgets old dead runs of the owner or of the replica.
func (w *world) prune(s *Store) error {
	_, err := s.Prune(context.Background(), w.l)
	if absent(err) {
		return nil
	}
	return err
}

// absent reports whether there is no replica now, or only one that is set aside.
func absent(err error) bool {
	_, aside := errors.AsType[*QuarantineError](err)
	return aside || errors.Is(err, ErrNotFound)
}

func (w *world) drop() error {
	if _, err := fmt.Fprintln(w.out, "dropping"); err != nil {
		return err
	}
	err := w.replica.Drop(context.Background(), w.l)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	return err
}

// quarantine sets the replica's file aside, as if it had been found damaged.
func (w *world) quarantine() error {
	if _, err := fmt.Fprintln(w.out, "dropping"); err != nil {
		return err
	}
	files, err := w.replica.Files(context.Background())
	for _, f := range files {
		if _, qerr := w.replica.Quarantine(context.Background(), f.Location, f.Generation, "a test"); qerr != nil {
			err = errors.Join(err, qerr)
		}
	}
	return err
}

// known is what a world made known, as its lines say.
type known struct {
	epoch   string
	own     int64 // highest seq that the owner committed
	replica int64 // seq of the replica's head; 0 = none, or dropped
	commits int
	pulls   int
}

func (k *known) read(lines io.Reader) error {
	sc := bufio.NewScanner(lines)
	for sc.Scan() {
		var counter, random uint64
		var seq int64
		kind, rest, _ := strings.Cut(sc.Text(), " ")
		if kind == "dropping" {
			k.replica = 0
			continue
		}
		if _, err := fmt.Sscan(rest, &counter, &random, &seq); err != nil {
			return fmt.Errorf("line %q: %w", sc.Text(), err)
		}
		epoch := fmt.Sprint(counter, ".", random)
		if k.epoch != "" && epoch != k.epoch {
			return fmt.Errorf("violation: the epoch went from %s to %s", k.epoch, epoch)
		}
		k.epoch = epoch
		switch kind {
		case "own":
			if seq < k.own {
				return fmt.Errorf("violation: the owner went from seq %d to %d", k.own, seq)
			}
			k.own = seq
			k.commits++
		case "replica":
			k.replica = seq
			k.pulls++
		}
	}
	return sc.Err()
}

// verify checks both stores whole, and against what was made known. mayFall allows the replica to be at an older head
// than it was, as after a power cut.
func (w *world) verify(k *known, mayFall bool) error {
	ctx := context.Background()
	err := w.replica.Check(ctx)
	_, aside := errors.AsType[*QuarantineError](err)
	if aside && k.replica == 0 {
		err = nil
	}
	if err := errors.Join(w.owner.Check(ctx), err); err != nil {
		return fmt.Errorf("violation: check: %w", err)
	}
	st, err := readState(w.owner, w.l)
	if err != nil {
		return err
	}
	if k.epoch != "" && !strings.HasPrefix(st.name(), k.epoch+".") {
		return fmt.Errorf("violation: owner at %s, made known was epoch %s", st.name(), k.epoch)
	}
	if st.head.Seq < k.own {
		return fmt.Errorf("violation: owner at seq %d, made known was %d", st.head.Seq, k.own)
	}
	if err := w.record(); err != nil {
		return err
	}
	if err := w.verifySeqs(); err != nil || aside {
		return err
	}
	rep, err := readState(w.replica, w.l)
	if errors.Is(err, ErrNotFound) {
		if k.replica != 0 && !mayFall {
			return fmt.Errorf("violation: the replica is gone, it was at %d", k.replica)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if rep.head.Seq < k.replica && !mayFall {
		return fmt.Errorf("violation: replica at seq %d, it was at %d", rep.head.Seq, k.replica)
	}
	b, err := os.ReadFile(filepath.Join(w.log, rep.name()))
	if err != nil {
		return fmt.Errorf("violation: the replica is at no state that its owner committed: %w", err)
	}
	return sameOutcome(&rep, string(b))
}

// sameOutcome compares a file with the owner's state in the log. Both have dead runs above their horizon only.
func sameOutcome(rep *state, logged string) error {
	lines := strings.Split(strings.TrimSpace(logged), "\n")
	var root string
	var want, have state
	if _, err := fmt.Sscanf(lines[0], "H %s %d", &root, &want.horizon); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	above := func(line string) bool {
		var seq int64
		_, _ = fmt.Sscanf(line[1:], "%d", &seq)
		return seq > max(rep.horizon, want.horizon)
	}
	for _, line := range lines[1:] {
		switch {
		case line == "":
		case line[0] == 'E':
			want.rows = append(want.rows, line)
		case above(line):
			want.dead = append(want.dead, line)
		}
	}
	for _, line := range rep.dead {
		if above(line) {
			have.dead = append(have.dead, line)
		}
	}
	if root != rep.head.Root.String() || !slices.Equal(want.rows, rep.rows) || !slices.Equal(want.dead, have.dead) {
		return fmt.Errorf("violation: replica at seq %d has other rows than its owner had:\n%s\n%s", rep.head.Seq, rep.text(), logged)
	}
	return nil
}

// verifySeqs makes sure that in all logged states a seq stands for one change.
func (w *world) verifySeqs() error {
	files, err := os.ReadDir(w.log)
	if err != nil {
		return err
	}
	for _, f := range files {
		if w.read[f.Name()] || strings.HasSuffix(f.Name(), ".tmp") {
			continue
		}
		w.read[f.Name()] = true
		b, err := os.ReadFile(filepath.Join(w.log, f.Name()))
		if err != nil {
			return err
		}
		epoch, _, _ := strings.Cut(f.Name(), ".")
		for line := range strings.Lines(string(b)) {
			if line[0] != 'E' && line[0] != 'D' {
				continue
			}
			seq, _, _ := strings.Cut(line[2:], " ")
			key := epoch + "." + seq
			if was, ok := w.seqs[key]; ok && was != line {
				return fmt.Errorf("violation: seq %s was used twice:\n%s%s", seq, was, line)
			}
			w.seqs[key] = line
		}
	}
	return nil
}

// forget deletes the log of states that were read, but for those at which the stores stand.
func (w *world) forget() error {
	var keep []string
	for _, s := range []*Store{w.owner, w.replica} {
		if st, err := readState(s, w.l); err == nil {
			keep = append(keep, st.name())
		}
	}
	files, err := os.ReadDir(w.log)
	for _, f := range files {
		delete(w.read, f.Name())
		if !slices.Contains(keep, f.Name()) {
			err = errors.Join(err, os.Remove(filepath.Join(w.log, f.Name())))
		}
	}
	return err
}

// verifyFinished makes sure that the replica is what its owner has, and that nothing is left of what was interrupted.
func (w *world) verifyFinished() error {
	if err := w.verify(&known{}, false); err != nil {
		return err
	}
	own, err := readState(w.owner, w.l)
	if err != nil {
		return err
	}
	rep, err := readState(w.replica, w.l)
	if err != nil {
		return err
	}
	if own.head != rep.head {
		return fmt.Errorf("violation: the replica ended at seq %d, its owner at %d", rep.head.Seq, own.head.Seq)
	}
	for _, s := range []*Store{w.owner, w.replica} {
		staged, _ := os.ReadDir(filepath.Join(s.dir, "staging"))
		files, _ := filepath.Glob(filepath.Join(s.dir, "locations", "*.db"))
		if len(staged) != 0 || len(files) != 1 {
			return fmt.Errorf("violation: left over: %v, %v", staged, files)
		}
	}
	return nil
}

// script runs a workload that passes every way by which the store changes. It can be run again on what an
// interrupted run left, and ends in the same rows.
func (w *world) script() error {
	first := make([]index.Change, 0, 40)
	var edits, dels, more []index.Change
	for i := range 30 {
		path := fmt.Sprintf("d%d/f%02d", i%4, i)
		first = append(first, put(path, 1))
		if i%4 == 1 || i%4 == 2 {
			edits = append(edits, put(path, 3))
			more = append(more, put(path, 5))
		}
	}
	first = append(first, put("gone", 1))
	dels = append(dels, del("d0"), del("d3/f07"))
	for _, f := range []func() error{
		w.open,
		func() error { return w.commit(first...) },
		func() error { return w.pull(intake, 7) },
		func() error { return w.commit(put("d1/f01", 2), put("new/x", 1), del("gone")) },
		func() error { return w.pull(intake, 100) },
		func() error { return w.commit(append(edits, dels...)...) },
		func() error { return w.pull(intake, 9) },
		func() error { return w.amend() },
		func() error { return w.pull(full, 100) },
		w.forgetful,
		func() error { return w.commit(put("d1/f05", 4), put("new/y", 1), del("d2/f06")) },
		func() error { return w.reconcile() },
		func() error { return w.commit(append(more, put("new/z", 1), del("d2"))...) },
		func() error { return w.reconcile() },
		func() error { return w.second() },
		func() error { return w.drop() },
		func() error { return w.pull(intake, 100) },
		func() error { return w.quarantine() },
		func() error { return w.pull(intake, 100) },
	} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// forgetful makes more dead runs than may stay, twice: first the replica has them too, and both prune; then the owner
// prunes what the replica has not got yet.
func (w *world) forgetful() error {
	var puts, dels []index.Change
	for i := range 24 {
		puts = append(puts, put(fmt.Sprintf("short-lived/%02d", i), 1))
		if i%2 == 0 {
			dels = append(dels, del(fmt.Sprintf("short-lived/%02d", i)))
		}
	}
	for _, f := range []func() error{
		func() error { return w.commit(append(puts, dels...)...) },
		func() error { return w.pull(intake, 100) },
		func() error { return errors.Join(w.prune(w.replica), w.prune(w.owner)) },
		func() error { return w.commit(append(puts, dels...)...) },
		func() error { return w.prune(w.owner) },
		func() error { return w.pull(intake, 100) },
	} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// leftover drops a second location that an interrupted run left.
func (w *world) leftover() error {
	for {
		l, err := w.own("second")
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := w.owner.Drop(context.Background(), l); err != nil {
			return err
		}
	}
}

// amend changes the record, which takes a seq.
func (w *world) amend() error {
	_, err := w.owner.SetRecord(context.Background(), w.l, func(r *index.Record) { r.Root += "/" })
	if err != nil {
		return err
	}
	return w.record()
}

// second makes another location, takes it back, and drops it.
func (w *world) second() error {
	ctx := context.Background()
	if err := w.leftover(); err != nil {
		return err
	}
	l, err := w.owner.Create(ctx, testLibrary, index.Record{Name: "second", Root: "/second", Platform: "linux"})
	if err != nil {
		return err
	}
	if _, err := w.owner.Commit(ctx, l, changes(put("a/b", 1), put("c", 1), del("c")), CommitOptions{AsOf: time.Now}); err != nil {
		return err
	}
	was, err := readState(w.owner, l)
	if err != nil {
		return err
	}
	if err := takeBack(ctx, w.owner, w.owner, l, 2, nil); err != nil {
		return err
	}
	is, err := readState(w.owner, l)
	if err != nil {
		return err
	}
	h := is.head
	if h.Epoch.Counter != was.head.Epoch.Counter+1 || h.Seq <= was.head.Seq || h.NextID < was.head.NextID || !slices.Equal(is.rows, was.rows) {
		return fmt.Errorf("violation: from %v\n%s to %v\n%s", was.head, was.text(), h, is.text())
	}
	return w.owner.Drop(ctx, l)
}

// churn commits and pulls at random until it is killed. The location stays small.
func (w *world) churn() error {
	if err := w.open(); err != nil {
		return err
	}
	for n := 0; ; n++ {
		var cs []index.Change
		for range 1 + rand.IntN(40) {
			path := fmt.Sprintf("d%d/f%02d", rand.IntN(6), rand.IntN(40))
			if rand.IntN(4) == 0 {
				path = fmt.Sprintf("d%d", rand.IntN(6))
				cs = append(cs, del(path), put(path+"/f", rand.Int64()))
				continue
			}
			cs = append(cs, put(path, rand.Int64()))
		}
		if err := w.commit(cs...); err != nil {
			return err
		}
		var err error
		switch rand.IntN(8) {
		case 0:
			lose := w.drop
			if rand.IntN(2) == 0 {
				lose = w.quarantine
			}
			if err = lose(); err == nil {
				err = w.pull(intake, 30)
			}
		case 1:
			err = w.pull(full, 30)
		case 6:
			err = errors.Join(w.prune(w.owner), w.prune(w.replica))
		case 7:
			err = w.reconcile()
		case 2, 3, 4, 5:
			err = w.pull(intake, 1+rand.IntN(30))
		}
		if err != nil {
			return err
		}
	}
}

// child is a process of its own in which a world is interrupted.
func child(kind string) error {
	w := &world{dir: os.Getenv(envDir), log: os.Getenv(envLog), out: os.Stdout}
	switch kind {
	case "script":
		var stop, n int
		if _, err := fmt.Sscan(os.Getenv(envStep), &stop); err != nil {
			return err
		}
		w.steps = &steps{hook: func(string, bool) error {
			if n++; n == stop {
				os.Exit(crashed)
			}
			return nil
		}}
		return w.script()
	case "churn":
		return w.churn()
	}
	return fmt.Errorf("no child %q", kind)
}

// newWorld makes a world below a folder, with a file that a crash left.
func newWorld(dir string) (*world, error) {
	w := &world{dir: filepath.Join(dir, "disk"), log: filepath.Join(dir, "log"), out: &bytes.Buffer{}, seqs: map[string]string{}, read: map[string]bool{}}
	locations := filepath.Join(w.dir, "replica", "locations")
	return w, errors.Join(os.MkdirAll(locations, 0o700), os.MkdirAll(w.log, 0o700),
		os.WriteFile(filepath.Join(locations, "crashed.db"), nil, 0o600))
}

// scratch is a folder for a test whose fsync is free where that is possible.
func scratch(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(memoryDir(), "peerdex-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func long() bool { return os.Getenv(envLong) == "1" }

// sortedKeys is for messages.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
