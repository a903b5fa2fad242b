package node

import (
	"context"
	"fmt"

	"github.com/libp2p/go-libp2p/core/peer"
	ma "github.com/multiformats/go-multiaddr"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/syncer"
)

// SetMetered says whether this device's network is paid for by what it carries. While it is, locations of 100,000 entries
// or more are not fetched by themselves but asked for on demand, unless their policy says "full"; a replica of one that is
// here goes on with less than 10,000 changes at a time.
func (n *Node) SetMetered(metered bool) {
	if n.metered.Swap(metered) == metered {
		return
	}
	n.syncer.Retry()
	all, err := n.Locations(n.ctx)
	if err != nil {
		n.log.Warn("read locations", "error", err)
	}
	for i := range all {
		if !all[i].Own {
			n.events.emit(Event{Type: api.EventLocationUpdated, Location: &all[i]})
		}
	}
}

// policyOf is the policy that counts for a location: full for own ones, and while a person fetches it.
func (v *view) policyOf(set map[index.Location]string, l index.Location) syncer.Policy {
	if l.Owner == v.st.Self() || v.live != nil && v.live.n.pulls.has(l) {
		return syncer.Full
	}
	return chosenPolicy(set, l)
}

// chosenPolicy is the policy of a location: its own, or its device's, or auto.
func chosenPolicy(set map[index.Location]string, l index.Location) syncer.Policy {
	for _, key := range []index.Location{l, {Owner: l.Owner}} {
		if p, ok := syncer.ParsePolicy(set[key]); ok {
			return p
		}
	}
	return syncer.Auto
}

// metered reports whether the network of a running node is paid for by what it carries.
func (v *view) metered() bool { return v.live != nil && v.live.n.metered.Load() }

// notKept is the error for a path in a location of which nothing is here and nobody is asked, nil if it is in none.
func (v *view) notKept(ctx context.Context, d *Device, path string) error {
	all, err := v.Locations(ctx)
	if err != nil {
		return err
	}
	for i := range all {
		l := &all[i]
		base := (&index.Record{Name: l.Name, Root: l.Root}).Base()
		_, in := below(base, path)
		if l.Owner != d.ID || l.Seq != 0 || !in || l.State != api.StateOff && l.State != api.StateNever && l.State != api.StateFrozen {
			continue
		}
		e := &Error{
			Code: api.CodeUnavailable, Title: fmt.Sprintf("%s: %s is not kept on this device", d.Name, l.Name), Detail: l.Detail, Hint: "peerdex locations",
		}
		if l.State == api.StateOff {
			e.Detail, e.Hint = "its policy is off", fmt.Sprintf("peerdex policy %s:%s auto", d.Name, l.Name)
		}
		return e
	}
	return nil
}

// Policy shows what was decided about the replicas of a location, or of all of a device's, and first decides anew if
// asked to.
func (n *Node) Policy(ctx context.Context, r PolicyRequest) ([]PolicySetting, error) {
	all, err := n.Locations(ctx)
	if err != nil {
		return nil, err
	}
	one, of, err := n.resolve(all, r.Of)
	if err != nil {
		return nil, err
	}
	key := index.Location{Owner: of.ID}
	if one != nil {
		key = one.Ref()
	}
	if r.Policy != "" || r.Unset {
		if err := n.setPolicy(ctx, key, &r); err != nil {
			return nil, err
		}
		n.syncer.Retry()
		n.announce() // what is to be pushed here
		n.policyChanged(ctx, all, key)
	}
	out, err := n.settings(ctx, all, one, key)
	return out, humane(err)
}

func (n *Node) setPolicy(ctx context.Context, key index.Location, r *PolicyRequest) error {
	p, known := syncer.ParsePolicy(r.Policy)
	switch {
	case r.Unset && r.Policy != "":
		return usage("a policy can't be set and unset at once", "", "")
	case !r.Unset && !known:
		return usage(fmt.Sprintf("there is no policy %q", r.Policy), "", "it is auto, full, lazy or off")
	case key.Owner == n.st.Self():
		return usage("policies are for other devices' locations", "what this device indexes itself it always holds whole", "")
	}
	return humane(n.st.SetPolicy(ctx, key, string(p)))
}

// policyChanged tells of the locations that a policy was set for, and forgets answers that are not asked for any more.
func (n *Node) policyChanged(ctx context.Context, all []Location, key index.Location) {
	set, err := n.st.Policies(ctx)
	if err != nil {
		n.log.Warn("read policies", "error", err)
		return
	}
	for i := range all {
		l := all[i].Ref()
		if l.Owner != key.Owner || key.ID != (index.LocationID{}) && l != key {
			continue
		}
		if p := n.policyOf(set, l); p == syncer.Full || p == syncer.Off {
			if err := n.st.ForgetAnswers(ctx, l); err != nil {
				n.log.Warn("forget answers", "location", l, "error", err)
			}
		}
		n.updated(api.EventLocationUpdated, l)
	}
}

// settings lists what counts for a location, or for a device and each of its locations.
func (n *Node) settings(ctx context.Context, all []Location, one *Location, key index.Location) ([]PolicySetting, error) {
	set, err := n.st.Policies(ctx)
	if err != nil {
		return nil, err
	}
	name := n.lib.name(key.Owner)
	out := []PolicySetting{}
	if one == nil {
		out = append(out, PolicySetting{Owner: key.Owner, Device: name, Policy: string(n.policyOf(set, key)), Set: set[key] != ""})
	}
	for i := range all {
		l := all[i].Ref()
		if one != nil && l != one.Ref() || l.Owner != key.Owner || all[i].State == api.StateRetired {
			continue
		}
		out = append(out, PolicySetting{
			Owner: l.Owner, Location: l.ID, Device: name, Name: all[i].Name, Policy: string(n.policyOf(set, l)), Set: set[l] != "",
		})
	}
	return out, nil
}

// relayOf is the relay that an address leads through.
func relayOf(a ma.Multiaddr) (relay peer.ID, through bool) {
	before, after := ma.SplitFunc(a, func(c ma.Component) bool { return c.Protocol().Code == ma.P_CIRCUIT })
	if len(after) == 0 {
		return "", false
	}
	if s, err := before.ValueForProtocol(ma.P_P2P); err == nil {
		relay, _ = peer.Decode(s)
	}
	return relay, true
}
