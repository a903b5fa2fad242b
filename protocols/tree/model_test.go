package tree

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"flag"
	"fmt"
	"maps"
	"math/bits"
	"os"
	"slices"
	"testing"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
	"github.com/peerdex/peerdex/test/harness"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

var testLibrary = index.LibraryID{0x1b}

// state is a location at a head, with the nodes of its tree.
type state struct {
	head   index.SignedHead
	record []byte
	rows   map[int64]index.Entry
	nodes  map[[2]int64]index.Hash
}

func key() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("owner"))
	return ed25519.NewKeyFromSeed(seed[:])
}

func file(id int64) index.Entry {
	if id == index.RootID {
		return index.Entry{ID: 1, Kind: index.KindDir, Seq: 1}
	}
	return index.Entry{ID: id, Parent: 1, Name: fmt.Sprintf("document %d.txt", id), Kind: index.KindFile, Size: id * 7, MTime: id * 1e9, Mode: 0o644, Seq: id}
}

// files are the rows of so many entries.
func files(n int64) map[int64]index.Entry {
	rows := map[int64]index.Entry{}
	for id := int64(1); id <= n; id++ {
		rows[id] = file(id)
	}
	return rows
}

// sign makes a state of rows, in an epoch and at a seq.
func sign(tb testing.TB, rows map[int64]index.Entry, epoch uint64, seq int64) *state {
	tb.Helper()
	s := &state{rows: rows, nodes: map[[2]int64]index.Hash{}}
	b := proof.NewBuilder(func(level int, idx int64, h index.Hash) error {
		s.nodes[[2]int64{int64(level), idx}] = h
		return nil
	})
	last := int64(0)
	for _, id := range slices.Sorted(maps.Keys(rows)) {
		e := rows[id]
		if last = id; b.Add(&e) != nil {
			tb.Fatal("rows out of order")
		}
	}
	root, err := b.Root()
	if err != nil {
		tb.Fatal(err)
	}
	r := index.Record{Seq: 1, Name: "docs", Platform: "linux"}
	if s.record, err = r.MarshalBinary(); err != nil {
		tb.Fatal(err)
	}
	s.head, err = index.SignHead(index.Head{
		Library: testLibrary, Location: index.Location{Owner: index.DeviceID(key().Public().(ed25519.PublicKey)), ID: index.LocationID{7}},
		Epoch: index.Epoch{Counter: epoch, Random: 99}, Seq: seq, Count: int64(len(rows)), NextID: last + 1, Root: root,
		Record: index.HashRecord(s.record),
	}, key())
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func (s *state) sketch(salt proof.Salt, level int, at int64) proof.Sketch {
	out := proof.Sketch{Index: at}
	short := proof.NewShortener(salt)
	for k := range int64(proof.Fan) {
		if level == 0 {
			if e, ok := s.rows[at<<proof.LeafBits|k]; ok {
				out.Add(int(k), short.Row(&e))
			}
		} else if h, ok := s.nodes[[2]int64{int64(level - 1), at<<proof.FanBits | k}]; ok {
			out.Add(int(k), short.Node(h))
		}
	}
	return out
}

// compare is what a provider that holds s answers.
func (s *state) compare(r CompareRequest) (proof.Comparison, error) {
	switch {
	case r.Location != s.head.Location:
		return proof.Comparison{}, ErrNoReplica
	case r.Epoch != s.head.Epoch:
		return proof.Comparison{}, index.ErrEpochChanged
	}
	c := proof.Comparison{Head: s.head, Record: s.record}
	for i := range r.Nodes {
		own := s.sketch(r.Salt, r.Level, r.Nodes[i].Index)
		d := proof.Diff(&own, &r.Nodes[i])
		c.Nodes = append(c.Nodes, d)
		for m := d.Differ; m != 0 && r.Level == 0; m &= m - 1 {
			c.Rows = append(c.Rows, s.rows[r.Nodes[i].Index<<proof.LeafBits|int64(bits.TrailingZeros64(m))])
		}
		if len(c.Rows) >= r.MaxRows {
			break
		}
	}
	return c, nil
}

// sourceFunc makes a Source of a function.
type sourceFunc func(r CompareRequest) (proof.Comparison, error)

func (f sourceFunc) Compare(_ context.Context, r CompareRequest) (proof.Comparison, error) {
	return f(r)
}

func (s *state) source() Source { return sourceFunc(s.compare) }

// replica takes what is found on top of a state.
type replica struct {
	at    *state
	rows  map[int64]index.Entry
	found int
	tok   index.Token
	last  Progress
}

func replicaOf(s *state) *replica { return &replica{at: s, rows: maps.Clone(s.rows)} }

func (r *replica) Sketch(_ context.Context, salt proof.Salt, level int, nodes []int64) ([]proof.Sketch, error) {
	var out []proof.Sketch
	for _, at := range nodes {
		out = append(out, r.at.sketch(salt, level, at))
	}
	return out, nil
}

func (r *replica) Found(_ context.Context, f *proof.Found, next index.Token, at Progress) error {
	r.found, r.tok, r.last = r.found+1, next, at
	for _, g := range f.Gone {
		maps.DeleteFunc(r.rows, func(id int64, _ index.Entry) bool { return id >= g.Lo && id <= g.Hi })
	}
	for _, e := range f.Rows {
		r.rows[e.ID] = e
	}
	return nil
}

func sameRows(a, b map[int64]index.Entry) bool {
	return maps.EqualFunc(a, b, func(x, y index.Entry) bool { return x.ID == y.ID && x.Seq == y.Seq && x.SameContent(&y) })
}

// reconcile compares over one stream with a server of its own; the connection breaks after the provider sent cut bytes,
// unless that is negative.
func reconcile(tb testing.TB, src Source, r *replica, offer *index.Head, o Options, cut int) error {
	tb.Helper()
	srv := NewServer(ServerConfig{Source: src})
	a, b := wiretest.Pipe(256 << 10)
	if cut >= 0 {
		a.CutAfter(cut)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		srv.Serve(a, "receiver")
	}()
	if o.Library == (index.LibraryID{}) {
		o.Library = testLibrary
	}
	err := Reconcile(context.Background(), b, proof.NewWalk(&r.at.head.Head, offer, nil), r, o)
	<-served
	if err := srv.Close(); err != nil {
		tb.Fatalf("close: %v", err)
	}
	return err
}

// pair is a replica of an old epoch and its provider, which differ in rows changed, added and deleted here and there.
func pair(tb testing.TB, n int64) (old, now *state) {
	rows := files(n)
	old = sign(tb, maps.Clone(rows), 1, n+10)
	for id := int64(2); id <= n; id += 501 {
		e := rows[id]
		e.Size++
		rows[id] = e
		delete(rows, id+1)
	}
	for id := n + 1; id < n+100; id++ {
		rows[id] = file(id)
	}
	return old, sign(tb, rows, 2, n+200)
}
