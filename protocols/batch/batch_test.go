package batch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

const window = 256 << 10

// pullOnce pulls over one stream from a server of its own; the connection breaks after the provider sent cut bytes,
// unless that is negative.
func pullOnce(tb failer, src Source, tok index.Token, sink Sink, o Options, cut int) (index.Token, error) {
	tb.Helper()
	srv := NewServer(ServerConfig{Source: src})
	a, b := wiretest.Pipe(window)
	if cut >= 0 {
		a.CutAfter(cut)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		srv.Serve(a, "puller")
	}()
	last, err := Pull(context.Background(), b, tok, sink, o)
	<-served
	if err := srv.Close(); err != nil {
		tb.Fatalf("close: %v", err)
	}
	return last, err
}

func mustPull(t *testing.T, src Source, r *replica, o Options) {
	t.Helper()
	tok, err := r.resume()
	if err != nil {
		t.Fatal(err)
	}
	o.Library = testLibrary
	if _, err := pullOnce(t, src, tok, r, o, -1); err != nil {
		t.Fatal(err)
	}
}

func empty(t *testing.T, o *owner) *replica {
	t.Helper()
	h := o.history[0].head
	r, err := newReplica(h.Location, h.Epoch)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestPull(t *testing.T) {
	t.Parallel()
	o := sample(t, 2500)
	newest := &o.history[len(o.history)-1]
	for name, c := range map[string]struct {
		start func() (*replica, error)
		o     Options
	}{
		"full":          {start: func() (*replica, error) { return empty(t, o), nil }},
		"full by one":   {start: func() (*replica, error) { return empty(t, o), nil }, o: Options{BatchSize: 1}},
		"full at most":  {start: func() (*replica, error) { return empty(t, o), nil }, o: Options{BatchSize: wire.MaxRows}},
		"full plain":    {start: func() (*replica, error) { return empty(t, o), nil }, o: Options{Codecs: wire.Plain}},
		"full gzip":     {start: func() (*replica, error) { return empty(t, o), nil }, o: Options{Codecs: 1 << wire.CodecGzip}},
		"full s2":       {start: func() (*replica, error) { return empty(t, o), nil }, o: Options{Codecs: 1 << wire.CodecS2}},
		"delta":         {start: func() (*replica, error) { return replicaOf(&o.history[0]) }},
		"delta by 7":    {start: func() (*replica, error) { return replicaOf(&o.history[0]) }, o: Options{BatchSize: 7}},
		"nothing to do": {start: func() (*replica, error) { return replicaOf(newest) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, err := c.start()
			if err != nil {
				t.Fatal(err)
			}
			mustPull(t, newest.source(), r, c.o)
			if diff := r.diff(o); diff != "" {
				t.Error(diff)
			}
			if r.at.Done != r.at.Total || r.at.Batch == 0 || r.at.Bytes == 0 {
				t.Errorf("progress at the end: %+v", r.at)
			}
		})
	}
}

// progressSink keeps every progress.
type progressSink struct {
	*replica
	all   []Progress
	pages []index.Page
}

func (s *progressSink) Put(ctx context.Context, p *index.Page, next index.Token, done bool, at Progress) error {
	s.all = append(s.all, at)
	s.pages = append(s.pages, index.Page{LeftRows: p.LeftRows, LeftDead: p.LeftDead, Rows: slices.Clone(p.Rows), Dead: slices.Clone(p.Dead),
		UpTo: p.UpTo, Exhausted: p.Exhausted})
	return s.replica.Put(ctx, p, next, done, at)
}

func TestProgressAndCounts(t *testing.T) {
	t.Parallel()
	o := sample(t, 2500)
	newest := &o.history[len(o.history)-1]
	s := &progressSink{replica: empty(t, o)}
	tok, _ := s.resume()
	if _, err := pullOnce(t, newest.source(), tok, s, Options{Library: testLibrary}, -1); err != nil {
		t.Fatal(err)
	}
	live := int64(len(newest.rows))
	if len(s.all) != 4 { // 1000, 1000, 1 of ids, one of the delta
		t.Fatalf("%d frames", len(s.all))
	}
	for i, at := range s.all[:3] {
		if at.Mode != index.ModeFull || at.Batch != int64(i+1) || at.Batches != 3 || at.Total != live || at.Done != min(live, int64(i+1)*1000) {
			t.Errorf("frame %d: %+v", i, at)
		}
	}
	if s.pages[0].LeftRows != live || s.pages[0].LeftDead != 0 || s.pages[1].LeftRows != -1 {
		t.Errorf("counts: %d rows, %d dead; then %d", s.pages[0].LeftRows, s.pages[0].LeftDead, s.pages[1].LeftRows)
	}
	if last := s.all[3]; last.Mode != index.ModeDelta || last.Bytes <= s.all[2].Bytes {
		t.Errorf("delta: %+v", last)
	}

	r, err := replicaOf(&o.history[0])
	if err != nil {
		t.Fatal(err)
	}
	s = &progressSink{replica: r}
	tok, _ = s.resume()
	if _, err := pullOnce(t, newest.source(), tok, s, Options{Library: testLibrary}, -1); err != nil {
		t.Fatal(err)
	}
	if p := s.pages[0]; p.LeftRows != 500 || p.LeftDead < 500 || s.all[0].Batches != 0 {
		t.Errorf("delta: %d rows and %d dead ids left, %+v", p.LeftRows, p.LeftDead, s.all[0])
	}
}

// TestLargeRows has rows so large that a page of them doesn't fit a frame: the server must cut it, in both modes.
func TestLargeRows(t *testing.T) {
	t.Parallel()
	o := newOwner(t)
	o.commit()
	for i := range 3000 {
		o.insert(255)
		e := o.now.rows[o.now.head.NextID-1]
		e.Attrs = make([]byte, index.MaxAttrsLen)
		for j := range e.Attrs { // no codec makes this smaller
			e.Attrs[j] = byte(i*7919 + j*j*31 + i*j)
		}
		e.Hash = e.Attrs[:index.MaxHashLen]
		o.now.rows[e.ID] = e
		if i%100 == 50 {
			o.remove(e.ID-20, false)
		}
	}
	newest := o.commit()
	for name, r := range map[string]*replica{"full": empty(t, o), "delta": must(replicaOf(&o.history[0]))(t)} {
		s := &progressSink{replica: r}
		tok, _ := s.resume()
		if _, err := pullOnce(t, newest.source(), tok, s, Options{Library: testLibrary, BatchSize: wire.MaxRows}, -1); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := r.diff(o); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		if len(s.all) < 4 || len(s.all) > 12 {
			t.Errorf("%s: 4 MB of rows came in %d frames", name, len(s.all))
		}
		for i, p := range s.pages {
			if name == "delta" && !p.Exhausted && p.UpTo != lastSeq(&p) {
				t.Errorf("frame %d covers up to %d, last seq %d", i, p.UpTo, lastSeq(&p))
			}
		}
	}
}

func lastSeq(p *index.Page) int64 {
	last := int64(0)
	if n := len(p.Rows); n > 0 {
		last = p.Rows[n-1].Seq
	}
	if n := len(p.Dead); n > 0 {
		last = max(last, p.Dead[n-1].Seq)
	}
	return last
}

func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// TestCutAnywhere breaks a transfer after every possible number of bytes, and lets another provider end it.
func TestCutAnywhere(t *testing.T) {
	t.Parallel()
	o := sample(t, 12)
	first, second := &o.history[0], &o.history[1]
	measure := empty(t, o)
	mustPull(t, first.source(), measure, Options{BatchSize: 4})
	total := int(measure.at.Bytes)
	if total < 1000 {
		t.Fatalf("the transfer is only %d bytes", total)
	}
	for cut := range total + 1 {
		r := empty(t, o)
		tok, _ := r.resume()
		last, err := pullOnce(t, first.source(), tok, r, Options{BatchSize: 4, Library: testLibrary}, cut)
		if (err == nil) != r.done || (cut < total && err == nil) {
			t.Fatalf("cut after %d of %d bytes: %v", cut, total, err)
		}
		if stored, _ := r.resume(); stored != last {
			t.Fatalf("cut after %d bytes: Pull returned another token than was stored", cut)
		}
		r.done = false
		mustPull(t, second.source(), r, Options{BatchSize: 4})
		if diff := r.diff(o); diff != "" || r.head != second.head.Head {
			t.Fatalf("cut after %d bytes: %s", cut, diff)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	o := sample(t, 50)
	old, newest := &o.history[0], o.history[1]
	held := must(replicaOf(&newest))(t)
	heldTok, _ := held.resume()
	early := must(replicaOf(old))(t)
	earlyTok, _ := early.resume()
	otherEpoch := earlyTok
	otherEpoch.Epoch.Counter++
	otherEpoch.Base.Epoch, otherEpoch.Floor.Epoch = otherEpoch.Epoch, otherEpoch.Epoch
	elsewhere := index.NewFull(index.Location{Owner: index.DeviceID{1}}, index.Epoch{Counter: 1})
	pruned := newest
	pruned.horizon = newest.head.Seq
	boom := errors.New("disk on fire")
	for name, c := range map[string]struct {
		src  Source
		tok  index.Token
		want error
	}{
		"provider behind":   {old.source(), heldTok, index.ErrProviderBehind},
		"below the horizon": {pruned.source(), earlyTok, index.ErrBelowHorizon},
		"other epoch":       {newest.source(), otherEpoch, index.ErrEpochChanged},
		"no replica":        {newest.source(), elsewhere, ErrNoReplica},
		"source fails":      {sourceFunc(func(PageRequest) (index.Page, error) { return index.Page{}, boom }), earlyTok, wire.ErrFailed},
		"source panics":     {sourceFunc(func(PageRequest) (index.Page, error) { panic("boom") }), earlyTok, wire.ErrFailed},
	} {
		sink := &replica{}
		last, err := pullOnce(t, c.src, c.tok, sink, Options{Library: testLibrary}, -1)
		if !errors.Is(err, c.want) || last != c.tok || sink.puts > 0 {
			t.Errorf("%s: %v after %d pages", name, err, sink.puts)
		}
		if errors.Is(err, boom) {
			t.Errorf("%s: the text of our error crossed the wire", name)
		}
	}
}

// TestExhaustedBelowFloor starts with a provider ahead and goes on with one behind, which can't end it.
func TestExhaustedBelowFloor(t *testing.T) {
	t.Parallel()
	o := sample(t, 50)
	o.insert(3)
	o.commit()
	r := empty(t, o)
	tok, _ := r.resume()
	r.refuse = func(puts int) error {
		if puts > 2 {
			return errSink
		}
		return nil
	}
	if _, err := pullOnce(t, o.history[2].source(), tok, r, Options{Library: testLibrary, BatchSize: 10}, -1); !errors.Is(err, errSink) {
		t.Fatal(err)
	}
	r.refuse = nil
	tok, _ = r.resume()
	tok, err := pullOnce(t, o.history[1].source(), tok, r, Options{Library: testLibrary}, -1)
	if !errors.Is(err, index.ErrProviderBehind) || r.done {
		t.Fatalf("a provider below the floor ended it: %v", err)
	}
	if tok.Mode != index.ModeDelta || tok.Position != o.history[1].head.Seq {
		t.Errorf("its progress was lost: %+v", tok)
	}
	mustPull(t, o.history[2].source(), r, Options{})
	if diff := r.diff(o); diff != "" {
		t.Error(diff)
	}
}

func TestVerifyHead(t *testing.T) {
	t.Parallel()
	o := sample(t, 5)
	r := empty(t, o)
	tok, _ := r.resume()
	removed := errors.New("the owner was removed")
	asked := 0
	opts := Options{Library: testLibrary, BatchSize: 1, VerifyHead: func(h *index.SignedHead) error {
		if asked++; h.Head != o.history[1].head.Head {
			t.Error("asked about another head")
		}
		return removed
	}}
	if _, err := pullOnce(t, o.history[1].source(), tok, r, opts, -1); !errors.Is(err, removed) || asked != 1 || r.puts > 0 {
		t.Errorf("%v after %d questions and %d pages", err, asked, r.puts)
	}
	opts.VerifyHead = func(*index.SignedHead) error { asked++; return nil }
	asked = 0
	if _, err := pullOnce(t, o.history[1].source(), tok, r, opts, -1); err != nil || asked != 2 {
		t.Errorf("%v after %d questions, want one an answer", err, asked)
	}
	opts.Library = index.LibraryID{1}
	if _, err := pullOnce(t, o.history[1].source(), tok, &replica{}, opts, -1); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("head of another library: %v", err)
	}
}

func TestBusy(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		o := sample(t, 5)
		block := make(chan struct{})
		srv := NewServer(ServerConfig{Source: sourceFunc(func(r PageRequest) (index.Page, error) {
			<-block
			return o.history[1].page(r)
		})})
		pull := func(from peer.ID) <-chan error {
			a, b := wiretest.Pipe(window)
			done := make(chan error, 1)
			go srv.Serve(a, from)
			go func() {
				r := empty(t, o)
				tok, _ := r.resume()
				_, err := Pull(context.Background(), b, tok, r, Options{Library: testLibrary})
				done <- err
			}()
			synctest.Wait()
			return done
		}
		var running []<-chan error
		for i := range 4 {
			p := peer.ID(fmt.Sprint("peer", i))
			running = append(running, pull(p), pull(p))
			if i == 0 {
				err := <-pull(p)
				if st, ok := errors.AsType[wire.Status](err); !errors.Is(err, wire.ErrBusy) || !ok || st.RetryAfter == 0 {
					t.Errorf("third stream of a peer: %v", err)
				}
			}
		}
		if err := <-pull("another"); !errors.Is(err, wire.ErrBusy) {
			t.Errorf("ninth stream: %v", err)
		}
		close(block)
		for _, r := range running {
			if err := <-r; err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if err := <-pull("another"); err != nil {
			t.Errorf("after all ended: %v", err)
		}
		if err := srv.Close(); err != nil || srv.cfg.Places.Taken() != 0 {
			t.Errorf("%d places still taken, %v", srv.cfg.Places.Taken(), err)
		}
	})
}

func TestSilentPullerIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := NewServer(ServerConfig{Source: sample(t, 1).history[1].source()})
		a, b := wiretest.Pipe(window)
		start := time.Now()
		srv.Serve(a, "silent")
		if d := time.Since(start); d != wire.FirstFrameTimeout {
			t.Errorf("silence was borne for %v", d)
		}
		if _, err := b.Read(make([]byte, 1)); err == nil || err == io.EOF {
			t.Errorf("the silent side saw %v", err)
		}
	})
}

func TestPullEndsWithContext(t *testing.T) {
	t.Parallel()
	_, b := wiretest.Pipe(window)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	o := sample(t, 1)
	r := empty(t, o)
	tok, _ := r.resume()
	if last, err := Pull(ctx, b, tok, r, Options{Library: testLibrary}); !errors.Is(err, context.Canceled) || last != tok {
		t.Errorf("got %v", err)
	}
}

// TestOnLibp2p pulls over a real connection on this machine.
func TestOnLibp2p(t *testing.T) {
	t.Parallel()
	o := sample(t, 2000)
	srv := NewServer(ServerConfig{Source: o.history[1].source()})
	t.Cleanup(func() { _ = srv.Close() })
	server, client := newHost(t), newHost(t)
	server.SetStreamHandler(ID, srv.Handle)
	if err := client.Connect(t.Context(), peer.AddrInfo{ID: server.ID(), Addrs: server.Addrs()}); err != nil {
		t.Fatal(err)
	}
	s, err := client.NewStream(t.Context(), server.ID(), ID)
	if err != nil {
		t.Fatal(err)
	}
	r := empty(t, o)
	tok, _ := r.resume()
	if _, err := Pull(t.Context(), s, tok, r, Options{Library: testLibrary}); err != nil {
		t.Fatal(err)
	}
	if diff := r.diff(o); diff != "" {
		t.Error(diff)
	}
}

func newHost(t testing.TB) host.Host {
	t.Helper()
	h, err := libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}
