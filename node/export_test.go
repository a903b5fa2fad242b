package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/volume"
	"github.com/peerdex/peerdex/protocols/change"
	"github.com/peerdex/peerdex/protocols/notice"
	"github.com/peerdex/peerdex/store"
)

// Prune does at once what an idle node does every hour.
func (n *Node) Prune(ctx context.Context) { n.prune(ctx) }

// HeardOf is what devices said of a location, and what pushed changes taught since.
func (n *Node) HeardOf(ctx context.Context, l index.Location) ([]store.Heard, error) {
	return n.heardOf(ctx, l)
}

// TakeNotice is what happens with a notice that gossip found good; old is what is answered when gossip asks about it.
func (n *Node) TakeNotice(ctx context.Context, h index.SignedHead) (old bool, err error) {
	if old, err = (herald{n}).Old(ctx, h); err != nil || old {
		return old, err
	}
	return false, herald{n}.Heard(ctx, notice.BulkIndexComplete{Head: h})
}

// SeqOf is the seq at which a location is held here, 0 if it is not.
func (n *Node) SeqOf(ctx context.Context, l index.Location) int64 {
	held, err := n.st.Held(ctx, l)
	if err != nil {
		return 0
	}
	return held.Head.Seq
}

// ChangeAbove is what would be pushed of an own location to who stands at a seq of its epoch; nil if that is too much.
func (n *Node) ChangeAbove(ctx context.Context, l index.Location, seq int64) (*change.StateChange, error) {
	held, err := n.st.Held(ctx, l)
	if err != nil {
		return nil, err
	}
	base := held.Head.Head
	base.Seq = seq
	return (&round{n: n, held: &held, by: map[int64]*change.StateChange{}}).change(ctx, &base)
}

// TakeChange is what happens with a push that the protocol found good.
func (n *Node) TakeChange(ctx context.Context, c *change.StateChange) error {
	return taker{n}.Take(ctx, c)
}

// ApplyKept is what happens with pushes that were kept when a transfer of their location ends.
func (n *Node) ApplyKept(ctx context.Context, l index.Location) { n.applyKept(ctx, l) }

// Kept is how many pushes are kept.
func (n *Node) Kept() int {
	n.kept.mu.Lock()
	defer n.kept.mu.Unlock()
	return n.kept.all
}

// RefusePushes makes the node one that does not know the protocol, until it starts anew.
func (n *Node) RefusePushes() { n.host.Load().RemoveStreamHandler(change.ID) }

// PushEvery is the least time between two pushes of a location.
const PushEvery = pushEvery

// NoticeOf is the head that a notice of an own location would tell.
func (n *Node) NoticeOf(ctx context.Context, l index.Location) (index.SignedHead, bool, error) {
	return herald{n}.Head(ctx, l)
}

// JudgeAnswer is what happens with the head of an answer that came on demand.
func (n *Node) JudgeAnswer(ctx context.Context, h index.SignedHead) error {
	return n.judgeAnswer(ctx, &h)
}

// Key signs as the device does.
func (n *Node) Key() ed25519.PrivateKey { return n.st.Identity() }

// Paced is what keeps talks apart.
func Paced(ctx context.Context, poked <-chan struct{}, every time.Duration, do func()) error {
	return paced(ctx, poked, every, do)
}

// PlaceFolders has the node believe that folders lie where f says, in the words of a record. Call it before locations are
// added.
func (n *Node) PlaceFolders(f func(folder string) string) {
	n.volumes = func(folder string) (volume.Place, error) { return volume.Parse(f(folder)), nil }
}

// ApartSince makes an answer one whose two locations have been too different since then.
func (n *Node) ApartSince(ctx context.Context, t time.Time) error {
	all, err := n.st.Sames(ctx)
	for _, x := range all {
		x.Differs = t
		err = errors.Join(err, n.st.SetDiffers(ctx, x))
	}
	n.syncer.Kick()
	return err
}
