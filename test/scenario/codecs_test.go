package scenario

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/batch"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
	"github.com/peerdex/peerdex/test/harness/cluster"
)

// TestCodecs has members that know only one way of packing get a location from a device that knows all.
func TestCodecs(t *testing.T) {
	t.Parallel()
	owner := cluster.New(t, "owner")
	l := owner.Feed("location", entries(t, 3_000))
	for name, codec := range map[string]wire.Codec{"zstd": wire.CodecZstd, "gzip": wire.CodecGzip, "s2": wire.CodecS2, "none": wire.CodecNone} {
		t.Run(name, func(t *testing.T) {
			d := cluster.New(t, name)
			d.Stop() // before it is paired, so that it gets nothing in any other way
			d.Start()
			owner.Pair(d)
			d.Stop()
			seen := pullPacked(t, d, owner, l, codec)
			d.Equal(owner, l)
			if len(seen) > 2 || !seen[codec] {
				t.Errorf("packed by %v", seen)
			}
		})
	}
}

// pullPacked fetches all of a location for a stopped device, and returns how the frames were packed.
func pullPacked(t *testing.T, d, owner *cluster.Device, l index.Location, codec wire.Codec) map[wire.Codec]bool {
	t.Helper()
	st, err := store.Open(d.Config.Dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { noError(t, st.Close()) }()
	if err := st.Drop(t.Context(), l); err != nil && !errors.Is(err, store.ErrNotFound) {
		t.Fatal(err)
	}
	key, err := crypto.UnmarshalEd25519PrivateKey(st.Identity())
	if err != nil {
		t.Fatal(err)
	}
	h, err := libp2p.New(libp2p.Identity(key), libp2p.NoListenAddrs, libp2p.Security(libp2ptls.ID, libp2ptls.New), libp2p.DisableMetrics())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { noError(t, h.Close()) }()
	status, err := owner.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	at, err := peer.AddrInfoFromString(status.Addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := h.Connect(t.Context(), *at); err != nil {
		t.Fatal(err)
	}
	s, err := h.NewStream(t.Context(), at.ID, batch.ID)
	if err != nil {
		t.Fatal(err)
	}
	head := owner.Head(l)
	in, err := st.Intake(t.Context(), l, head.Epoch, index.ModeFull)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { noError(t, in.Close()) }()
	w := &watched{Stream: s}
	o := batch.Options{Library: head.Library, Codecs: 1 << codec, Config: wire.Config{Codecs: new(wire.Codecs), Traffic: new(wire.Traffic)}}
	if _, err := batch.Pull(t.Context(), w, in.Token(), keep{in}, o); err != nil {
		t.Fatal(err)
	}
	return w.codecs(t)
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// keep puts pages into the store.
type keep struct{ in *store.Intake }

func (k keep) Put(ctx context.Context, p *index.Page, next index.Token, done bool, _ batch.Progress) error {
	return k.in.Put(ctx, p, next, done)
}

// watched is a stream that keeps what was read.
type watched struct {
	wire.Stream
	all bytes.Buffer
}

func (w *watched) Read(b []byte) (int, error) {
	n, err := w.Stream.Read(b)
	w.all.Write(b[:n])
	return n, err
}

// codecs are those of the frames that were read.
func (w *watched) codecs(t *testing.T) map[wire.Codec]bool {
	t.Helper()
	out := map[wire.Codec]bool{}
	for b := w.all.Bytes(); len(b) > 0; {
		size, n := binary.Uvarint(b)
		if n <= 0 || size == 0 || uint64(len(b)-n) < size {
			t.Fatalf("%d bytes at the end are no frame", len(b))
		}
		out[wire.Codec(b[n])] = true
		b = b[n+int(size):]
	}
	return out
}
