package query

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
	"github.com/peerdex/peerdex/test/harness"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

var testLibrary = index.LibraryID{0x1b}

func ownerKey() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("owner"))
	return ed25519.NewKeyFromSeed(seed[:])
}

// place is a location in memory. It finds names that hold a text.
type place struct {
	st    State
	rows  []index.Entry // by id; the root first
	err   error         // what every question gets
	block chan struct{} // not nil: questions wait for it, or for their end
	asked atomic.Int64
}

// newPlace makes a location with n files "file-0000" in a folder "docs", and one "a.txt" beside it.
func newPlace(t testing.TB, n int) *place {
	t.Helper()
	p := &place{rows: []index.Entry{
		{ID: 1, Kind: index.KindDir, Mode: 0o755, Seq: 1},
		{ID: 2, Parent: 1, Name: "docs", Kind: index.KindDir, Mode: 0o755, Seq: 2},
		{ID: 3, Parent: 1, Name: "a.txt", Kind: index.KindFile, Size: 5, MTime: 7, Mode: 0o644, Hash: []byte{1, 2}, Attrs: []byte("x"), Seq: 3},
	}}
	for i := range n {
		p.rows = append(p.rows, index.Entry{
			ID: int64(4 + i), Parent: 2, Name: fmt.Sprintf("file-%04d", i), Kind: index.KindFile, Size: int64(n - i), MTime: int64(i % 3), Seq: int64(4 + i),
		})
	}
	p.sign(t, testLibrary, 1)
	return p
}

func (p *place) sign(t testing.TB, lib index.LibraryID, asOf int64) {
	t.Helper()
	rec, err := (&index.Record{Seq: 1, Name: "tank", Root: "/tank", Platform: "linux"}).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	key := ownerKey()
	last := p.rows[len(p.rows)-1].ID
	h, err := index.SignHead(index.Head{
		Library: lib, Location: index.Location{Owner: index.DeviceID(key.Public().(ed25519.PublicKey)), ID: index.LocationID{7}},
		Epoch: index.Epoch{Counter: 1, Random: 9}, Seq: last, Count: int64(len(p.rows)), NextID: last + 1, Root: index.Hash{1},
		Record: index.HashRecord(rec), AsOf: asOf,
	}, key)
	if err != nil {
		t.Fatal(err)
	}
	p.st = State{Head: h, Record: rec}
}

func (p *place) path(e *index.Entry) string {
	if e.Parent == 2 {
		return "docs/" + e.Name
	}
	return e.Name
}

func (p *place) find(ctx context.Context, r *Request) (State, *index.Entry, error) {
	p.asked.Add(1)
	if p.block != nil {
		select {
		case <-p.block:
		case <-ctx.Done():
			return State{}, nil, ctx.Err()
		}
	}
	if p.err != nil {
		return State{}, nil, p.err
	}
	if r.Location != p.st.Head.Location {
		return State{}, nil, wire.ErrNoReplica
	}
	for i := range p.rows {
		if e := &p.rows[i]; r.Entry == e.ID || r.Entry == 0 && p.path(e) == r.Path {
			return p.st, e, nil
		}
	}
	return p.st, nil, nil
}

func (p *place) List(ctx context.Context, r *Request) (State, *Listing, error) {
	st, e, err := p.find(ctx, r)
	if e == nil || err != nil {
		return st, nil, err
	}
	out := &Listing{Folder: *e}
	for _, x := range p.rows {
		if x.Parent == e.ID && (r.After == nil || cmp.Or(strings.Compare(x.Name, r.After.Text), cmp.Compare(x.ID, r.After.ID)) > 0) {
			out.Entries = append(out.Entries, x)
		}
	}
	slices.SortFunc(out.Entries, func(a, b index.Entry) int { return strings.Compare(a.Name, b.Name) })
	return st, out, nil
}

func (p *place) Entry(ctx context.Context, r *Request) (State, *Found, error) {
	st, e, err := p.find(ctx, r)
	if e == nil || err != nil {
		return st, nil, err
	}
	out := &Found{Entry: *e, Path: p.path(e)}
	for _, x := range p.rows {
		if x.Parent == e.ID {
			out.Children++
		}
	}
	return st, out, nil
}

func (p *place) Search(ctx context.Context, r *Request) (State, *Hits, error) {
	st, _, err := p.find(ctx, r)
	if err != nil {
		return st, nil, err
	}
	out := &Hits{}
	var marks []Mark
	for _, x := range p.rows {
		if m := r.Order.Mark(&x); strings.Contains(x.Name, r.Text) && (r.After == nil || r.Order.compare(&m, r.After) > 0) {
			at, _ := slices.BinarySearchFunc(marks, m, func(a, b Mark) int { return r.Order.compare(&a, &b) })
			marks = slices.Insert(marks, at, m)
			out.Hits = slices.Insert(out.Hits, at, Hit{Entry: x, Path: p.path(&x)})
		}
	}
	return st, out, nil
}

func (p *place) Totals(ctx context.Context, r *Request) (State, *Totals, error) {
	st, e, err := p.find(ctx, r)
	if e == nil || err != nil {
		return st, nil, err
	}
	out := &Totals{Folder: *e}
	for _, x := range p.rows[1:] {
		if e.ID == index.RootID || x.Parent == e.ID {
			out.Entries++
			out.Bytes += x.Size
			if x.Kind == index.KindDir {
				out.Folders++
			}
		}
	}
	return st, out, nil
}

// askServer asks one question of a server.
func askServer(t testing.TB, srv *Server, r Request) (Answer, error) {
	t.Helper()
	a, b := wiretest.Pipe(wire.MaxPayload)
	served := make(chan struct{})
	go func() {
		defer close(served)
		srv.Serve(a, "asker")
	}()
	ans, err := Ask(t.Context(), b, &r, Options{Library: testLibrary})
	<-served
	return ans, err
}

func newServer(t testing.TB, cfg ServerConfig) *Server {
	t.Helper()
	srv := NewServer(cfg)
	t.Cleanup(func() {
		if err := errors.Join(srv.Close(), srv.Close()); err != nil {
			t.Error(err)
		}
	})
	return srv
}
