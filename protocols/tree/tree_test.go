package tree

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

func TestReconcile(t *testing.T) {
	t.Parallel()
	old, now := pair(t, 20_000)
	other := sign(t, map[int64]index.Entry{1: file(1), 1 << 30: file(1 << 30), index.MaxID: file(index.MaxID)}, 2, index.MaxID)
	one := sign(t, map[int64]index.Entry{1: file(1)}, 1, 3)
	for name, c := range map[string]struct {
		from, to *state
		offer    *state // as far as it is known; nil = to
		o        Options
	}{
		"some differ":   {from: old, to: now},
		"old offer":     {from: one, to: other, offer: sign(t, map[int64]index.Entry{1: file(1)}, 2, 1)},
		"equal":         {from: now, to: now},
		"back":          {from: now, to: old},
		"first rows":    {from: one, to: now, o: Options{Share: 2}},
		"all gone":      {from: now, to: one},
		"far apart":     {from: one, to: other},
		"far apart too": {from: other, to: one},
		"plain":         {from: old, to: now, o: Options{Codecs: wire.Plain}},
		"gzip":          {from: old, to: now, o: Options{Codecs: 1 << wire.CodecGzip}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := replicaOf(c.from)
			offer := c.to
			if c.offer != nil {
				offer = c.offer
			}
			if err := reconcile(t, c.to.source(), r, &offer.head.Head, c.o, -1); err != nil {
				t.Fatal(err)
			}
			if !sameRows(r.rows, c.to.rows) {
				t.Errorf("%d rows, want %d", len(r.rows), len(c.to.rows))
			}
			if r.tok.Base != c.to.head.Head || r.tok.Floor != c.to.head.Head || r.last.Bytes == 0 || r.last.Rows != r.last.Total {
				t.Errorf("ended with %+v, %+v", r.tok, r.last)
			}
		})
	}
}

// TestProviderMovesOn answers each request from another head. What did not change since the first is found.
func TestProviderMovesOn(t *testing.T) {
	t.Parallel()
	old, now := pair(t, 20_000)
	first, heads := now, 0
	src := sourceFunc(func(r CompareRequest) (proof.Comparison, error) {
		c, err := now.compare(r)
		rows := maps.Clone(now.rows)
		seq := now.head.Seq + 1
		e := file(now.head.NextID)
		e.Seq = seq
		rows[e.ID] = e
		now = sign(t, rows, 2, seq)
		heads++
		return c, err
	})
	r := replicaOf(old)
	if err := reconcile(t, src, r, &now.head.Head, Options{}, -1); err != nil {
		t.Fatal(err)
	}
	for id, e := range first.rows {
		if got := r.rows[id]; !got.SameContent(&e) {
			t.Fatalf("id %d is %+v", id, got)
		}
	}
	if r.tok.Base != first.head.Head || r.tok.Floor.Seq != first.head.Seq+int64(heads)-1 || heads < 2 {
		t.Errorf("%d heads: %+v", heads, r.tok)
	}
}

func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	old, now := pair(t, 40)
	measure := replicaOf(old)
	if err := reconcile(t, now.source(), measure, &now.head.Head, Options{}, -1); err != nil {
		t.Fatal(err)
	}
	for cut := range int(measure.last.Bytes) {
		if err := reconcile(t, now.source(), replicaOf(old), &now.head.Head, Options{}, cut); err == nil {
			t.Fatalf("cut after %d of %d bytes: no error", cut, measure.last.Bytes)
		}
	}
}

// TestTooDifferent stops when there is too much to fetch, long before it is fetched.
func TestTooDifferent(t *testing.T) {
	t.Parallel()
	rows := files(40_000)
	for id := int64(2); id < 40_000; id += 2 {
		e := rows[id]
		e.Size++
		rows[id] = e
	}
	apart, equal := sign(t, rows, 1, 50_000), sign(t, files(40_000), 2, 60_000)
	r := replicaOf(apart)
	if err := reconcile(t, equal.source(), r, &equal.head.Head, Options{}, -1); !errors.Is(err, ErrTooDifferent) {
		t.Errorf("half of it: %v", err)
	}
	if r.last.Rows > 2100 {
		t.Errorf("found out after %d rows", r.last.Rows)
	}
	for name, o := range map[string]Options{"share": {Share: 0.6}, "free": {Free: 30_000}} {
		if err := reconcile(t, equal.source(), replicaOf(apart), &equal.head.Head, o, -1); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	old, now := pair(t, 50)
	elsewhere := *old
	elsewhere.head.Location.ID[0]++
	third := now.head.Head
	third.Epoch.Counter++
	boom := errors.New("disk on fire")
	for name, c := range map[string]struct {
		src   Source
		from  *state
		offer *index.Head
		want  error
	}{
		"no replica":    {now.source(), &elsewhere, &now.head.Head, ErrNoReplica},
		"another epoch": {now.source(), old, &third, index.ErrEpochChanged},
		"source fails":  {sourceFunc(func(CompareRequest) (proof.Comparison, error) { return proof.Comparison{}, boom }), old, &now.head.Head, wire.ErrFailed},
		"source panics": {sourceFunc(func(CompareRequest) (proof.Comparison, error) { panic("boom") }), old, &now.head.Head, wire.ErrFailed},
		"nothing": {sourceFunc(func(CompareRequest) (proof.Comparison, error) {
			return proof.Comparison{Head: now.head}, nil
		}), old, &now.head.Head, wire.ErrFailed},
	} {
		r := replicaOf(c.from)
		if err := reconcile(t, c.src, r, c.offer, Options{}, -1); !errors.Is(err, c.want) || r.found > 0 || errors.Is(err, boom) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestVerifyHead(t *testing.T) {
	t.Parallel()
	old, now := pair(t, 50)
	removed := errors.New("the owner was removed")
	asked := 0
	o := Options{VerifyHead: func(h *index.SignedHead) error {
		if asked++; h.Head != now.head.Head {
			t.Error("asked about another head")
		}
		return removed
	}}
	r := replicaOf(old)
	if err := reconcile(t, now.source(), r, &now.head.Head, o, -1); !errors.Is(err, removed) || asked != 1 || r.found > 0 {
		t.Errorf("%v after %d questions", err, asked)
	}
	if err := reconcile(t, now.source(), r, &now.head.Head, Options{Library: index.LibraryID{1}}, -1); !errors.Is(err, wire.ErrMalformed) || r.found > 0 {
		t.Errorf("head of another library: %v", err)
	}
}

func TestBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old, now := pair(t, 5)
		block := make(chan struct{})
		srv := NewServer(ServerConfig{Source: sourceFunc(func(r CompareRequest) (proof.Comparison, error) {
			<-block
			return now.compare(r)
		})})
		begin := func(from peer.ID) <-chan error {
			a, b := wiretest.Pipe(256 << 10)
			done := make(chan error, 1)
			go srv.Serve(a, from)
			go func() {
				w := proof.NewWalk(&old.head.Head, &now.head.Head, nil)
				done <- Reconcile(context.Background(), b, w, replicaOf(old), Options{Library: testLibrary})
			}()
			synctest.Wait()
			return done
		}
		var running []<-chan error
		for i := range 4 {
			p := peer.ID(fmt.Sprint("peer", i))
			running = append(running, begin(p), begin(p))
			if i == 0 {
				err := <-begin(p)
				if st, ok := errors.AsType[wire.Status](err); !errors.Is(err, wire.ErrBusy) || !ok || st.RetryAfter == 0 {
					t.Errorf("third stream of a peer: %v", err)
				}
			}
		}
		if err := <-begin("another"); !errors.Is(err, wire.ErrBusy) {
			t.Errorf("ninth stream: %v", err)
		}
		close(block)
		for _, r := range running {
			if err := <-r; err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if err := <-begin("another"); err != nil {
			t.Errorf("after all ended: %v", err)
		}
		if err := srv.Close(); err != nil || srv.total != 0 || len(srv.active) != 0 {
			t.Errorf("%d places still taken, %v", srv.total, err)
		}
	})
}

func TestSilence(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		old, now := pair(t, 5)
		srv := NewServer(ServerConfig{Source: now.source()})
		a, b := wiretest.Pipe(256 << 10)
		start := time.Now()
		srv.Serve(a, "silent")
		if d := time.Since(start); d != wire.FirstFrameTimeout {
			t.Errorf("a silent receiver was borne for %v", d)
		}
		if _, err := b.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("the silent side saw %v", err)
		}
		_, b = wiretest.Pipe(256 << 10)
		start = time.Now()
		w := proof.NewWalk(&old.head.Head, &now.head.Head, nil)
		if err := Reconcile(t.Context(), b, w, replicaOf(old), Options{}); err == nil || time.Since(start) != wire.IdleTimeout {
			t.Errorf("a silent provider was borne for %v: %v", time.Since(start), err)
		}
		_, b = wiretest.Pipe(256 << 10)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := Reconcile(ctx, b, w, replicaOf(old), Options{}); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled: %v", err)
		}
	})
}
