package node

import (
	"context"
	"errors"
	"time"

	"github.com/peerdex/peerdex/store"
)

// pruneEvery is the time between looks for dead runs that need not be kept.
const pruneEvery = time.Hour

// pruner forgets old deletions now and then.
func (n *Node) pruner(ctx context.Context) error {
	for sleep(ctx, pruneEvery) {
		n.prune(ctx)
	}
	return nil
}

// prune forgets old deletions of locations that nothing is done to at this moment, own ones and replicas.
func (n *Node) prune(ctx context.Context) {
	locs, err := n.st.Locations(ctx)
	if err != nil {
		n.log.Warn("forget old deletions", "error", err)
		return
	}
	raised := false
	for _, l := range locs {
		if n.work.busy(l) || n.live.syncing(l) {
			continue
		}
		forgot, err := n.st.Prune(ctx, l)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			if !errors.Is(err, store.ErrNotFound) && !damaged(err) { // one that is damaged is told of elsewhere
				n.log.Warn("forget old deletions", "location", l, "error", err)
			}
		case forgot > 0:
			n.log.Debug("old deletions forgotten", "location", l, "runs", forgot)
			raised = true
		}
	}
	if raised {
		n.announce() // with the new horizons
	}
}
