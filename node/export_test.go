package node

import (
	"context"

	"github.com/peerdex/peerdex/index"
)

// Prune does at once what an idle node does every hour.
func (n *Node) Prune(ctx context.Context) { n.prune(ctx) }

// BeginAnew gives an own location an empty index under a new epoch, as for one that is lost.
func (n *Node) BeginAnew(ctx context.Context, l index.Location) error { return n.beginAnew(ctx, l) }
