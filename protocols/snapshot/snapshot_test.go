package snapshot

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

func TestPull(t *testing.T) {
	t.Parallel()
	for _, size := range []int{1, piece - 1, piece, piece + 1, 10*piece + 7, 5*partSize + 1} {
		for codecs, name := range map[wire.CodecSet]string{
			0: "all", wire.Plain: "plain", 1 << wire.CodecZstd: "zstd", 1 << wire.CodecS2: "s2", 1 << wire.CodecGzip: "gzip",
		} {
			for _, v := range []Variant{Compact, Native} {
				t.Run(fmt.Sprintf("%d bytes, %s, variant %d", size, name, v), func(t *testing.T) {
					t.Parallel()
					src, sink := newSource(t, v, size), &memSink{}
					if err := pullOnce(t, src, src.request(), sink, Options{Codecs: codecs}, -1); err != nil {
						t.Fatal(err)
					}
					if !bytes.Equal(sink.b, src.now) || sink.offer.File != src.offers[0].File || sink.offer.Head != src.offers[0].Head {
						t.Errorf("%d bytes of %v", len(sink.b), sink.offer.File)
					}
					if sink.at.Done != int64(size) || sink.at.Total != int64(size) || sink.at.Wire == 0 || sink.begun != 1 {
						t.Errorf("at the end: %+v, begun %d times", sink.at, sink.begun)
					}
					packs := codecs != wire.Plain && size > piece
					if smaller := sink.at.Wire < int64(size); smaller != packs && packs {
						t.Errorf("%d bytes on the wire", sink.at.Wire)
					}
				})
			}
		}
	}
}

// TestCut breaks the connection everywhere, goes on with the same file, and counts what was sent twice.
func TestCut(t *testing.T) {
	t.Parallel()
	const size = 12*piece + 5
	for cut := 0; cut < size+size/4; cut += piece/2 + 1 {
		src, sink := newSource(t, Compact, size), &memSink{}
		r := src.request()
		err := pullOnce(t, src, r, sink, Options{Codecs: wire.Plain}, cut)
		if err == nil {
			if cut < size {
				t.Fatalf("whole after %d bytes", cut)
			}
		} else {
			had := len(sink.b)
			if lost := cut - had; lost > 1024+13*partSlack+piece { // header, beginnings of frames, and the last frame
				t.Errorf("cut after %d bytes: %d were taken", cut, had)
			}
			if err := pullOnce(t, src, sink.again(r), sink, Options{Codecs: wire.Plain}, -1); err != nil {
				t.Fatalf("cut after %d bytes: %v", cut, err)
			}
			if sink.at.Wire > int64(size-had+1024+13*partSlack) {
				t.Errorf("cut after %d bytes: %d bytes came for the last %d", cut, sink.at.Wire, size-had)
			}
		}
		if !bytes.Equal(sink.b, src.now) {
			t.Fatalf("cut after %d bytes: another file", cut)
		}
	}
}

// TestSinkRefuses ends a pull from the sink's side at each part, and goes on.
func TestSinkRefuses(t *testing.T) {
	t.Parallel()
	src, sink := newSource(t, Native, 9*piece), &memSink{}
	r := src.request()
	sink.refuse = func(puts int) error {
		if puts%3 == 0 {
			return errSink
		}
		return nil
	}
	var err error
	for range 20 {
		if err = pullOnce(t, src, r, sink, Options{}, -1); err == nil {
			break
		}
		if !errors.Is(err, errSink) {
			t.Fatal(err)
		}
		r = sink.again(r)
	}
	if err != nil || !bytes.Equal(sink.b, src.now) {
		t.Errorf("%d bytes in %d puts, %v", len(sink.b), sink.puts, err)
	}
}

// TestWhole asks for a file that is there already: the provider has nothing to send.
func TestWhole(t *testing.T) {
	t.Parallel()
	src, sink := newSource(t, Compact, piece), &memSink{}
	for range 2 {
		if err := pullOnce(t, src, sink.again(src.request()), sink, Options{}, -1); err != nil {
			t.Fatal(err)
		}
	}
	if sink.puts != 1 || sink.begun != 2 {
		t.Errorf("%d puts, begun %d times", sink.puts, sink.begun)
	}
}

// TestProviderMovedOn breaks off, and goes on with a provider that has a newer file: as long as the old one is there
// the transfer goes on, and then begins anew.
func TestProviderMovedOn(t *testing.T) {
	t.Parallel()
	for _, kept := range []bool{true, false} {
		src, sink := newSource(t, Compact, 8*piece), &memSink{}
		r := src.request()
		if err := pullOnce(t, src, r, sink, Options{Codecs: wire.Plain}, 6*piece); err == nil {
			t.Fatal("not cut")
		}
		old, oldOffer, had := src.now, src.offers[0], len(sink.b)
		src.now, src.offers[0] = content(3*piece), offer(t, 2, Compact, 3*piece)
		if kept {
			src.old, src.offers[1] = old, oldOffer
		}
		if err := pullOnce(t, src, sink.again(r), sink, Options{}, -1); err != nil {
			t.Fatal(err)
		}
		want := src.now
		if kept {
			want = old
		}
		if !bytes.Equal(sink.b, want) || had == 0 {
			t.Errorf("kept %v: %d bytes of %v, %d before", kept, len(sink.b), sink.offer.File, had)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	src := newSource(t, Compact, 100)
	elsewhere := src.request()
	elsewhere.Location.ID[0]++
	stranger := src.request()
	stranger.Library[0]++
	boom := errors.New("disk on fire")
	fail := func(err error) Source {
		return sourceFunc(func(context.Context, Request) (Snapshot, error) { return nil, err })
	}
	for name, c := range map[string]struct {
		src  Source
		r    Request
		want error
	}{
		"no replica":    {src, elsewhere, ErrNoReplica},
		"other library": {src, stranger, ErrNoReplica},
		"no room":       {fail(wire.Refusal{Err: wire.ErrBusy, RetryAfter: time.Minute}), src.request(), wire.ErrBusy},
		"source fails":  {fail(boom), src.request(), wire.ErrFailed},
		"source panics": {sourceFunc(func(context.Context, Request) (Snapshot, error) { panic("boom") }), src.request(), wire.ErrFailed},
	} {
		sink := &memSink{}
		err := pullOnce(t, c.src, c.r, sink, Options{}, -1)
		if !errors.Is(err, c.want) || sink.begun > 0 || errors.Is(err, boom) {
			t.Errorf("%s: %v", name, err)
		}
		if st, ok := errors.AsType[wire.Status](err); ok && st.Code == wire.CodeBusy && st.RetryAfter != time.Minute {
			t.Errorf("%s: retry after %v", name, st.RetryAfter)
		}
	}
}

// TestMakingAFileTakesLong has a provider that needs minutes before it can answer, and one that never does.
func TestMakingAFileTakesLong(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource(t, Compact, 3*piece)
		for wait, want := range map[time.Duration]error{5 * time.Minute: nil, time.Hour: wire.ErrFailed} {
			slow := sourceFunc(func(ctx context.Context, r Request) (Snapshot, error) {
				select {
				case <-time.After(wait):
					return src.Snapshot(ctx, r)
				case <-ctx.Done():
					return nil, ctx.Err()
				}
			})
			sink, start := &memSink{}, time.Now()
			err := pullOnce(t, slow, src.request(), sink, Options{}, -1)
			if want == nil && (err != nil || !bytes.Equal(sink.b, src.now)) {
				t.Errorf("after %v: %v", wait, err)
			}
			if took := time.Since(start); want != nil && (err == nil || took > prepareTimeout+wire.IdleTimeout) {
				t.Errorf("gave up after %v: %v", took, err)
			}
		}
	})
}

// TestPullerGoesWhileAFileIsMade checks that the provider stops making it, and keeps nothing open.
func TestPullerGoesWhileAFileIsMade(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource(t, Compact, 100)
		srv := newServer(ServerConfig{Source: sourceFunc(func(ctx context.Context, r Request) (Snapshot, error) {
			<-ctx.Done()
			return src.Snapshot(ctx, r) // made all the same
		})})
		a, b := wiretest.Pipe(window)
		served := make(chan struct{})
		go func() {
			defer close(served)
			srv.Serve(a, "puller")
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := Pull(ctx, b, src.request(), &memSink{}, Options{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		<-served
		if err := srv.Close(); err != nil || src.open.Load() != 0 || srv.cfg.Places.Taken() != 0 {
			t.Errorf("%v, %d files open", err, src.open.Load())
		}
	})
}

func TestLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src, block := newSource(t, Compact, 100), make(chan struct{})
		places := wire.NewPlaces(0, 0)
		srv := newServer(ServerConfig{Places: places, Source: sourceFunc(func(ctx context.Context, r Request) (Snapshot, error) {
			<-block
			return src.Snapshot(ctx, r)
		})})
		pull := func(from peer.ID) <-chan error {
			a, b := wiretest.Pipe(window)
			done := make(chan error, 1)
			go srv.Serve(a, from)
			go func() { done <- Pull(context.Background(), b, src.request(), &memSink{}, Options{}) }()
			synctest.Wait()
			return done
		}
		places.Take("batch") // another protocol has a place already
		var running []<-chan error
		for i := range 7 {
			running = append(running, pull(peer.ID(fmt.Sprint("peer", i/2))))
		}
		err := <-pull("another")
		if st, ok := errors.AsType[wire.Status](err); !errors.Is(err, wire.ErrBusy) || !ok || st.RetryAfter != retryAfter {
			t.Errorf("ninth stream: %v", err)
		}
		places.Release("batch")
		if err := <-pull("peer0"); !errors.Is(err, wire.ErrBusy) {
			t.Errorf("third stream of a peer: %v", err)
		}
		close(block)
		for _, r := range running {
			if err := <-r; err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		if err := errors.Join(<-pull("another"), srv.Close()); err != nil || places.Taken() != 0 {
			t.Errorf("after all ended: %v, %d places taken", err, places.Taken())
		}
	})
}

// TestSlowReader cuts off one who asks and doesn't read, and one who reads too little for ever.
func TestSlowReader(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource(t, Compact, 100*piece)
		for each, most := range map[time.Duration]time.Duration{
			time.Hour:        wire.WriteTimeout + time.Second,
			10 * time.Second: slowGrace + 100*piece/minRate*time.Second + time.Second,
		} {
			srv := newServer(ServerConfig{Source: src})
			a, b := wiretest.Pipe(window)
			r := src.request()
			c := wire.NewConn(b, wire.Config{})
			r.encode(c.Encoder(), wire.Plain)
			if err := c.Send(wire.CodecNone); err != nil {
				t.Fatal(err)
			}
			stop := make(chan struct{})
			go func() {
				for buf := make([]byte, window); ; {
					select {
					case <-stop:
						return
					case <-time.After(each):
						_, _ = b.Read(buf)
					}
				}
			}()
			start := time.Now()
			srv.Serve(a, "slow")
			took := time.Since(start)
			close(stop)
			if took > most || srv.cfg.Places.Taken() != 0 || src.open.Load() != 0 {
				t.Errorf("one who reads every %v was served for %v, want at most %v", each, took, most)
			}
			if err := srv.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestSilentPullerIsDropped(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		srv := newServer(ServerConfig{Source: newSource(t, Compact, 1)})
		a, _ := wiretest.Pipe(window)
		start := time.Now()
		srv.Serve(a, "silent")
		if d := time.Since(start); d != wire.FirstFrameTimeout {
			t.Errorf("silence was borne for %v", d)
		}
	})
}

// TestCloseEndsStreams closes a server in the middle of a transfer.
func TestCloseEndsStreams(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		src := newSource(t, Compact, 100*piece)
		srv := newServer(ServerConfig{Source: src})
		a, b := wiretest.Pipe(window)
		go srv.Serve(a, "puller")
		hold, sink := make(chan struct{}), &memSink{}
		sink.refuse = func(puts int) error {
			if puts == 3 {
				<-hold
			}
			return nil
		}
		done := make(chan error, 1)
		go func() { done <- Pull(t.Context(), b, src.request(), sink, Options{}) }()
		synctest.Wait()
		if err := srv.Close(); err != nil || src.open.Load() != 0 {
			t.Errorf("%v, %d files open", err, src.open.Load())
		}
		close(hold)
		if err := <-done; err == nil {
			t.Error("the pull went on")
		}
	})
}

// TestTakers has two pull one file over real connections on this machine.
func TestTakers(t *testing.T) {
	t.Parallel()
	src := newSource(t, Native, 20*piece+1)
	srv := newServer(ServerConfig{Source: src})
	t.Cleanup(func() { _ = srv.Close() })
	server := newHost(t)
	server.SetStreamHandler(ID, srv.Handle)
	errs := make(chan error, 2)
	for range 2 {
		client := newHost(t)
		go func() {
			errs <- func() error {
				if err := client.Connect(t.Context(), peer.AddrInfo{ID: server.ID(), Addrs: server.Addrs()}); err != nil {
					return err
				}
				s, err := client.NewStream(t.Context(), server.ID(), ID)
				if err != nil {
					return err
				}
				sink := &memSink{}
				if err := Pull(t.Context(), s, src.request(), sink, Options{}); err != nil {
					return err
				}
				if !bytes.Equal(sink.b, src.now) {
					return errors.New("another file")
				}
				return nil
			}()
		}()
	}
	for range 2 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
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
