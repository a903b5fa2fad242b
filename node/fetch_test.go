package node

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/protocols/snapshot"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
	"github.com/peerdex/peerdex/store"
)

// pairOfNodes is a device with a location of many entries, and another of the same library that has nothing of it yet. Neither
// has a network: streams between them are made by the test.
type pairOfNodes struct {
	t           *testing.T
	nas, laptop *Node
	cfg         [2]Config
	l           index.Location
}

func newPair(t *testing.T, entries int) *pairOfNodes {
	t.Helper()
	dir := t.TempDir()
	p := &pairOfNodes{t: t}
	p.cfg[0] = Config{Dir: filepath.Join(dir, "nas"), DeviceName: "nas", Reach: "loopback"}
	p.cfg[1] = Config{Dir: filepath.Join(dir, "laptop"), DeviceName: "laptop", Reach: "loopback"}
	p.open(0)
	p.open(1)
	for _, n := range []*Node{p.nas, p.laptop} {
		if err := n.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	inv, err := p.nas.Invite(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.laptop.Join(t.Context(), JoinRequest{Ticket: inv.Ticket}); err != nil {
		t.Fatal(err)
	}
	if out, err := p.nas.WaitInvite(t.Context(), inv.ID); err != nil || !out.Joined {
		t.Fatalf("%+v, %v", out, err)
	}
	p.restart(0)
	p.restart(1)
	l, err := p.nas.AddLocation(t.Context(), AddRequest{Name: "catalogue"})
	if err != nil {
		t.Fatal(err)
	}
	p.l = l.Ref()
	p.commit(0, entries)
	t.Cleanup(func() {
		for _, n := range []*Node{p.nas, p.laptop} {
			if err := errors.Join(n.st.Check(context.Background()), n.Close()); err != nil {
				t.Error(err)
			}
		}
	})
	return p
}

// open opens the nas (0) or the laptop (1), without a network.
func (p *pairOfNodes) open(i int) {
	p.t.Helper()
	n, err := Open(p.cfg[i])
	if err != nil {
		p.t.Fatal(err)
	}
	*[]**Node{&p.nas, &p.laptop}[i] = n
}

func (p *pairOfNodes) restart(i int) {
	p.t.Helper()
	if err := []*Node{p.nas, p.laptop}[i].Close(); err != nil {
		p.t.Fatal(err)
	}
	p.open(i)
}

// commit puts files into the location, with something in each that no packing makes smaller.
func (p *pairOfNodes) commit(from, to int) {
	p.t.Helper()
	_, err := p.nas.Commit(p.t.Context(), p.l, func(yield func(index.Change, error) bool) {
		r := rand.New(rand.NewPCG(1, uint64(from)))
		for i := from; i < to; i++ {
			e := index.Entry{Kind: index.KindFile, Size: int64(i), MTime: r.Int64(), Attrs: binary.BigEndian.AppendUint64(nil, r.Uint64())}
			if !yield(index.Change{Op: index.Put, Path: fmt.Sprintf("file %d", i), Entry: e}, nil) {
				return
			}
		}
	})
	if err != nil {
		p.t.Fatal(err)
	}
}

func (p *pairOfNodes) plan(s syncer.Strategy) syncer.Plan {
	p.t.Helper()
	held, err := p.nas.st.Held(p.t.Context(), p.l)
	if err != nil {
		p.t.Fatal(err)
	}
	return syncer.Plan{Strategy: s, Provider: p.l.Owner, Offer: held.Head, Target: held.Head}
}

// fetch fetches a snapshot over a stream to a server, which breaks after cut bytes unless that is negative.
func (p *pairOfNodes) fetch(plan syncer.Plan, srv *snapshot.Server, cut int) error {
	p.t.Helper()
	served := make(chan struct{})
	close(served)
	err := p.laptop.fetchSnapshot(p.t.Context(), p.l, plan, func(context.Context, index.DeviceID, protocol.ID) (wire.Stream, error) {
		a, b := wiretest.Pipe(64 << 10)
		if cut >= 0 {
			a.CutAfter(cut)
		}
		served = make(chan struct{})
		go func() {
			defer close(served)
			srv.Serve(a, "laptop")
		}()
		return b, nil
	})
	<-served
	return err
}

// equal checks that the laptop holds what the nas holds.
func (p *pairOfNodes) equal() {
	p.t.Helper()
	theirs, err := p.nas.st.Held(p.t.Context(), p.l)
	if err != nil {
		p.t.Fatal(err)
	}
	ours, err := p.laptop.st.Held(p.t.Context(), p.l)
	if err != nil || ours.Head != theirs.Head {
		p.t.Fatalf("held %+v, %v; want %+v", ours.Head, err, theirs.Head)
	}
	p.staged(0)
}

// staged checks how many files of downloads the laptop has.
func (p *pairOfNodes) staged(want int) {
	p.t.Helper()
	files, err := filepath.Glob(filepath.Join(p.cfg[1].Dir, "staging", "*"))
	if err != nil || len(files) != want {
		p.t.Errorf("in staging: %q, %v", files, err)
	}
}

// wireSize is how many bytes a whole fetch takes on the wire.
func wireSize(t *testing.T, p *pairOfNodes, s syncer.Strategy) int64 {
	t.Helper()
	before := p.laptop.traffic.In.Load()
	if err := p.fetch(p.plan(s), p.nas.files, -1); err != nil {
		t.Fatal(err)
	}
	p.equal()
	size := p.laptop.traffic.In.Load() - before
	if err := p.laptop.st.Drop(t.Context(), p.l); err != nil {
		t.Fatal(err)
	}
	return size
}

// TestFetchIsCut breaks the connection again and again, at first with the receiver restarted in between, and counts what
// comes twice: never more than the frames that were under way.
func TestFetchIsCut(t *testing.T) {
	p := newPair(t, 40_000)
	for _, s := range []syncer.Strategy{syncer.Compact, syncer.Native} {
		whole := wireSize(t, p, s)
		const frame = 256 << 10 // of our server; a packed one is smaller
		step := frame * 2 / 3
		for _, restart := range []bool{true, false} {
			var in int64
			cuts := 0
			for ; ; cuts++ {
				before := p.laptop.traffic.In.Load()
				err := p.fetch(p.plan(s), p.nas.files, (cuts+1)*step)
				in += p.laptop.traffic.In.Load() - before
				if err == nil {
					break
				}
				if !errors.Is(err, wiretest.ErrReset) || errors.Is(err, syncer.ErrNoSnapshot) {
					t.Fatal(err)
				}
				if cuts > 0 {
					p.staged(2)
				}
				if restart {
					p.restart(1)
				}
			}
			p.equal()
			if most := whole + int64(cuts)*(frame+1024); in > most || cuts < 2 {
				t.Errorf("%s, %d cuts: %d bytes came, %d in one piece, at most %d wanted", s, cuts, in, whole, most)
			}
			if err := p.laptop.st.Drop(t.Context(), p.l); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// TestProviderRestarts loses the provider's file in the middle: its present one comes, from the beginning.
func TestProviderRestarts(t *testing.T) {
	p := newPair(t, 20_000)
	if err := p.fetch(p.plan(syncer.Compact), p.nas.files, 200_000); !errors.Is(err, wiretest.ErrReset) {
		t.Fatal(err)
	}
	p.staged(2)
	p.restart(0)
	if err := p.fetch(p.plan(syncer.Compact), p.nas.files, -1); err != nil {
		t.Fatal(err)
	}
	p.equal()
}

// TestProviderMovesOn has the owner commit in the middle: the file goes on as it was, and is older than the owner then.
func TestProviderMovesOn(t *testing.T) {
	p := newPair(t, 20_000)
	old := p.plan(syncer.Native)
	if err := p.fetch(old, p.nas.files, 400_000); !errors.Is(err, wiretest.ErrReset) {
		t.Fatal(err)
	}
	p.staged(2)
	p.commit(20_000, 20_100)
	if err := p.fetch(p.plan(syncer.Native), p.nas.files, -1); err != nil {
		t.Fatal(err)
	}
	held, err := p.laptop.st.Held(t.Context(), p.l)
	if err != nil || held.Head != old.Offer {
		t.Fatalf("held %+v, %v; want %+v", held.Head, err, old.Offer)
	}
	p.staged(0)
}

// TestOwnerBeginsAnewInBetween changes the epoch in the middle: what is there of the old one is of no use.
func TestOwnerBeginsAnewInBetween(t *testing.T) {
	p := newPair(t, 20_000)
	old := p.plan(syncer.Compact)
	if err := p.fetch(old, p.nas.files, 200_000); !errors.Is(err, wiretest.ErrReset) {
		t.Fatal(err)
	}
	p.staged(2)
	if _, err := p.nas.st.NewEpoch(t.Context(), p.l, old.Offer.Head); err != nil {
		t.Fatal(err)
	}
	if err := p.fetch(p.plan(syncer.Compact), p.nas.files, -1); err != nil {
		t.Fatal(err)
	}
	p.equal()
}

// TestWholeIsProvedWithoutAProvider receives everything and is stopped before it is proved; nobody is asked again.
func TestWholeIsProvedWithoutAProvider(t *testing.T) {
	p := newPair(t, 12_000)
	d, err := p.laptop.st.Download(p.l)
	if err != nil {
		t.Fatal(err)
	}
	n, err := p.nas.st.Export(t.Context(), p.l, store.Compact)
	if err != nil {
		t.Fatal(err)
	}
	err = d.Begin(t.Context(), store.Incoming{ID: n.ID, Variant: n.Variant, Size: n.Size, Head: n.Head, Record: n.Record}, 0)
	if err == nil {
		_, err = io.Copy(d, io.NewSectionReader(n, 0, n.Size))
	}
	if err := errors.Join(err, d.Close(), n.Close()); err != nil {
		t.Fatal(err)
	}
	p.restart(1)
	nobody := func(context.Context, index.DeviceID, protocol.ID) (wire.Stream, error) {
		return nil, errors.New("asked")
	}
	if err := p.laptop.fetchSnapshot(t.Context(), p.l, p.plan(syncer.Compact), nobody); err != nil {
		t.Fatal(err)
	}
	p.equal()
}

// liar serves the file of another source, changed.
type liar struct {
	snapshot.Source
	change func(o *snapshot.Offer, b []byte) []byte
}

func (s liar) Snapshot(ctx context.Context, r snapshot.Request) (snapshot.Snapshot, error) {
	snap, err := s.Source.Snapshot(ctx, r)
	if err != nil {
		return nil, err
	}
	defer snap.Close()
	o := snap.Offer()
	b, err := io.ReadAll(io.NewSectionReader(snap, 0, o.Size))
	if err != nil {
		return nil, err
	}
	b = s.change(&o, b)
	return lie{offer: o, b: b}, nil
}

type lie struct {
	offer snapshot.Offer
	b     []byte
}

func (l lie) Offer() snapshot.Offer { return l.offer }
func (l lie) Close() error          { return nil }

func (l lie) ReadAt(p []byte, at int64) (int, error) {
	for i := range p { // for ever, if the size says so
		p[i] = l.b[(at+int64(i))%int64(len(l.b))]
	}
	return len(p), nil
}

// TestHostileProvider serves files that are not what the head says. Nothing becomes visible, nothing stays, and the
// provider is blamed; an honest one serves afterwards.
func TestHostileProvider(t *testing.T) {
	p := newPair(t, 10_000)
	before := p.plan(syncer.Compact)
	p.commit(10_000, 10_001)
	for name, c := range map[string]struct {
		change func(o *snapshot.Offer, b []byte) []byte
		want   error
	}{
		"another size":      {func(o *snapshot.Offer, b []byte) []byte { o.Size += 4096; return b }, store.ErrCorrupt},
		"half of it":        {func(o *snapshot.Offer, b []byte) []byte { o.Size /= 2; return b }, store.ErrCorrupt},
		"a size of no end":  {func(o *snapshot.Offer, b []byte) []byte { o.Size = 1 << 40; return b }, store.ErrMismatch},
		"zeros":             {func(_ *snapshot.Offer, b []byte) []byte { return make([]byte, len(b)) }, store.ErrCorrupt},
		"another name":      {func(_ *snapshot.Offer, b []byte) []byte { return replace(b, "file 777", "file 778") }, store.ErrMismatch},
		"the state before":  {func(o *snapshot.Offer, b []byte) []byte { o.Head = before.Offer; return b }, store.ErrMismatch},
		"another variant":   {func(o *snapshot.Offer, b []byte) []byte { o.Variant = snapshot.Native; return b }, wire.ErrMalformed},
		"a head not signed": {func(o *snapshot.Offer, b []byte) []byte { o.Head.AsOf++; return b }, index.ErrBadSignature},
		"a stranger's head": {func(o *snapshot.Offer, b []byte) []byte { o.Head.Library[0]++; return b }, wire.ErrMalformed},
		"another text of it": {func(_ *snapshot.Offer, b []byte) []byte {
			return replace(b, "CREATE TABLE entries", "CREATE TABLE Entries")
		}, store.ErrCorrupt},
	} {
		srv := snapshot.NewServer(snapshot.ServerConfig{Source: liar{snapshots{p.nas}, c.change}})
		err := p.fetch(p.plan(syncer.Compact), srv, -1)
		if !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
		if _, err := p.laptop.st.Held(t.Context(), p.l); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%s: held: %v", name, err)
		}
		if blamed := errors.Is(err, syncer.ErrNoSnapshot); !blamed {
			t.Errorf("%s: the provider is not blamed: %v", name, err)
		}
		p.staged(0)
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	}
	if err := p.fetch(p.plan(syncer.Compact), p.nas.files, -1); err != nil {
		t.Fatal(err)
	}
	p.equal()
}

// replace changes a text everywhere, also where pages have it that is no longer in use.
func replace(b []byte, old, with string) []byte {
	return bytes.ReplaceAll(b, []byte(old), []byte(with))
}

// TestBatchesInsteadOfSnapshots has a provider whose snapshots are never right: after the second, batches are pulled.
func TestBatchesInsteadOfSnapshots(t *testing.T) {
	p := newPair(t, 500)
	p.cfg[1].SnapshotFrom = 100
	p.restart(1)
	if err := p.nas.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	srv := snapshot.NewServer(snapshot.ServerConfig{Source: liar{snapshots{p.nas}, func(_ *snapshot.Offer, b []byte) []byte {
		return replace(b, "file 77", "file 78")
	}}})
	defer srv.Close()
	p.nas.host.Load().SetStreamHandler(snapshot.ID, srv.Handle)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	events := p.laptop.Events(ctx)
	if err := p.laptop.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	var failed []string
	for e, err := range events {
		if err != nil {
			t.Fatal(err)
		}
		if e.Progress != nil && e.Progress.Finished && e.Progress.Error != "" {
			failed = append(failed, e.Progress.Phase)
		}
		if e.Type == api.EventLocationUpdated && e.Location.Ref() == p.l {
			break
		}
	}
	p.equal()
	if !slices.Equal(failed, []string{api.PhaseProve, api.PhaseProve}) {
		t.Errorf("failed: %q, want two proofs", failed)
	}
}

// TestProviderHasNoRoom leaves a provider no space for snapshots; that is told, and nobody's fault.
func TestProviderHasNoRoom(t *testing.T) {
	p := newPair(t, 10_000)
	p.nas.st.SetSnapshotSpace(1)
	err := p.fetch(p.plan(syncer.Compact), p.nas.files, -1)
	st, ok := errors.AsType[wire.Status](err)
	if !ok || !errors.Is(err, wire.ErrBusy) || errors.Is(err, syncer.ErrNoSnapshot) || st.RetryAfter != snapshotRetry {
		t.Errorf("%v", err)
	}
	p.staged(0)
	elsewhere := p.plan(syncer.Compact)
	p.l.ID[0]++
	if err := p.fetch(elsewhere, p.nas.files, -1); !errors.Is(err, snapshot.ErrNoReplica) {
		t.Errorf("a location that is not held: %v", err)
	}
	p.l.ID[0]--
}

// TestFetchProgress checks what is told of a transfer.
func TestFetchProgress(t *testing.T) {
	p := newPair(t, 30_000)
	var all []Progress
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	events := p.laptop.Events(ctx)
	go func() {
		defer close(done)
		for e := range events {
			if e.Progress != nil {
				all = append(all, *e.Progress)
				if e.Progress.Phase == api.PhaseProve && e.Progress.Finished {
					return
				}
			}
		}
	}()
	if err := p.fetch(p.plan(syncer.Native), p.nas.files, -1); err != nil {
		t.Fatal(err)
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("no end was told")
	}
	cancel()
	<-done
	phases := map[string]Progress{}
	for _, a := range all {
		if a.Location != p.l || a.Provider != "nas" || a.TotalEntries != 30_001 || a.Strategy != api.StrategyNative || a.DoneBytes > a.TotalBytes {
			t.Errorf("%+v", a)
		}
		phases[a.Phase] = a
	}
	fetch, prove := phases[api.PhaseFetch], phases[api.PhaseProve]
	if fetch.Finished || fetch.DoneBytes != fetch.TotalBytes || fetch.TotalBytes < 1<<20 || !prove.Finished || prove.DoneBytes != prove.TotalBytes {
		t.Errorf("%d told, at the end %+v and %+v", len(all), fetch, prove)
	}
	if len(all) == 0 || all[0].Phase != api.PhaseFetch {
		t.Errorf("%d told", len(all))
	}
}

// TestRules checks that a configuration is read by its words.
func TestRules(t *testing.T) {
	dir := t.TempDir()
	for strategy, want := range map[string]syncer.Strategy{
		"": "", "auto": "", "batch": syncer.BatchFull, "compact": syncer.Compact, "native": syncer.Native,
	} {
		cfg, _, err := Config{Dir: dir, Strategy: strategy, SnapshotFrom: 5}.withDefaults()
		if got := cfg.rules(); err != nil || got != (syncer.Rules{Always: want, SnapshotFrom: 5}) {
			t.Errorf("%q: %+v, %v", strategy, got, err)
		}
	}
	for _, bad := range []Config{{Strategy: "fast"}, {SnapshotFrom: -1}} {
		bad.Dir = dir
		_, _, err := bad.withDefaults()
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != api.CodeUsage || e.Hint == "" {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "node.db")); err == nil {
		t.Error("something was made")
	}
}
