package node

import (
	"context"
	"crypto/ed25519"
	"errors"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/volume"
	"github.com/peerdex/peerdex/protocols/notice"
	"github.com/peerdex/peerdex/store"
)

// Prune does at once what an idle node does every hour.
func (n *Node) Prune(ctx context.Context) { n.prune(ctx) }

// HeardOf is what devices said of a location.
func (n *Node) HeardOf(ctx context.Context, l index.Location) ([]store.Heard, error) {
	return n.st.HeardOf(ctx, l)
}

// TakeNotice is what happens with a notice that gossip found good; old is what is answered when gossip asks about it.
func (n *Node) TakeNotice(ctx context.Context, h index.SignedHead) (old bool, err error) {
	if old, err = (herald{n}).Old(ctx, h); err != nil || old {
		return old, err
	}
	return false, herald{n}.Heard(ctx, notice.BulkIndexComplete{Head: h})
}

// NoticeOf is the head that a notice of an own location would tell.
func (n *Node) NoticeOf(ctx context.Context, l index.Location) (index.SignedHead, bool, error) {
	return herald{n}.Head(ctx, l)
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
