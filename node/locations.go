package node

import (
	"context"
	"errors"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/store"
)

// AddLocation adds a folder of this device, or, with an empty path and a name, a tree that the program feeds by
// [Node.Commit]. A started node scans the folder in the background.
func (n *Node) AddLocation(ctx context.Context, r AddRequest) (Location, error) {
	n.change.Lock()
	defer n.change.Unlock()
	root := ""
	if r.Path != "" {
		var err error
		if root, err = n.checkFolder(ctx, r.Path); err != nil {
			return Location{}, err
		}
	}
	if r.Name == "" {
		r.Name = filepath.Base(root)
	}
	if root == "" && r.Name == "." {
		return Location{}, usage("the location has neither folder nor name", "", "give a path, or a name for a tree that is fed by Commit")
	}
	if r.Name == "/" {
		r.Name = "root"
	}
	locs, err := n.Locations(ctx)
	if err != nil {
		return Location{}, err
	}
	name := unique(strings.ToValidUTF8(r.Name, "\uFFFD"), func(s string) bool {
		for _, l := range locs {
			if l.Own && l.Name == s {
				return true
			}
		}
		return false
	})
	l, err := n.st.Create(ctx, n.lib.id(), index.Record{Name: name, Root: root, Filesystem: n.placeOf(root), Platform: platform})
	if errors.Is(err, index.ErrInvalid) {
		return Location{}, explain(usage("the location can't be added", err.Error(), "choose another name"), err)
	}
	if err != nil {
		return Location{}, humane(err)
	}
	n.wakeScan()
	n.announce()
	return n.byRef(ctx, l)
}

// checkFolder returns the real path of a folder that can be added.
func (n *Node) checkFolder(ctx context.Context, path string) (string, error) {
	if !filepath.IsAbs(path) {
		return "", usage("the path is not absolute: "+path, "", "give the whole path")
	}
	root, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", explain(usage("there is no folder "+path, "", "check the spelling; is its disk plugged in?"), err)
	}
	var info os.FileInfo
	if err == nil {
		info, err = os.Stat(root)
	}
	if err == nil && !info.IsDir() {
		return "", usage(path+" is not a folder", "", "add the folder that holds it: "+filepath.Dir(path))
	}
	if err == nil {
		var f *os.File
		if f, err = os.Open(root); err == nil {
			_, err = f.ReadDir(1)
			_ = f.Close()
			if errors.Is(err, io.EOF) {
				err = nil
			}
		}
	}
	if err != nil {
		return "", explain(usage("the folder "+path+" can't be read", reason(err), "check its permissions"), err)
	}
	if _, inside := below(n.realDir, root); inside {
		return "", conflict(path+" is peerdex's own data folder", "", "add another folder")
	}
	locs, err := n.Locations(ctx)
	if err != nil {
		return "", err
	}
	for _, l := range locs {
		if !scannable(&l) {
			continue
		}
		if l.Root == root && lost(&l) {
			return "", unavailable(&l)
		}
		if l.Root == root {
			return "", conflict(path+" is indexed already", "it is the location "+l.Name, "peerdex scan "+l.Name)
		}
		if _, inside := below(l.Root, root); inside {
			return "", conflict(path+" is indexed already", "it is inside the location "+l.Name+" ("+l.Root+")", "nothing needs to be done; to search only there: peerdex find path:"+path+" WORD")
		}
		if _, outside := below(root, l.Root); outside {
			return "", conflict(path+" holds a folder that is indexed already", "the location "+l.Name+" ("+l.Root+") is inside it", "remove that one first: peerdex rm "+l.Name)
		}
	}
	return root, nil
}

// RemoveLocation removes a location of this device: its owner signs a last head that says so. Peers drop their
// replicas, or keep them as they are if asked to; the files in the folder are not touched.
func (n *Node) RemoveLocation(ctx context.Context, r RemoveRequest) (Location, error) {
	n.change.Lock()
	defer n.change.Unlock()
	loc, err := n.location(ctx, r.Location)
	if err != nil {
		return Location{}, err
	}
	state := index.Retired
	if r.Keep {
		state = index.Archived
	}
	if lost(&loc) {
		if r.Keep {
			return Location{}, unavailable(&loc)
		}
		// What says that it was removed has to be signed in some file.
		if err := n.beginAnew(ctx, loc.Ref()); err != nil {
			return Location{}, humane(err)
		}
	}
	return n.remove(ctx, loc, state)
}

// remove signs that an own location was removed, and drops its file unless it is kept as it was. Call with change held.
func (n *Node) remove(ctx context.Context, loc Location, state index.RetiredState) (Location, error) {
	l := loc.Ref()
	// A scan under way is ended, and none can begin before the record says retired.
	_, release, err := n.work.take(ctx, l)
	if err != nil {
		return Location{}, err
	}
	defer release()
	if _, err = n.st.SetRecord(ctx, l, func(rec *index.Record) { rec.Retired = state }); err != nil {
		return Location{}, humane(err)
	}
	if state == index.Retired {
		if err := n.st.Drop(ctx, l); err != nil { // its last head stays known: see store.SetRecord
			return Location{}, humane(err)
		}
		loc.State, loc.Detail = api.StateRetired, ""
	} else {
		loc.State = api.StateArchived
	}
	n.events.emit(Event{Type: api.EventLocationRemoved, Location: &loc})
	n.notify(l)
	n.announce()
	return loc, nil
}

// Commit takes changes to a location of this device that has no folder, in a stream of any length. They are committed
// in chunks; when the stream ends without an error, the location is known true as of that moment, and one event says
// so. If it ends with an error, the chunks before it stay. See [index.Change] for how a change names its entry.
func (n *Node) Commit(ctx context.Context, l index.Location, changes iter.Seq2[index.Change, error]) (store.CommitResult, error) {
	held, err := n.st.Held(ctx, l)
	if loc, lerr := n.byRef(ctx, l); err != nil && lerr == nil && lost(&loc) {
		return store.CommitResult{}, explain(unavailable(&loc), err)
	}
	if errors.Is(err, store.ErrNotFound) || l.Owner != n.st.Self() {
		return store.CommitResult{}, notFound("no such location on this device", "add it first")
	}
	if err != nil {
		return store.CommitResult{}, humane(err)
	}
	if held.Record.Root != "" {
		return store.CommitResult{}, conflict(held.Record.Name+" is scanned from a folder", "nobody else may write it", "add a location without a path for a tree of your own")
	}
	if held.Record.Retired != index.Active {
		return store.CommitResult{}, conflict(held.Record.Name+" was removed", "", "add it anew")
	}
	ctx, release, err := n.work.begin(ctx, l)
	if err != nil {
		return store.CommitResult{}, err
	}
	defer release()
	res, err := n.st.Commit(ctx, l, changes, store.CommitOptions{AsOf: time.Now})
	if res.Chunks > 0 {
		n.committed(l)
	}
	return res, humane(err)
}
