package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/volume"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/store"
)

// likeness is what speaks for an own location being the same folder as one of another device.
type likeness struct {
	evidence     string // as node/api spells it; "" = nothing
	why          string // why not, in plain words
	mine, theirs string // what the records say of where both are
}

// likes remembers likenesses as long as both locations stay as they are.
type likes struct {
	mu    sync.Mutex
	known map[likePair]like
}

type likePair struct {
	own   index.LocationID
	other index.Location
}

type like struct {
	own, other index.Hash // of the heads
	record     index.Hash // of the newest record of the other
	likeness
}

func newLikes() *likes { return &likes{known: map[likePair]like{}} }

// recall returns what was found out about a pair, or else finds it out.
func (k *likes) recall(p likePair, at like, find func() (likeness, error)) (likeness, error) {
	if k == nil {
		return find()
	}
	k.mu.Lock()
	was, ok := k.known[p]
	k.mu.Unlock()
	if ok && was.own == at.own && was.other == at.other && was.record == at.record {
		return was.likeness, nil
	}
	l, err := find()
	if err != nil {
		return l, err
	}
	at.likeness = l
	k.mu.Lock()
	defer k.mu.Unlock()
	k.known[p] = at
	return l, nil
}

// offers finds what looks like one folder and was not answered yet.
func (v *view) offers(ctx context.Context, locs []Location) ([]Sameness, error) {
	rows, err := v.st.Sames(ctx)
	if err != nil {
		return nil, err
	}
	out := []Sameness{}
	for i := range locs {
		own := &locs[i]
		if !scannable(own) || lost(own) || own.State == api.StateAway || own.State == api.StateUnreadable {
			continue
		}
		for j := range locs {
			other := &locs[j]
			if other.Own || other.State == api.StateRetired || other.State == api.StateArchived || other.State == api.StateSame ||
				slices.ContainsFunc(rows, func(x store.Same) bool { return x.Location == other.Ref() && (x.Yes || x.Own == own.ID) }) {
				continue
			}
			l, err := v.likeness(ctx, own, other)
			if err != nil {
				return nil, err
			}
			if l.evidence != "" {
				out = append(out, Sameness{Own: *own, Other: *other, Evidence: l.evidence, Detail: describeEvidence(l.evidence, l.mine)})
			}
		}
	}
	return out, nil
}

// offerNotes says in words what looks like one folder, and what a person can do about it.
func offerNotes(offers []Sameness) []string {
	var out []string
	for i := range offers {
		o := &offers[i]
		args := shellWord(o.Own.Name) + " " + shellWord(o.Other.Device+":"+o.Other.Name)
		out = append(out, fmt.Sprintf("%s looks like the same folder as %s of %s: %s; to search it once: peerdex same %s (or if it is another: peerdex same --not %s)",
			o.Own.Name, o.Other.Name, o.Other.Device, o.Detail, args, args))
	}
	return out
}

// shellWord quotes a name where a shell would see more than one word, or something else, in it.
func shellWord(s string) string {
	plain := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.:/+@,%=", r) || r > 0x7f
	}
	if s != "" && !strings.ContainsFunc(s, func(r rune) bool { return !plain(r) }) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// describeEvidence says in words what speaks for two locations being one folder.
func describeEvidence(evidence, mine string) string {
	switch evidence {
	case api.EvidenceVolume:
		return "it is on the same volume at the same path (" + mine + ")"
	case api.EvidenceShare:
		return "it is the same folder of the same server (" + mine + ")"
	case api.EvidenceListing:
		return "names, sizes and times are equal, as they are of a copy, too"
	}
	return ""
}

// likeness says what speaks for an own location being the same folder as one of another device.
func (v *view) likeness(ctx context.Context, own, other *Location) (likeness, error) {
	mine, err := v.st.Held(ctx, own.Ref())
	if err != nil {
		if errors.Is(err, store.ErrNotFound) || damaged(err) {
			return likeness{why: "the index of " + own.Name + " can't be read"}, nil
		}
		return likeness{}, err
	}
	heard, err := v.st.HeardOf(ctx, other.Ref())
	if err != nil {
		return likeness{}, err
	}
	rec, ok, err := v.record(ctx, other.Ref(), heard)
	if err != nil || !ok {
		return likeness{why: "nothing is known of " + other.Name}, err
	}
	var theirs *index.Head
	at := like{own: index.HashRecord(mine.Head.AppendBytes(nil))}
	raw, err := rec.MarshalBinary()
	if err == nil {
		at.record = index.HashRecord(raw)
	}
	held, err := v.st.Held(ctx, other.Ref())
	switch {
	case err == nil:
		theirs = &held.Head.Head
		at.other = index.HashRecord(theirs.AppendBytes(nil))
	case !errors.Is(err, store.ErrNotFound) && !damaged(err):
		return likeness{}, err
	}
	return v.likes.recall(likePair{own.ID, other.Ref()}, at, func() (likeness, error) {
		return v.alike(ctx, own.Ref(), &mine, other.Ref(), &rec, theirs)
	})
}

// alike looks for what speaks for two locations being one folder; theirs is nil without a replica.
func (v *view) alike(ctx context.Context, own index.Location, mine *store.Held, other index.Location, rec *index.Record, theirs *index.Head) (likeness, error) {
	out := likeness{mine: mine.Record.Filesystem, theirs: rec.Filesystem}
	if mine.Record.Root == "" || rec.Root == "" || mine.Record.Retired != index.Active || rec.Retired != index.Active {
		out.why = "one of them is no folder that is indexed"
		return out, nil
	}
	a, b := volume.Parse(out.mine), volume.Parse(out.theirs)
	_, _, shared := a.Share()
	switch volume.Compare(a, b) {
	case volume.Different:
		out.why = "they are different folders of local disks: " + out.mine + " and " + out.theirs
		return out, nil
	case volume.Same:
		if out.evidence = api.EvidenceVolume; shared {
			out.evidence = api.EvidenceShare
		}
	case volume.Unknown:
		serves, err := v.serves(ctx, a, other.Owner, rec.Root)
		if err == nil && !serves {
			serves, err = v.serves(ctx, b, own.Owner, mine.Record.Root)
		}
		if err != nil {
			return out, err
		}
		if serves {
			out.evidence = api.EvidenceShare
		}
	}
	if theirs == nil || theirs.AsOf == 0 || mine.Head.AsOf == 0 {
		out.why = "one of them was not scanned or fetched yet, so that their entries can't be compared"
		return out, nil
	}
	return out, v.compareTops(ctx, &out, own, &mine.Head.Head, other, theirs)
}

// compareTops adds what the entries say.
func (v *view) compareTops(ctx context.Context, out *likeness, own index.Location, mine *index.Head, other index.Location, theirs *index.Head) error {
	if out.evidence == "" && !near(mine.Count, theirs.Count) {
		out.why = fmt.Sprintf("one has %d entries, and the other %d", mine.Count, theirs.Count)
		return nil
	}
	t := tops{st: v.st, a: own, b: other, since: min(mine.AsOf, theirs.AsOf)}
	if err := t.compare(ctx); err != nil {
		return err
	}
	switch {
	case out.evidence != "" && t.differ > t.equal:
		out.evidence, out.why = "", "the volumes have one name, but most of what is in the folders differs"
	case out.evidence != "":
	case t.differ > 0:
		out.why = "what is in them differs: " + t.first
	case t.equal < likeEntries:
		out.why = fmt.Sprintf("what is in them is equal, but %d entries are too few to tell by, and where the folders are is not known", t.equal)
	default:
		out.evidence = api.EvidenceListing
	}
	return nil
}

// serves reports whether a device is the host of a share, and root the folder of it.
func (v *view) serves(ctx context.Context, share volume.Place, d index.DeviceID, root string) (bool, error) {
	_, host, ok := share.Share()
	path, told := share.ServerPath()
	if !ok || !told || path != root {
		return false, nil
	}
	name := strings.ToLower(v.lib.name(d))
	if first, _, _ := strings.Cut(host, "."); host == name || first == name {
		return true, nil
	}
	contacts, err := v.st.Contacts(ctx)
	return err == nil && slices.ContainsFunc(contacts[d].Addrs, func(a string) bool {
		parts := strings.Split(a, "/") // "", "ip4", "192.168.1.20", ...
		return len(parts) > 2 && strings.HasPrefix(parts[1], "ip") && parts[2] == host
	}), err
}

// What [tops] looks at.
const (
	likeEntries = 64          // equal entries from which two folders look the same
	topEntries  = 4096        // of each side, at most
	sameTime    = time.Second // by which a time may differ: some shares tell it less exactly
)

// tops compares two locations from the top on, folder by folder, level by level. What changed after the older of both was
// known true is no difference.
type tops struct {
	st    *store.Store
	a, b  index.Location
	since int64 // ns since 1970

	equal, differ int
	first         string // name of the first that differs
	read          int
}

// twins are a folder of each side with one path.
type twins struct{ a, b index.Entry }

func (t *tops) compare(ctx context.Context) error {
	a, err := t.st.Entry(ctx, t.a, index.RootID)
	if err != nil {
		return err
	}
	b, err := t.st.Entry(ctx, t.b, index.RootID)
	if err != nil {
		return err
	}
	todo := []twins{{a, b}}
	for len(todo) > 0 && t.equal < likeEntries && t.read < topEntries {
		more, err := t.folder(ctx, &todo[0])
		if err != nil {
			return err
		}
		todo = append(todo[1:], more...)
	}
	return nil
}

// folder compares the entries of one folder, and returns the folders in it.
func (t *tops) folder(ctx context.Context, in *twins) ([]twins, error) {
	a, endA, err := t.entries(ctx, t.a, in.a.ID)
	if err != nil {
		return nil, err
	}
	b, endB, err := t.entries(ctx, t.b, in.b.ID)
	if err != nil {
		return nil, err
	}
	touched := t.later(&in.a) || t.later(&in.b)
	alone := func(name string) {
		if !touched && name <= min(endA, endB) {
			t.differs(name)
		}
	}
	var folders []twins
	for len(a) > 0 && len(b) > 0 {
		switch strings.Compare(a[0].Name, b[0].Name) {
		case -1:
			alone(a[0].Name)
			a = a[1:]
		case 1:
			alone(b[0].Name)
			b = b[1:]
		default:
			t.entry(&a[0], &b[0])
			if a[0].Kind == index.KindDir && b[0].Kind == index.KindDir {
				folders = append(folders, twins{a[0], b[0]})
			}
			a, b = a[1:], b[1:]
		}
	}
	for _, e := range slices.Concat(a, b) {
		alone(e.Name)
	}
	return folders, nil
}

// entry compares two entries of one name.
func (t *tops) entry(a, b *index.Entry) {
	apart := max(a.MTime, b.MTime) - min(a.MTime, b.MTime)
	switch {
	case a.Kind == b.Kind && a.Size == b.Size && apart >= 0 && apart < int64(sameTime):
		t.equal++
	case !t.later(a) && !t.later(b):
		t.differs(a.Name)
	}
}

func (t *tops) later(e *index.Entry) bool { return e.MTime > t.since }

func (t *tops) differs(name string) {
	if t.differ++; t.first == "" {
		t.first = fmt.Sprintf("%q", name)
	}
}

// lastName is behind every name.
const lastName = "\xff\xff"

// entries reads a folder as far as there is room. Names behind end were not read.
func (t *tops) entries(ctx context.Context, l index.Location, parent int64) (out []index.Entry, end string, err error) {
	for e, err := range t.st.Children(ctx, l, parent) {
		if err != nil {
			return nil, "", err
		}
		if len(out) == topEntries {
			return out, out[len(out)-1].Name, nil
		}
		t.read++
		out = append(out, e)
	}
	return out, lastName, nil
}

// placeOf says for a record on which volume a folder lies; "" if that is not known.
func (n *Node) placeOf(root string) string {
	if root == "" {
		return ""
	}
	p, err := n.volumes(root)
	if err != nil || len(p.String()) > index.MaxRootPath {
		return ""
	}
	return p.String()
}

// placed signs anew where the folder of an own location lies, if that changed. Call it after a scan of it.
func (n *Node) placed(ctx context.Context, l index.Location, rec *index.Record) error {
	if _, err := n.volumes(rec.Root); err != nil {
		return nil // what was known stays
	}
	is := n.placeOf(rec.Root)
	if is == rec.Filesystem {
		return nil
	}
	_, err := n.st.SetRecord(ctx, l, func(r *index.Record) { r.Filesystem = is })
	return err
}
