package batch

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"flag"
	"fmt"
	"maps"
	"os"
	"reflect"
	"slices"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
	"github.com/peerdex/peerdex/test/harness"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

var testLibrary = index.LibraryID{0x1b}

// state is a location at one of its heads, as any provider may hold it.
type state struct {
	head    index.SignedHead
	record  []byte
	rows    map[int64]index.Entry
	dead    []index.DeadRun
	horizon int64
}

// owner is a device that writes a location, and remembers every head it ever signed.
type owner struct {
	tb      failer
	key     ed25519.PrivateKey
	now     state
	history []state
}

// failer is what testing.TB and rapid.T have in common.
type failer interface {
	Helper()
	Fatalf(format string, args ...any)
}

func newOwner(tb failer) *owner {
	seed := sha256.Sum256([]byte("owner"))
	o := &owner{tb: tb, key: ed25519.NewKeyFromSeed(seed[:])}
	o.now.rows = make(map[int64]index.Entry)
	h := &o.now.head
	h.Library = testLibrary
	h.Location = index.Location{Owner: index.DeviceID(o.key.Public().(ed25519.PublicKey)), ID: index.LocationID{7}}
	h.Epoch = index.Epoch{Counter: 1, Random: 99}
	h.NextID = 1
	o.setRecord("docs")
	o.put(index.Entry{Kind: index.KindDir, Mode: 0o755})
	return o
}

func (o *owner) seq() int64 {
	o.now.head.Seq++
	return o.now.head.Seq
}

// setRecord changes the location's record.
func (o *owner) setRecord(name string) {
	r := index.Record{Seq: o.seq(), Name: name, Platform: "linux"}
	b, err := r.MarshalBinary()
	if err != nil {
		o.tb.Fatalf("record: %v", err)
	}
	o.now.record, o.now.head.Record = b, index.HashRecord(b)
}

// put inserts e if it has no id, else changes it.
func (o *owner) put(e index.Entry) {
	if e.ID == 0 {
		e.ID = o.now.head.NextID
		o.now.head.NextID++
	}
	e.Seq = o.seq()
	o.now.rows[e.ID] = e
}

// insert adds a file with a name of so many bytes.
func (o *owner) insert(nameLen int) {
	id := o.now.head.NextID
	name := fmt.Sprintf("%0*d", nameLen, id)
	o.put(index.Entry{Parent: 1, Name: name, Kind: index.KindFile, Size: id * 100, MTime: id, Mode: 0o644})
}

// remove deletes a live id; the run goes on over ids that are dead already.
func (o *owner) remove(id int64, bridge bool) {
	delete(o.now.rows, id)
	run := index.DeadRun{Seq: o.seq(), Lo: id, Hi: id}
	for bridge && run.Hi+1 < o.now.head.NextID && o.now.rows[run.Hi+1].ID == 0 {
		run.Hi++
	}
	o.now.dead = append(o.now.dead, run)
	o.now.head.Dead = proof.FoldDead(o.now.head.Dead, run)
}

// files returns the live ids but the root, in order.
func (o *owner) files() []int64 {
	return slices.Sorted(func(yield func(int64) bool) {
		for id := range o.now.rows {
			if id != index.RootID && !yield(id) {
				return
			}
		}
	})
}

// commit signs what is there now and adds it to the history.
func (o *owner) commit() *state {
	o.now.head.Count = int64(len(o.now.rows))
	o.now.head.AsOf++
	signed, err := index.SignHead(o.now.head.Head, o.key)
	if err != nil {
		o.tb.Fatalf("sign: %v", err)
	}
	o.now.head = signed
	s := o.now
	s.rows, s.dead = maps.Clone(s.rows), slices.Clone(s.dead)
	o.history = append(o.history, s)
	return &o.history[len(o.history)-1]
}

// at returns the state of a head.
func (o *owner) at(seq int64) *state {
	for i := range o.history {
		if o.history[i].head.Seq == seq {
			return &o.history[i]
		}
	}
	o.tb.Fatalf("no head at seq %d", seq)
	return nil
}

// page is what a provider that holds s answers.
func (s *state) page(r PageRequest) (index.Page, error) {
	p := index.Page{Head: s.head, Record: s.record, Horizon: s.horizon, UpTo: r.Position, LeftRows: -1, LeftDead: -1}
	switch {
	case r.Location != s.head.Location:
		return p, ErrNoReplica
	case r.Epoch != s.head.Epoch:
		return p, index.ErrEpochChanged
	case r.Mode == index.ModeDelta && r.Position < s.horizon:
		return p, index.ErrBelowHorizon
	case r.Mode == index.ModeDelta && r.Position > s.head.Seq:
		return p, index.ErrProviderBehind
	}
	place := func(e index.Entry) int64 { return e.Seq }
	if r.Mode == index.ModeFull {
		place = func(e index.Entry) int64 { return e.ID }
	}
	for _, e := range s.rows {
		if place(e) > r.Position {
			p.Rows = append(p.Rows, e)
		}
	}
	slices.SortFunc(p.Rows, func(a, b index.Entry) int { return cmp.Compare(place(a), place(b)) })
	left := int64(0)
	if r.Mode == index.ModeDelta {
		for _, d := range s.dead {
			if d.Seq > r.Position {
				p.Dead = append(p.Dead, d)
				left += d.Len()
			}
		}
	}
	if r.Count {
		p.LeftRows, p.LeftDead = int64(len(p.Rows)), left
	}
	cutPage(&p, r, s.head.Seq)
	return p, nil
}

// cutPage keeps the first rows and dead runs that r has room for.
func cutPage(p *index.Page, r PageRequest, head int64) {
	rows, dead := p.Rows, p.Dead
	p.Rows, p.Dead = nil, nil
	for len(p.Rows)+len(p.Dead) < r.Limit && len(rows)+len(dead) > 0 {
		switch {
		case r.Mode == index.ModeFull:
			p.UpTo = rows[0].ID
			p.Rows, rows = append(p.Rows, rows[0]), rows[1:]
		case len(dead) == 0 || len(rows) > 0 && rows[0].Seq < dead[0].Seq:
			p.UpTo = rows[0].Seq
			p.Rows, rows = append(p.Rows, rows[0]), rows[1:]
		default:
			p.UpTo = dead[0].Seq
			p.Dead, dead = append(p.Dead, dead[0]), dead[1:]
		}
	}
	if p.Exhausted = len(rows)+len(dead) == 0; p.Exhausted && r.Mode == index.ModeDelta {
		p.UpTo = head
	}
}

// sourceFunc makes a Source of a function.
type sourceFunc func(r PageRequest) (index.Page, error)

func (f sourceFunc) Page(_ context.Context, r PageRequest) (index.Page, error) { return f(r) }

// source serves one state.
func (s *state) source() Source { return sourceFunc(s.page) }

// replica is a Sink that keeps what it takes, and the token as bytes beside it.
type replica struct {
	rows   map[int64]index.Entry
	token  []byte
	done   bool
	head   index.Head // reached
	puts   int
	at     Progress
	refuse func(puts int) error // before a put is stored; nil = never
}

// newReplica is empty.
func newReplica(l index.Location, e index.Epoch) (*replica, error) {
	t := index.NewFull(l, e)
	b, err := t.MarshalBinary()
	return &replica{rows: make(map[int64]index.Entry), token: b}, err
}

// replicaOf holds what s holds.
func replicaOf(s *state) (*replica, error) {
	t := index.NewDelta(s.head.Head)
	b, err := t.MarshalBinary()
	return &replica{rows: maps.Clone(s.rows), token: b}, err
}

// resume reads the token back from its bytes.
func (r *replica) resume() (index.Token, error) {
	var t index.Token
	return t, t.UnmarshalBinary(r.token)
}

// Put applies a page: an upsert where the seq is higher, and all ids of dead runs away.
func (r *replica) Put(_ context.Context, p *index.Page, next index.Token, done bool, at Progress) error {
	r.puts++
	if r.refuse != nil {
		if err := r.refuse(r.puts); err != nil {
			return err
		}
	}
	for _, e := range p.Rows {
		if e.Seq > r.rows[e.ID].Seq {
			r.rows[e.ID] = e
		}
	}
	for _, d := range p.Dead {
		for id := range r.rows {
			if id >= d.Lo && id <= d.Hi {
				delete(r.rows, id)
			}
		}
	}
	b, err := next.MarshalBinary()
	r.token, r.done, r.head, r.at = b, done, p.Head.Head, at
	return err
}

// diff compares the replica row by row with what the owner had at the head that the replica reached.
func (r *replica) diff(o *owner) string {
	if !r.done {
		return "not done"
	}
	want := o.at(r.head.Seq)
	if want.head.Head != r.head {
		return "another head"
	}
	if reflect.DeepEqual(want.rows, r.rows) {
		return ""
	}
	return "rows differ: " + gocmp.Diff(want.rows, r.rows)
}

// sample is a location with insertions, changes, deletions and two heads; files is the number of insertions.
func sample(tb testing.TB, files int) *owner {
	tb.Helper()
	o := newOwner(tb)
	for range files {
		o.insert(8)
	}
	o.commit()
	for i, id := range o.files() {
		switch i % 5 {
		case 1:
			e := o.now.rows[id]
			e.Size++
			o.put(e)
		case 3:
			o.remove(id, i%2 == 1)
		}
	}
	o.setRecord("documents")
	o.commit()
	return o
}
