package snapshot

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"testing"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
	"github.com/peerdex/peerdex/test/harness"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

const (
	window = 16 << 10
	// piece is the size of the parts of servers in tests, small so that there are many.
	piece = 8 << 10
)

func newServer(cfg ServerConfig) *Server {
	s := NewServer(cfg)
	s.part = piece
	return s
}

var testLibrary = index.LibraryID{0x1b}

func ownerKey() ed25519.PrivateKey {
	seed := sha256.Sum256([]byte("owner"))
	return ed25519.NewKeyFromSeed(seed[:])
}

// offer is that of a file of so many bytes.
func offer(tb testing.TB, file byte, v Variant, size int) Offer {
	tb.Helper()
	r := index.Record{Seq: 1, Name: "docs", Platform: "linux"}
	record, err := r.MarshalBinary()
	if err != nil {
		tb.Fatal(err)
	}
	key := ownerKey()
	head, err := index.SignHead(index.Head{
		Library: testLibrary, Location: index.Location{Owner: index.DeviceID(key.Public().(ed25519.PublicKey)), ID: index.LocationID{7}},
		Epoch: index.Epoch{Counter: 1, Random: 99}, Seq: 5, Count: 3, NextID: 9, Root: index.Hash{1}, Record: index.HashRecord(record),
	}, key)
	if err != nil {
		tb.Fatal(err)
	}
	return Offer{File: FileID{file, 1}, Variant: v, Size: int64(size), Head: head, Record: record}
}

// content is a file whose beginning packs well and whose end doesn't.
func content(size int) []byte {
	rng := rand.New(rand.NewPCG(1, uint64(size)))
	b := make([]byte, size)
	for i := range b {
		if b[i] = byte(i / 7); i > size/2 {
			b[i] = byte(rng.Uint32())
		}
	}
	return b
}

// memFile is a [Snapshot] in memory.
type memFile struct {
	*bytes.Reader
	offer Offer
	open  *atomic.Int64 // how many are open
}

func (f memFile) Offer() Offer { return f.offer }

func (f memFile) Close() error {
	f.open.Add(-1)
	return nil
}

// memSource has one present file, and older ones that are still there.
type memSource struct {
	now, old []byte
	offers   [2]Offer // of now and old
	open     atomic.Int64
}

func newSource(tb testing.TB, v Variant, size int) *memSource {
	tb.Helper()
	s := &memSource{now: content(size)}
	s.offers[0] = offer(tb, 1, v, size)
	return s
}

func (s *memSource) Snapshot(_ context.Context, r Request) (Snapshot, error) {
	if r.Location != s.offers[0].Head.Location || r.Library != testLibrary {
		return nil, ErrNoReplica
	}
	s.open.Add(1)
	if s.old != nil && r.File == s.offers[1].File {
		return memFile{bytes.NewReader(s.old), s.offers[1], &s.open}, nil
	}
	return memFile{bytes.NewReader(s.now), s.offers[0], &s.open}, nil
}

// request asks s for its present file.
func (s *memSource) request() Request {
	return Request{Library: testLibrary, Location: s.offers[0].Head.Location, Variants: Variants(Compact, Native)}
}

type sourceFunc func(context.Context, Request) (Snapshot, error)

func (f sourceFunc) Snapshot(ctx context.Context, r Request) (Snapshot, error) { return f(ctx, r) }

// memSink keeps what comes.
type memSink struct {
	offer  Offer
	b      []byte
	begun  int
	puts   int
	at     Progress
	refuse func(puts int) error
}

var errSink = errors.New("sink")

func (s *memSink) Begin(_ context.Context, o *Offer, offset int64) error {
	if s.begun++; offset != 0 && (o.File != s.offer.File || offset != int64(len(s.b))) {
		return fmt.Errorf("begun at %d of %v with %d bytes of %v there", offset, o.File, len(s.b), s.offer.File)
	}
	s.offer, s.b = *o, s.b[:offset]
	return nil
}

func (s *memSink) Put(_ context.Context, b []byte, at Progress) error {
	if s.puts++; s.refuse != nil {
		if err := s.refuse(s.puts); err != nil {
			return err
		}
	}
	s.b, s.at = append(s.b, b...), at
	return nil
}

// again is the request that goes on where the sink stands.
func (s *memSink) again(r Request) Request {
	r.File, r.Offset = s.offer.File, int64(len(s.b))
	return r
}

// pullOnce pulls over one stream from a server of its own; the connection breaks after the provider sent cut bytes,
// unless that is negative.
func pullOnce(tb testing.TB, src Source, r Request, sink Sink, o Options, cut int) error {
	tb.Helper()
	srv := newServer(ServerConfig{Source: src})
	a, b := wiretest.Pipe(window)
	if cut >= 0 {
		a.CutAfter(cut)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		srv.Serve(a, "puller")
	}()
	err := Pull(context.Background(), b, r, sink, o)
	<-served
	if err := srv.Close(); err != nil || srv.cfg.Places.Taken() != 0 {
		tb.Fatalf("close: %v, %d places taken", err, srv.cfg.Places.Taken())
	}
	if s, ok := src.(*memSource); ok && s.open.Load() != 0 {
		tb.Fatalf("%d files left open", s.open.Load())
	}
	return err
}

// payload returns the message that encode begins.
func payload(encode func(e *wire.Encoder)) []byte {
	e := wire.NewEncoder()
	encode(e)
	return bytes.Clone(e.Payload())
}

// fields returns a decoder that stands behind the kind of a message.
func fields(tb testing.TB, p []byte, kind, n int) *wire.Decoder {
	tb.Helper()
	d := wire.NewDecoder()
	d.Reset(p)
	d.Array(n + 1)
	d.Int(int64(kind), int64(kind))
	return d
}
