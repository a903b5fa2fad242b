package node_test

import (
	"context"
	"crypto/ed25519"
	"io"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/batch"
	"github.com/peerdex/peerdex/protocols/heads"
	"github.com/peerdex/peerdex/protocols/snapshot"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
)

// knock opens a stream of a protocol to a node, writes what a member would, and counts the bytes that come back.
func knock(t *testing.T, h host.Host, to peer.ID, id protocol.ID, request []byte) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	s, err := h.NewStream(ctx, to, id)
	if err != nil {
		return 0
	}
	defer s.Reset()
	_ = s.SetDeadline(time.Now().Add(10 * time.Second))
	_, _ = s.Write(request)
	_ = s.CloseWrite()
	b, _ := io.ReadAll(s)
	return len(b)
}

// TestStrangersGetNothing opens every protocol as a device that is not paired and counts index bytes: none. The same
// requests from a member are answered, so the test would notice if nothing answered at all.
func TestStrangersGetNothing(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	l := nas.add(tree(t, "secret.txt"))
	nas.pairWith(laptop)
	laptop.holds(nas, l)
	status, err := nas.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	to, err := peer.AddrInfoFromString(status.Addresses[0])
	if err != nil {
		t.Fatal(err)
	}
	laptop.stop()
	st, err := store.OpenReadOnly(laptop.cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	member := st.Identity()
	held, err := st.Held(t.Context(), l.Ref())
	if err != nil {
		t.Fatal(err)
	}
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	_, stranger, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	requests := recordRequests(t, held.Head)
	for who, key := range map[string]ed25519.PrivateKey{"member": member, "stranger": stranger} {
		h := hostWith(t, key)
		if err := h.Connect(t.Context(), *to); err != nil {
			t.Fatal(err)
		}
		for id, request := range requests {
			n := knock(t, h, to.ID, id, request)
			if (who == "stranger") != (n == 0) {
				t.Errorf("%s: %d bytes from %s", who, n, id)
			}
		}
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
	laptop.start()
}

func hostWith(t *testing.T, key ed25519.PrivateKey) host.Host {
	t.Helper()
	k, err := crypto.UnmarshalEd25519PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	h, err := libp2p.New(libp2p.Identity(k), libp2p.NoListenAddrs, libp2p.DisableMetrics())
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// recordRequests returns the first bytes that each protocol's own client sends.
func recordRequests(t *testing.T, head index.SignedHead) map[protocol.ID][]byte {
	t.Helper()
	out := map[protocol.ID][]byte{}
	pull := &recorder{}
	_, _ = batch.Pull(t.Context(), pull, index.NewFull(head.Location, head.Epoch), nil, batch.Options{Library: head.Library})
	out[batch.ID] = pull.sent
	file := &recorder{}
	_ = snapshot.Pull(t.Context(), file, snapshot.Request{Library: head.Library, Location: head.Location, Variants: snapshot.Variants(snapshot.Compact)},
		nil, snapshot.Options{})
	out[snapshot.ID] = file.sent
	talk := &recorder{}
	_, _ = heads.Exchange(t.Context(), talk, "", heads.Config{Backend: nobody{}})
	out[heads.ID] = talk.sent
	for id, b := range out {
		if len(b) == 0 {
			t.Fatalf("no request recorded for %s", id)
		}
	}
	return out
}

// recorder is a stream whose other side says nothing.
type recorder struct{ sent []byte }

var _ wire.Stream = (*recorder)(nil)

func (r *recorder) Read([]byte) (int, error)         { return 0, io.EOF }
func (r *recorder) Write(b []byte) (int, error)      { r.sent = append(r.sent, b...); return len(b), nil }
func (r *recorder) Close() error                     { return nil }
func (r *recorder) Reset() error                     { return nil }
func (r *recorder) SetReadDeadline(time.Time) error  { return nil }
func (r *recorder) SetWriteDeadline(time.Time) error { return nil }

// nobody is the backend of a device that knows nothing.
type nobody struct{}

func (nobody) Records(context.Context) ([][]byte, error)                { return nil, nil }
func (nobody) Merge(context.Context, peer.ID, [][]byte) error           { return nil }
func (nobody) Heads(context.Context) ([]heads.Announced, error)         { return nil, nil }
func (nobody) Said(context.Context, peer.ID) ([]heads.Announced, error) { return nil, nil }
func (nobody) Heard(context.Context, peer.ID, []heads.Announced, []index.Location) error {
	return nil
}
