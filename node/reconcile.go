package node

import (
	"context"
	"fmt"
	"sync"

	"github.com/libp2p/go-libp2p/core/network"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/protocols/tree"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
)

// compareTrees finds what differs between a replica and its provider, by the hash tree. The delta from the token of in ends
// the transfer.
func (n *Node) compareTrees(ctx context.Context, p *syncer.Plan, in *store.Intake, sink *sink) error {
	pid, err := wire.PeerOf(p.Provider)
	if err != nil {
		return err
	}
	s, err := n.host.Load().NewStream(network.WithNoDial(ctx, "tree"), pid, tree.ID)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	return tree.Reconcile(ctx, s, in.Walk(&p.Offer.Head), comparing{sink}, tree.Options{
		Config: n.wire(), Library: n.lib.id(), VerifyHead: n.verifyHead,
	})
}

// comparing puts what a comparison found into the store, and tells how far it is.
type comparing struct{ *sink }

var _ tree.Replica = comparing{}

// Sketch describes nodes of the replica's tree.
func (c comparing) Sketch(ctx context.Context, salt proof.Salt, level int, nodes []int64) ([]proof.Sketch, error) {
	return c.in.Sketch(ctx, salt, level, nodes)
}

// Found stores what was found.
func (c comparing) Found(_ context.Context, f *proof.Found, next index.Token, at tree.Progress) error {
	c.full, c.bytes = at.Rows, at.Bytes
	c.tell(at.Rows, at.Total, at.Bytes)
	return c.in.Found(f, next)
}

// Compare compares with this device's trees.
func (s source) Compare(ctx context.Context, r tree.CompareRequest) (proof.Comparison, error) {
	c, err := s.n.st.Compare(ctx, store.CompareRequest(r))
	return c, s.serve(ctx, r.Location, &c.Head.Head, err)
}

var _ tree.Source = source{}

// apart remembers the replicas that differ too much for a comparison, by the state they were in. They are fetched anew.
// The zero value is ready; safe for concurrent use.
type apart struct {
	mu sync.Mutex
	at map[index.Location]index.Hash
}

func (a *apart) set(held *index.SignedHead) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at == nil {
		a.at = map[index.Location]index.Hash{}
	}
	a.at[held.Location] = held.Digest()
}

func (a *apart) has(held *index.SignedHead) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return held != nil && a.at[held.Location] == held.Digest()
}
