package node

import (
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/membership"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
)

// library is the membership as this node knows it, kept in memory beside node.db.
type library struct {
	st *store.Store

	mu      sync.RWMutex
	records []membership.Record
	secret  [store.LibrarySecretSize]byte
	state   membership.State
}

// openLibrary reads the library. Without one, and with a name, it makes one with this device as its first member.
func openLibrary(ctx context.Context, st *store.Store, name string) (*library, error) {
	lib := &library{st: st}
	kept, err := st.Library(ctx)
	if err != nil {
		return nil, err
	}
	if len(kept.Records) == 0 && name != "" {
		if kept, err = newLibrary(st, name); err != nil {
			return nil, err
		}
		if err := st.ReplaceLibrary(ctx, kept); err != nil {
			return nil, err
		}
	}
	if len(kept.Records) == 0 {
		return lib, nil
	}
	if err := lib.set(kept); err != nil {
		return nil, &store.NodeDBError{Path: filepath.Join(st.Dir(), "node.db"), Err: err}
	}
	return lib, nil
}

func newLibrary(st *store.Store, name string) (store.Library, error) {
	g, err := membership.NewGenesis(st.Identity(), name, time.Now())
	if err != nil {
		return store.Library{}, fmt.Errorf("make library: %w", err)
	}
	lib := store.Library{Records: []membership.Record{g}}
	_, _ = rand.Read(lib.Secret[:])
	return lib, nil
}

func (l *library) set(kept store.Library) error {
	state, err := membership.Evaluate(kept.Records)
	if err != nil {
		return fmt.Errorf("library: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.records, l.secret, l.state = kept.Records, kept.Secret, state
	return nil
}

// replace enters another library.
func (l *library) replace(ctx context.Context, kept store.Library) error {
	if err := l.st.ReplaceLibrary(ctx, kept); err != nil {
		return err
	}
	return l.set(kept)
}

// add keeps records that passed their own checks, and returns the members that are new by them.
func (l *library) add(ctx context.Context, records []membership.Record) ([]membership.Member, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := map[index.Hash]bool{}
	for i := range l.records {
		known[l.records[i].Hash()] = true
	}
	all := l.records[:len(l.records):len(l.records)]
	for _, r := range records {
		if h := r.Hash(); !known[h] {
			known[h] = true
			all = append(all, r)
		}
	}
	if len(all) == len(l.records) {
		return nil, nil
	}
	state, err := membership.Evaluate(all)
	if err != nil {
		return nil, fmt.Errorf("merge membership: %w", err)
	}
	if err := l.st.AddRecords(ctx, all[len(l.records):]); err != nil {
		return nil, fmt.Errorf("keep membership: %w", err)
	}
	var fresh []membership.Member
	for _, m := range state.Members() {
		if !l.state.Has(m.Device) {
			fresh = append(fresh, m)
		}
	}
	l.records, l.state = all, state
	return fresh, nil
}

// admit takes a device in: a signed ADD under a name no other member has. One that is a member already, since it lost its
// data but not its key, stays what it is; fresh is false then.
func (l *library) admit(ctx context.Context, d index.DeviceID, name string) (m membership.Member, fresh bool, err error) {
	if m, ok := l.member(d); ok {
		return m, false, nil
	}
	l.mu.RLock()
	taken := func(s string) bool {
		for _, m := range l.state.Members() {
			if m.Name == s && m.Device != d {
				return true
			}
		}
		return false
	}
	name = unique(name, taken)
	r, err := membership.NewAdd(l.st.Identity(), l.state.Library, l.records, d, name, time.Now())
	l.mu.RUnlock()
	if err != nil {
		return membership.Member{}, false, err
	}
	if _, err := l.add(ctx, []membership.Record{r}); err != nil {
		return membership.Member{}, false, err
	}
	m, _ = l.member(d)
	return m, true, nil
}

// snapshot returns what a newcomer needs.
func (l *library) snapshot() store.Library {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return store.Library{Records: l.records[:len(l.records):len(l.records)], Secret: l.secret}
}

// encoded returns the records as they are sent.
func (l *library) encoded() [][]byte {
	records := l.snapshot().Records
	out := make([][]byte, len(records))
	for i := range records {
		out[i], _ = records[i].MarshalBinary()
	}
	return out
}

func (l *library) id() index.LibraryID {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.state.Library
}

func (l *library) members() []membership.Member {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.state.Members()
}

func (l *library) member(d index.DeviceID) (membership.Member, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.state.Member(d)
}

// name is what people call a device; its short id when it isn't known.
func (l *library) name(d index.DeviceID) string {
	if m, ok := l.member(d); ok {
		return m.Name
	}
	return d.Short()
}

// hasPeer reports whether a libp2p peer is a member.
func (l *library) hasPeer(p peer.ID) bool {
	d, err := wire.DeviceOf(p)
	if err != nil {
		return false
	}
	_, ok := l.member(d)
	return ok
}

// others are the peers of all members but this device.
func (l *library) others() []peer.ID {
	var out []peer.ID
	for _, m := range l.members() {
		if p, err := wire.PeerOf(m.Device); err == nil && m.Device != l.st.Self() {
			out = append(out, p)
		}
	}
	return out
}

// device describes a member, apart from its connection.
func (l *library) device(d index.DeviceID) Device {
	p, _ := wire.PeerOf(d)
	return api.Device{ID: d, PeerID: p.String(), Short: d.Short(), Name: l.name(d), Self: d == l.st.Self()}
}
