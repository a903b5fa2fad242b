package node

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

// TestBusyProvider pulls from a device that has no place left.
func TestBusyProvider(t *testing.T) {
	p := newPair(t, 10)
	self, err := wire.PeerOf(p.laptop.st.Self())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if !p.nas.places.Take(self) {
			t.Fatal("no place")
		}
		defer p.nas.places.Release(self)
	}
	err = p.laptop.fetchSnapshot(t.Context(), p.l, p.plan(syncer.Compact), func(context.Context, index.DeviceID, protocol.ID) (wire.Stream, error) {
		a, b := wiretest.Pipe(1 << 20)
		go p.nas.files.Serve(b, self) // ended by the node's Close at the latest
		return a, nil
	})
	busy, ok := errors.AsType[*syncer.BusyError](patience(err))
	if !ok || busy.After < time.Second || busy.After > time.Minute || !errors.Is(busy, wire.ErrBusy) || errors.Is(err, syncer.ErrNoSnapshot) {
		t.Errorf("%v", err)
	}
	for _, err := range []error{nil, errors.New("cut"), wire.Status{Code: wire.CodeNoReplica}, fmt.Errorf("x: %w", index.ErrBelowHorizon)} {
		if got := patience(err); got != err {
			t.Errorf("%v became %v", err, got)
		}
	}
}
