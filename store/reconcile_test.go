package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
)

// walkStep compares a few nodes of a transfer by the tree. It returns how many rows it found, and whether the walk is over.
func walkStep(ctx context.Context, from *Store, in *Intake, w *proof.Walk, limit int) (rows int, over bool, err error) {
	level, nodes := w.Next(limit)
	if len(nodes) == 0 {
		return 0, true, nil
	}
	salt := proof.Salt{byte(level), byte(nodes[0])}
	sent, err := in.Sketch(ctx, salt, level, nodes)
	if err != nil {
		return 0, false, err
	}
	c, err := from.Compare(ctx, CompareRequest{
		Location: in.loc, Epoch: in.token.Epoch, Salt: salt, Level: level, Nodes: sent, MaxRows: 1 + limit/2,
	})
	if err != nil {
		return 0, false, err
	}
	f, err := w.Take(sent, &c)
	if err != nil {
		return 0, false, err
	}
	return len(f.Rows), false, in.Found(&f, w.Token())
}

// reconcile makes the replica equal to what a provider holds, in one go, and returns how many rows were found.
func reconcile(ctx context.Context, from, to *Store, l index.Location) (int, error) {
	held, err := from.Held(ctx, l)
	if err != nil {
		return 0, err
	}
	in, err := to.Reconcile(ctx, l, held.Head.Epoch)
	if err != nil {
		return 0, err
	}
	rows := 0
	w := in.Walk(&held.Head.Head)
	for over, n := false, 0; !over; rows += n {
		if n, over, err = walkStep(ctx, from, in, w, 1024); err != nil {
			return 0, errors.Join(err, in.Close())
		}
	}
	for done := false; !done; {
		if done, err = step(ctx, from, in, 1000); err != nil {
			if errors.Is(err, index.ErrBelowHorizon) { // what is staged leads nowhere any more
				err = errors.Join(err, in.Discard())
			}
			return 0, errors.Join(err, in.Close())
		}
	}
	return rows, in.Close()
}

// history is an owner whose folder is saved and put back, and who begins new epochs; every state it signed is kept.
type history struct {
	rt     *rapid.T
	dir    string
	owner  *Store
	l      index.Location
	backup string
	states map[string][]index.Entry
	lost   []Heard // heads that it signed and may not remember
}

func stateKey(h *index.Head) string { return fmt.Sprint(h.Epoch, h.Seq, h.Root) }

func (h *history) fail(err error) {
	if err != nil {
		h.rt.Fatal(err)
	}
}

func (h *history) open() {
	s, err := Open(h.dir)
	h.fail(err)
	h.owner = s
}

func (h *history) head() index.SignedHead {
	held, err := h.owner.Held(context.Background(), h.l)
	h.fail(err)
	return held.Head
}

func (h *history) rows() []index.Entry {
	var out []index.Entry
	h.fail(h.owner.viewLocation(context.Background(), h.l, func(c *conn) error {
		for row, err := range c.query(context.Background(), "SELECT "+entryColumns+" FROM entries ORDER BY id") {
			var e index.Entry
			if err := errors.Join(err, scanEntry(row, &e)); err != nil {
				return err
			}
			out = append(out, e)
		}
		return nil
	}))
	return out
}

// record remembers the owner's state of now.
func (h *history) record() {
	held, err := h.owner.Held(context.Background(), h.l)
	h.fail(err)
	h.states[stateKey(&held.Head.Head)] = h.rows()
	h.lost = append(h.lost, Heard{Head: held.Head, Record: held.Raw})
}

// save keeps a copy of the owner's folder.
func (h *history) save() {
	h.fail(h.owner.Close())
	h.fail(errors.Join(os.RemoveAll(h.backup), os.CopyFS(h.backup, os.DirFS(h.dir))))
	h.open()
}

// restore puts the copy back. The owner then signs other things under seqs that it gave, until it learns of it.
func (h *history) restore() {
	if !exists(h.backup) {
		h.save()
	}
	h.fail(h.owner.Close())
	h.fail(errors.Join(os.RemoveAll(h.dir), os.CopyFS(h.dir, os.DirFS(h.backup)), os.Chmod(filepath.Join(h.dir, "identity.key"), 0o600)))
	h.open()
	for range rapid.IntRange(0, 2).Draw(h.rt, "ops before it learns") {
		h.ops()
	}
	h.newEpoch()
}

// newEpoch begins an epoch above all that was heard, perhaps with ids far above those given.
func (h *history) newEpoch() {
	heard := h.head().Head
	for _, k := range h.lost {
		heard.Epoch.Counter = max(heard.Epoch.Counter, k.Head.Epoch.Counter)
		heard.Seq, heard.NextID = max(heard.Seq, k.Head.Seq), max(heard.NextID, k.Head.NextID)
	}
	heard.NextID += rapid.SampledFrom([]int64{0, 0, 1, 100, 5000, 1 << 20}).Draw(h.rt, "ids skipped")
	_, err := h.owner.NewEpoch(context.Background(), h.l, heard)
	h.fail(err)
	h.record()
}

// prune forgets old dead runs.
func (h *history) prune() {
	h.owner.limits.minDead, h.owner.limits.maxDead = 2, 4
	_, err := h.owner.Prune(context.Background(), h.l)
	h.fail(err)
}

// renew loses everything but the heads.
func (h *history) renew() {
	h.fail(h.owner.Renew(context.Background(), h.l))
	h.record()
	h.ops()
}

// ops commits a few changes of every sort: new entries, edits, moves of trees, names that change places in a circle,
// folders that become files, deletions of trees.
func (h *history) ops() {
	rows := h.rows()
	var folders, all []int64
	byID := map[int64]index.Entry{}
	for _, e := range rows {
		byID[e.ID] = e
		if e.ID != index.RootID {
			all = append(all, e.ID)
		}
		if e.Kind == index.KindDir {
			folders = append(folders, e.ID)
		}
	}
	pick := func(what string, ids []int64) index.Entry { return byID[rapid.SampledFrom(ids).Draw(h.rt, what)] }
	next := h.head().NextID
	var cs []index.Change
	put := func(e index.Entry) { cs = append(cs, index.Change{Op: index.Put, Entry: e}) }
	add := func(n int) {
		for range n {
			kind, parent := index.KindFile, pick("parent", folders).ID
			if rapid.IntRange(0, 3).Draw(h.rt, "kind") == 0 {
				kind = index.KindDir
			}
			put(index.Entry{ID: next, Parent: parent, Name: fmt.Sprintf("n%d", next), Kind: kind, Attrs: []byte("x")})
			next++
		}
	}
	switch op := rapid.IntRange(0, 9).Draw(h.rt, "op"); {
	case len(all) < 4 || op < 3:
		add(rapid.IntRange(1, 30).Draw(h.rt, "new"))
	case op < 5:
		for _, e := range []index.Entry{pick("edited", all), pick("edited too", all)} {
			e.MTime++
			put(e)
		}
	case op < 7:
		e, to := pick("moved", all), pick("target", folders)
		if e.Parent = to.ID; !below(byID, to.ID, e.ID) {
			e.Name = fmt.Sprintf("moved%d", h.head().Seq)
			put(e)
		}
	case op == 7:
		a, b := pick("first of a circle", all), pick("second of a circle", all)
		if a.Parent == b.Parent && a.ID != b.ID {
			a.Name, b.Name = b.Name, a.Name
			put(a)
			put(b)
		}
	case op == 8:
		e := pick("becomes a file", all)
		e.Kind = index.KindFile
		put(e)
	default:
		cs = append(cs, index.Change{Op: index.Delete, Entry: pick("deleted", all)})
	}
	_, err := h.owner.Commit(context.Background(), h.l, changes(cs...), CommitOptions{AsOf: time.Now})
	h.fail(err)
	h.record()
}

// below reports whether a folder lies in another, or is it.
func below(rows map[int64]index.Entry, id, folder int64) bool {
	for ; id != 0; id = rows[id].Parent {
		if id == folder {
			return true
		}
	}
	return false
}

// TestReconcile is the property behind transfers by the tree: whatever the replica held, of whatever past of its owner,
// whatever the owner does meanwhile, whichever providers answer, and wherever it is cut, a transfer that says it is done
// holds exactly the rows of the head it names.
func TestReconcile(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		ctx := context.Background()
		dir, err := os.MkdirTemp(memoryDir(), "peerdex-test-")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(dir)
		h := &history{rt: rt, dir: filepath.Join(dir, "owner"), backup: filepath.Join(dir, "backup"), states: map[string][]index.Entry{}}
		h.open()
		h.l = newLocationIn(t, h.owner)
		h.record()
		relay, err := Open(filepath.Join(dir, "relay"))
		h.fail(err)
		receiver, err := Open(filepath.Join(dir, "receiver"))
		h.fail(err)
		receiver.limits = smallLimits
		defer func() {
			for _, s := range []*Store{h.owner, relay, receiver} {
				if err := errors.Join(s.Check(ctx), s.Close()); err != nil {
					rt.Fatal(err)
				}
			}
		}()
		for range rapid.IntRange(1, 6).Draw(rt, "first ops") {
			h.ops()
		}
		h.fail(pull(ctx, h.owner, receiver, h.l, 50))
		h.fail(pull(ctx, h.owner, relay, h.l, 50))
		for round := range rapid.IntRange(1, 3).Draw(rt, "rounds") {
			for range rapid.IntRange(0, 4).Draw(rt, "changes") {
				h.any()
			}
			h.transfer(relay, receiver)
			held, err := receiver.Held(ctx, h.l)
			h.fail(err)
			want, ok := h.states[stateKey(&held.Head.Head)]
			got := dump(t, receiver, h.l)
			if !ok || !slices.EqualFunc(want, got, func(a, b index.Entry) bool { return a.ID == b.ID && a.Seq == b.Seq && a.SameContent(&b) }) {
				rt.Fatalf("round %d: at %v the receiver holds\n%v\nthe owner held\n%v", round, held.Head.Head, got, want)
			}
		}
	})
}

// any is anything that can befall an owner.
func (h *history) any() {
	switch rapid.IntRange(0, 9).Draw(h.rt, "event") {
	case 0:
		h.save()
	case 1:
		h.restore()
	case 2:
		h.newEpoch()
	case 3:
		h.renew()
	case 4:
		h.prune()
	default:
		h.ops()
	}
}

// transfer reconciles the receiver with the owner, or with a relay that is brought up to date now and then, while the
// owner goes on. A cut or a new epoch makes it begin anew.
func (h *history) transfer(relay, receiver *Store) {
	ctx := context.Background()
	var in *Intake
	var w *proof.Walk
	walked := false
	for n := 0; ; n++ {
		if in == nil {
			head := h.head()
			var err error
			in, err = receiver.Reconcile(ctx, h.l, head.Epoch)
			h.fail(err)
			w, walked = in.Walk(&head.Head), false
		}
		from := h.meanwhile(n, relay)
		var done bool
		var err error
		if !walked {
			_, walked, err = walkStep(ctx, from, in, w, rapid.IntRange(1, 20).Draw(h.rt, "nodes"))
		} else {
			done, err = step(ctx, from, in, rapid.IntRange(1, 20).Draw(h.rt, "rows"))
		}
		anew := errors.Is(err, index.ErrEpochChanged) || errors.Is(err, ErrOlder)
		switch {
		case errors.Is(err, index.ErrEpochChanged) && from == relay:
			anew, err = false, nil // it follows some time
		case errors.Is(err, index.ErrProviderBehind):
			err = nil
		case errors.Is(err, index.ErrBelowHorizon):
			h.fail(in.Discard()) // nobody knows any more what died since the base
			anew, err = true, nil
		}
		if !anew && err != nil {
			h.fail(errors.Join(err, in.Close()))
		}
		if done || anew || rapid.IntRange(0, 15).Draw(h.rt, "cut") == 0 {
			h.fail(in.Close())
			if in = nil; done {
				return
			}
		}
	}
}

// meanwhile lets something happen, less and less, and returns who answers next.
func (h *history) meanwhile(n int, relay *Store) *Store {
	if n > 40 {
		return h.owner
	}
	switch rapid.IntRange(0, 7).Draw(h.rt, "meanwhile") {
	case 0, 1:
		h.ops()
	case 2:
		if n < 10 {
			h.any()
		}
	case 3:
		_, err := reconcile(context.Background(), h.owner, relay, h.l)
		h.fail(err)
	}
	if rapid.Bool().Draw(h.rt, "from the relay") {
		return relay
	}
	return h.owner
}

// TestReconcileFindsLittle checks on a large location that only what differs is fetched, whatever lies between.
func TestReconcileFindsLittle(t *testing.T) {
	owner, replica := newStore(t), newStore(t)
	l := newLocationIn(t, owner)
	if _, err := owner.Commit(t.Context(), l, generate(20_000, 1), CommitOptions{AsOf: time.Now}); err != nil {
		t.Fatal(err)
	}
	if err := pull(t.Context(), owner, replica, l, 4096); err != nil {
		t.Fatal(err)
	}
	rows := map[int64]index.Entry{}
	var edit, folder index.Change
	for _, e := range dump(t, owner, l) {
		rows[e.ID] = e
		switch {
		case folder.Op == 0 && e.Kind == index.KindDir && e.Parent == index.RootID:
			folder = index.Change{Op: index.Delete, Entry: e}
		case edit.Op == 0 && e.ID > 10_000 && !below(rows, e.ID, folder.Entry.ID):
			e.Size++
			edit = index.Change{Op: index.Put, Entry: e}
		}
	}
	held, _ := owner.Held(t.Context(), l)
	if _, err := owner.NewEpoch(t.Context(), l, held.Head.Head); err != nil {
		t.Fatal(err)
	}
	commit(t, owner, l, edit, folder, put("new/file", 1))
	n, err := reconcile(t.Context(), owner, replica, l)
	if err != nil || n != 3 {
		t.Fatalf("%d rows, %v", n, err)
	}
	equal(t, owner, replica, l)
	mine, _ := owner.Held(t.Context(), l)
	theirs, err := replica.Held(t.Context(), l)
	if err != nil || theirs.Head != mine.Head || theirs.Horizon != mine.Head.Seq {
		t.Fatalf("the replica stands at %+v, %v", theirs, err)
	}
	if left, _ := os.ReadDir(replica.dir + "/staging"); len(left) != 0 {
		t.Errorf("left in staging: %v", left)
	}
}

// TestReconcileKeepsWhatWasStaged cuts a transfer of many rows, and counts those that come after.
func TestReconcileKeepsWhatWasStaged(t *testing.T) {
	owner, replica := newStore(t), newStore(t)
	replica.limits = smallLimits
	l := newLocationIn(t, owner)
	if _, err := owner.Commit(t.Context(), l, generate(2000, 1), CommitOptions{AsOf: time.Now}); err != nil {
		t.Fatal(err)
	}
	if err := pull(t.Context(), owner, replica, l, 1000); err != nil {
		t.Fatal(err)
	}
	var edits []index.Change
	for _, e := range dump(t, owner, l) {
		if e.ID%2 == 0 {
			e.Size++
			edits = append(edits, index.Change{Op: index.Put, Entry: e})
		}
	}
	head := commit(t, owner, l, edits...).Head
	in, err := replica.Reconcile(t.Context(), l, head.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	w := in.Walk(&head.Head)
	for first, n := 0, 0; first < 500; first += n {
		var over bool
		if n, over, err = walkStep(t.Context(), owner, in, w, 4); over || err != nil {
			t.Fatal(over, err)
		}
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	// What was found and did not change since is not fetched again; what did is in the delta.
	e := edits[0].Entry
	e.Size++
	commit(t, owner, l, index.Change{Op: index.Put, Entry: e})
	rows, err := reconcile(t.Context(), owner, replica, l)
	if err != nil || rows == 0 || rows > 1000-400 {
		t.Fatalf("%d rows, %v", rows, err)
	}
	equal(t, owner, replica, l)
}

// TestReconcileIsProved changes what a provider says, one thing at a time. Nothing of it becomes visible.
func TestReconcileIsProved(t *testing.T) {
	owner, replica := newStore(t), newStore(t)
	l := newLocationIn(t, owner)
	commit(t, owner, l, put("a/b", 1), put("a/c", 2), put("d", 3), put("e", 4))
	if err := pull(t.Context(), owner, replica, l, 1000); err != nil {
		t.Fatal(err)
	}
	commit(t, owner, l, put("a/b", 10), del("d"), put("f", 5))
	before := dump(t, replica, l)
	for name, tamper := range map[string]func(c *proof.Comparison){
		"a changed row":         func(c *proof.Comparison) { c.Rows[0].MTime++ },
		"a row under a file":    func(c *proof.Comparison) { c.Rows[0].Parent = 4 },
		"a row without parent":  func(c *proof.Comparison) { c.Rows[0].Parent = 5 },
		"a row left out":        func(c *proof.Comparison) { c.Nodes[0].Differ &= c.Nodes[0].Differ - 1; c.Rows = c.Rows[1:] },
		"a row kept":            func(c *proof.Comparison) { c.Nodes[0].Mask |= 1 << 5 },
		"all but the rows gone": func(c *proof.Comparison) { c.Nodes[0].Mask = c.Nodes[0].Differ },
		"the last row gone":     func(c *proof.Comparison) { c.Nodes[0].Mask &^= 1 << 6 },
	} {
		held, _ := owner.Held(t.Context(), l)
		in, err := replica.Reconcile(t.Context(), l, held.Head.Epoch)
		if err != nil {
			t.Fatal(err)
		}
		w := in.Walk(&held.Head.Head)
		for over := false; !over; {
			level, nodes := w.Next(10)
			if over = len(nodes) == 0; over {
				break
			}
			sent, err := in.Sketch(t.Context(), proof.Salt{}, level, nodes)
			if err != nil {
				t.Fatal(err)
			}
			c, err := owner.Compare(t.Context(), CompareRequest{Location: l, Epoch: held.Head.Epoch, Level: level, Nodes: sent, MaxRows: 100})
			if err != nil {
				t.Fatal(err)
			}
			if level == 0 {
				tamper(&c)
			}
			f, err := w.Take(sent, &c)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := in.Found(&f, w.Token()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := step(t.Context(), owner, in, 100); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s: %v, want a mismatch", name, err)
		}
		if err := in.Close(); err != nil {
			t.Fatal(err)
		}
		if after := dump(t, replica, l); fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("%s: rows became visible", name)
		}
	}
	if _, err := reconcile(t.Context(), owner, replica, l); err != nil {
		t.Fatal(err)
	}
	equal(t, owner, replica, l)
}

// TestReconcileMendsTheTree breaks a replica's own tree and a row below a changed leaf; the owner's later changes show it.
func TestReconcileMendsTheTree(t *testing.T) {
	for name, damage := range map[string]string{
		"a leaf":             "UPDATE tree SET hash = zeroblob(32) WHERE level = 0 AND idx = 30",
		"an inner node":      "UPDATE tree SET hash = zeroblob(32) WHERE level = 1 AND idx = 1",
		"a node is missing":  "DELETE FROM tree WHERE level = 0 AND idx = 5",
		"a leaf too many":    "INSERT INTO tree VALUES (0, 150, zeroblob(32))",
		"a row is different": "UPDATE entries SET size = size + 1 WHERE id = 130",
		"a row is gone":      "DELETE FROM entries WHERE id = (SELECT max(id) FROM entries WHERE id < 192 AND kind = 1)",
		"a row too many":     "INSERT INTO entries SELECT 9010, parent, 'ghost', kind, size, mtime, mode, hash, attrs, seq FROM entries WHERE id = 130",
	} {
		owner, replica := newStore(t), newStore(t)
		l := newLocationIn(t, owner)
		if _, err := owner.Commit(t.Context(), l, generate(9000, 1), CommitOptions{AsOf: time.Now}); err != nil {
			t.Fatal(err)
		}
		if err := pull(t.Context(), owner, replica, l, 4096); err != nil {
			t.Fatal(err)
		}
		h, release, err := replica.use(t.Context(), l)
		if err != nil {
			t.Fatal(err)
		}
		err = h.write(func(c *conn) error { return c.script(damage) })
		release()
		if err != nil {
			t.Fatal(err)
		}
		var edits []index.Change
		for _, e := range dump(t, owner, l) {
			if e.ID == 131 || e.ID == 9000 {
				e.MTime++
				edits = append(edits, index.Change{Op: index.Put, Entry: e})
			}
		}
		commit(t, owner, l, append(edits, put("ids above", 1))...)
		if err := pull(t.Context(), owner, replica, l, 1000); !errors.Is(err, ErrMismatch) {
			t.Errorf("%s: the delta: %v", name, err)
		}
		if _, err := reconcile(t.Context(), owner, replica, l); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		equal(t, owner, replica, l)
	}
}

// TestReconcileRefuses checks what a transfer by the tree can't be.
func TestReconcileRefuses(t *testing.T) {
	owner, replica := newStore(t), newStore(t)
	l := newLocationIn(t, owner)
	old := commit(t, owner, l, put("a", 1)).Head
	if _, err := replica.Reconcile(t.Context(), l, old.Epoch); !errors.Is(err, ErrNotFound) {
		t.Errorf("without a replica: %v", err)
	}
	if _, err := owner.Reconcile(t.Context(), l, old.Epoch); !errors.Is(err, index.ErrInvalid) {
		t.Errorf("of an own location: %v", err)
	}
	if err := pull(t.Context(), owner, replica, l, 10); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]error{"": index.ErrEpochChanged, "elsewhere": ErrNotFound} {
		r := CompareRequest{Location: l, Epoch: index.Epoch{Counter: 9}, Level: 1, Nodes: []proof.Sketch{{}}, MaxRows: 1}
		if name != "" {
			r.Location.ID[0]++
		}
		if _, err := owner.Compare(t.Context(), r); !errors.Is(err, want) {
			t.Errorf("compare %s: %v", name, err)
		}
	}
	in, err := replica.Reconcile(t.Context(), l, old.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := intake(t.Context(), replica, l, old.Epoch); !errors.Is(err, ErrBusy) {
		t.Errorf("beside it: %v", err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	// A relay that lags must not take the replica back.
	relay := newStore(t)
	if err := pull(t.Context(), owner, relay, l, 10); err != nil {
		t.Fatal(err)
	}
	commit(t, owner, l, put("b", 1))
	if err := pull(t.Context(), owner, replica, l, 10); err != nil {
		t.Fatal(err)
	}
	if _, err := reconcile(t.Context(), relay, replica, l); !errors.Is(err, ErrOlder) {
		t.Errorf("to an older head: %v", err)
	}
	equal(t, owner, replica, l)
	held, _ := replica.Held(t.Context(), l)
	if now, _ := owner.Held(t.Context(), l); now.Head != held.Head {
		t.Errorf("the replica stands at %+v", held.Head)
	}
}
