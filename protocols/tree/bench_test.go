package tree

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
	"github.com/peerdex/peerdex/protocols/batch"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
)

// stored serves a store.
type stored struct{ s *store.Store }

func (p stored) Compare(ctx context.Context, r CompareRequest) (proof.Comparison, error) {
	return p.s.Compare(ctx, store.CompareRequest(r))
}

func (p stored) Page(ctx context.Context, r batch.PageRequest) (index.Page, error) {
	return p.s.Page(ctx, store.PageRequest(r))
}

// intake stores what comes.
type intake struct{ *store.Intake }

func (in intake) Found(_ context.Context, f *proof.Found, next index.Token, _ Progress) error {
	return in.Intake.Found(f, next)
}

func (in intake) Put(ctx context.Context, p *index.Page, next index.Token, done bool, _ batch.Progress) error {
	return in.Intake.Put(ctx, p, next, done)
}

// BenchmarkReconcile makes a replica equal again after its owner changed entries here and there and began a new epoch:
// two stores, and a real connection on this machine between them. wire-B is what goes over it both ways.
func BenchmarkReconcile(b *testing.B) {
	for _, c := range []struct{ entries, differ int64 }{{100_000, 100}, {1_000_000, 0}, {1_000_000, 100}, {1_000_000, 10_000}, {1_000_000, 200_000}} {
		b.Run(fmt.Sprintf("%d of %d", c.differ, c.entries), func(b *testing.B) {
			if c.entries > 100_000 && testing.Short() {
				b.Skip("1,000,000 entries are not for -short")
			}
			benchmarkReconcile(b, c.entries, c.differ)
		})
	}
}

func benchmarkReconcile(b *testing.B, entries, differ int64) {
	ctx := b.Context()
	owner, replica := openStore(b), openStore(b)
	l, err := owner.Create(ctx, testLibrary, index.Record{Name: "docs", Platform: "linux"})
	if err != nil {
		b.Fatal(err)
	}
	commit(b, owner, l, entries-1, func(i int64) int64 { return i + 2 })
	srv, pages := NewServer(ServerConfig{Source: stored{owner}}), batch.NewServer(batch.ServerConfig{Source: stored{owner}})
	server, client := newHost(b), newHost(b)
	server.SetStreamHandler(ID, srv.Handle)
	server.SetStreamHandler(batch.ID, pages.Handle)
	if err := client.Connect(ctx, peer.AddrInfo{ID: server.ID(), Addrs: server.Addrs()}); err != nil {
		b.Fatal(err)
	}
	traffic := new(wire.Traffic)
	pull := func(in *store.Intake) error {
		stream, err := client.NewStream(ctx, server.ID(), batch.ID)
		if err != nil {
			return err
		}
		_, err = batch.Pull(ctx, stream, in.Token(), intake{in}, batch.Options{Config: wire.Config{Traffic: traffic}, Library: testLibrary})
		return err
	}
	held, _ := owner.Held(ctx, l)
	in, err := replica.Intake(ctx, l, held.Head.Epoch, index.ModeFull)
	if err == nil {
		err = errors.Join(pull(in), in.Close())
	}
	if err != nil {
		b.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	bytes := int64(0)
	for b.Loop() {
		b.StopTimer()
		seen := map[int64]bool{}
		commit(b, owner, l, differ, func(int64) int64 {
			id := 2 + rng.Int64N(entries-1)
			for seen[id] {
				id = 2 + rng.Int64N(entries-1)
			}
			seen[id] = true
			return id
		})
		held, _ := owner.Held(ctx, l)
		head, err := owner.NewEpoch(ctx, l, held.Head.Head)
		if err != nil {
			b.Fatal(err)
		}
		before := traffic.In.Load() + traffic.Out.Load()
		b.StartTimer()
		in, err := replica.Reconcile(ctx, l, head.Epoch)
		if err != nil {
			b.Fatal(err)
		}
		stream, err := client.NewStream(ctx, server.ID(), ID)
		if err != nil {
			b.Fatal(err)
		}
		err = Reconcile(ctx, stream, in.Walk(&head.Head), intake{in}, Options{Config: wire.Config{Traffic: traffic}, Library: testLibrary})
		if err == nil {
			err = pull(in)
		}
		if err := errors.Join(err, in.Close()); err != nil {
			b.Fatal(err)
		}
		bytes += traffic.In.Load() + traffic.Out.Load() - before
	}
	b.ReportMetric(float64(bytes)/float64(b.N), "wire-B/op")
	mine, _ := owner.LocationFile(ctx, l)
	theirs, _ := replica.LocationFile(ctx, l)
	if n, diff, err := store.Diff(ctx, mine, theirs); err != nil || diff != "" || n != entries {
		b.Errorf("%d rows, %s, %v", n, diff, err)
	}
	if err := errors.Join(srv.Close(), pages.Close(), owner.Close(), replica.Close()); err != nil {
		b.Error(err)
	}
}

// commit puts n entries with the ids that pick gives.
func commit(b *testing.B, s *store.Store, l index.Location, n int64, pick func(int64) int64) {
	b.Helper()
	changes := func(yield func(index.Change, error) bool) {
		for i := range n {
			id := pick(i)
			e := index.Entry{ID: id, Parent: 1 + (id-2)/40, Name: fmt.Sprintf("document-%d-%x.txt", id%977, id*2654435761%65537),
				Kind: index.KindFile, Size: rand.Int64N(1 << 40), MTime: 1_700_000_000_000_000_000 + rand.Int64N(1<<56), Mode: 0o644}
			if id <= 2+1_000_000/40 {
				e.Kind = index.KindDir
			}
			if !yield(index.Change{Op: index.Put, Entry: e}, nil) {
				return
			}
		}
	}
	if _, err := s.Commit(b.Context(), l, changes, store.CommitOptions{AsOf: time.Now}); err != nil {
		b.Fatal(err)
	}
}

func openStore(b *testing.B) *store.Store {
	b.Helper()
	s, err := store.Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func newHost(tb testing.TB) host.Host {
	tb.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = h.Close() })
	return h
}
