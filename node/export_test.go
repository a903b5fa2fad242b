package node

import "context"

// Prune does at once what an idle node does every hour.
func (n *Node) Prune(ctx context.Context) { n.prune(ctx) }
