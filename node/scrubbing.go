package node

import (
	"context"
	"iter"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/scrub"
	"github.com/peerdex/peerdex/store"
)

// scrubConfig is what the scrub needs of a node.
func (n *Node) scrubConfig() scrub.Config {
	return scrub.Config{
		Files: n.scrubFiles, Check: n.scrubFile, Activity: &n.activity, Every: n.cfg.CheckEvery, Log: n.log,
	}
}

func (n *Node) scrubFiles(ctx context.Context) ([]scrub.File, error) {
	files, err := n.st.Files(ctx)
	if err != nil {
		return nil, err
	}
	var out []scrub.File
	for _, f := range files {
		if f.Quarantine == "" {
			out = append(out, scrub.File{Location: f.Location, Since: f.Since, Checked: f.Checked})
		}
	}
	return out, nil
}

func (n *Node) scrubFile(ctx context.Context, f scrub.File, rest func(context.Context, time.Duration) error) (bool, error) {
	err := n.inspect(ctx, f.Location, store.CheckOptions{Deep: true, Rest: rest})
	switch {
	case damaged(err):
		return false, nil
	case err != nil:
		return false, err
	}
	n.log.Info("the file of a location was read through and is good", "location", f.Location)
	return true, nil
}

// Scrub reads the files of all locations through now, own ones and replicas, as a started node does with each of them
// once a week while nothing else goes on. What is damaged is quarantined, and comes back by itself: see [Node.Locations]
// and the events. The error says which files could not be checked.
func (n *Node) Scrub(ctx context.Context) error { return humane(n.scrub.All(ctx)) }

// suspect has a file checked in which damage was met.
func (n *Node) suspect(l index.Location, err error) {
	n.log.Warn("damage was met in the file of a location; it is checked", "location", l, "error", err)
	n.scrub.Suspect(l)
}

// What people and programs ask is what the scrub waits for.

// Search yields what a query finds on all devices: location by location, own ones first, then by device, or as
// [Query].Sort says. A location whose file is damaged is told of last.
func (n *Node) Search(ctx context.Context, q Query) iter.Seq2[Hit, error] {
	return func(yield func(Hit, error) bool) {
		defer n.activity.Begin()()
		n.view.Search(ctx, q)(yield)
	}
}

// List reads one page of a folder of a device. The path "" or "/" lists the roots of its locations, unless "/" is
// itself a location's root.
func (n *Node) List(ctx context.Context, r ListRequest) (Listing, error) {
	defer n.activity.Begin()()
	return n.view.List(ctx, r)
}

// Entry reads one entry of a device, by its path or by its id.
func (n *Node) Entry(ctx context.Context, r EntryRequest) (Entry, error) {
	defer n.activity.Begin()()
	return n.view.Entry(ctx, r)
}
