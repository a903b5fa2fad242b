package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/discovery"
	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/membership"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/protocols/pair"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/store"
)

// joinTimeout bounds the whole of a join.
const joinTimeout = time.Minute

// errNotStarted is returned for what needs a network before there is one.
var errNotStarted = &Error{
	Code: api.CodeUnavailable, Title: "the node is not started", Hint: "peerdex up",
}

// admitter lets the window of an invite take a device in.
type admitter struct{ n *Node }

var _ pair.Admitter = admitter{}

// Admit signs the newcomer's ADD, unless it is a member already, and returns what it needs.
func (a admitter) Admit(ctx context.Context, d index.DeviceID, h pair.Hello) (pair.Admission, error) {
	n := a.n
	n.change.Lock()
	defer n.change.Unlock()
	m, fresh, err := n.lib.admit(ctx, d, h.Name)
	if err != nil {
		return pair.Admission{}, fmt.Errorf("admit %s: %w", d.Short(), err)
	}
	if fresh {
		n.log.Info("device joined", "name", m.Name, "id", d)
		n.welcome([]membership.Member{m})
	} else {
		n.log.Info("a member was paired again", "name", m.Name, "id", d)
	}
	return pair.Admission{Library: n.lib.id(), Records: n.lib.encoded(), Secret: n.lib.snapshot().Secret}, nil
}

// Invite opens a window in which one device may join the library by the ticket returned. See [Node.WaitInvite].
func (n *Node) Invite(context.Context) (Invite, error) {
	h := n.host.Load()
	if h == nil {
		return Invite{}, errNotStarted
	}
	inv, err := n.window.Open(n.cfg.InviteTTL)
	if err != nil {
		return Invite{}, explain(&Error{
			Code: api.CodeUnavailable, Title: "no further invite can be opened", Detail: err.Error(), Hint: "cancel one that waits",
		}, err)
	}
	t := pair.Ticket{Inviter: n.st.Self(), Secret: inv.Secret, Addrs: h.Addrs()}
	return Invite{ID: inv.ID, Ticket: t.String(), Expires: inv.Expires}, nil
}

// WaitInvite returns when the device has joined, or the invite has expired or was cancelled.
func (n *Node) WaitInvite(ctx context.Context, id string) (InviteOutcome, error) {
	out, err := n.window.Wait(ctx, id)
	if err != nil {
		if ctx.Err() != nil {
			return InviteOutcome{}, ctx.Err()
		}
		return InviteOutcome{}, explain(notFound("there is no such invite", "make a new one: peerdex invite"), err)
	}
	if !out.Joined {
		return InviteOutcome{Reason: out.Reason}, nil
	}
	d := n.lib.device(out.Device)
	n.live.describe(&d)
	return InviteOutcome{Joined: true, Device: d}, nil
}

// CancelInvite closes an invite's window. An invite that ended already is no error.
func (n *Node) CancelInvite(_ context.Context, id string) error {
	n.window.Cancel(id)
	return nil
}

// Join enters the library of the device that made the ticket. This device's own locations come along; it must not
// have other devices in its library yet.
func (n *Node) Join(ctx context.Context, r JoinRequest) (JoinResult, error) {
	h := n.host.Load()
	if h == nil {
		return JoinResult{}, errNotStarted
	}
	t, err := pair.ParseTicket(r.Ticket)
	if err != nil {
		return JoinResult{}, explain(usage("the ticket can't be read", err.Error(), "copy the whole ticket, from PDX: on, as peerdex invite shows it"), err)
	}
	if err := n.mayJoin(t.Inviter); err != nil {
		return JoinResult{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	stop := context.AfterFunc(n.ctx, cancel)
	defer stop()
	p, err := wire.PeerOf(t.Inviter)
	if err != nil {
		return JoinResult{}, usage("the ticket can't be read", err.Error(), "ask for a new one: peerdex invite")
	}
	if err := h.Connect(ctx, peer.AddrInfo{ID: p, Addrs: t.Addrs}); err != nil {
		return JoinResult{}, explain(&Error{
			Code: api.CodeUnavailable, Title: "the inviting device can't be reached", Detail: connectError(err),
			Hint: "check that it runs, shows the ticket, and is on the same network; then try again",
		}, err)
	}
	for _, a := range t.Addrs {
		n.keep(n.st.AddAddress(ctx, t.Inviter, a.String(), time.Time{}))
	}
	s, err := h.NewStream(network.WithNoDial(ctx, "pair"), p, pair.ID)
	if err != nil {
		return JoinResult{}, fmt.Errorf("open stream: %w", err)
	}
	hello := pair.Hello{Name: n.lib.name(n.st.Self()), Platform: platform}
	if err := pair.Join(ctx, s, t, n.st.Self(), hello, n.enter, pair.Options{Config: n.wire()}); err != nil {
		return JoinResult{}, joinError(err)
	}
	n.keeper.Kick()
	n.mdns.Refresh()
	n.spawn(n.everyone) // those too that knew this device before, and were refused until now
	out := JoinResult{Inviter: n.lib.device(t.Inviter)}
	out.Devices, err = n.Devices(ctx)
	return out, err
}

// mayJoin reports why this device can't join the inviter's library, or nil.
func (n *Node) mayJoin(inviter index.DeviceID) error {
	if inviter == n.st.Self() {
		return usage("this ticket was made on this device", "", "type it on the other device: peerdex join")
	}
	if _, ok := n.lib.member(inviter); ok {
		return conflict("this device is paired with "+n.lib.name(inviter)+" already", "", "peerdex devices")
	}
	if k := len(n.lib.members()); k > 1 {
		return conflict("this device has a library already", fmt.Sprintf("it is paired with %d other devices", k-1),
			"invite the other device from here instead: peerdex invite")
	}
	return nil
}

// enter makes this device a member of the library that admitted it.
func (n *Node) enter(a pair.Admission) error {
	n.change.Lock()
	defer n.change.Unlock()
	lib := store.Library{Secret: a.Secret}
	for _, b := range a.Records {
		var r membership.Record
		if err := r.UnmarshalBinary(b); err != nil {
			return err
		}
		lib.Records = append(lib.Records, r)
	}
	if k := len(n.lib.members()); k > 1 {
		return conflict("this device has a library already", "", "")
	}
	if err := n.lib.replace(n.ctx, lib); err != nil {
		return err
	}
	return n.notices.Enter(n.noticeLibrary())
}

func joinError(err error) error {
	switch {
	case errors.Is(err, wire.ErrWindowClosed):
		return explain(&Error{
			Code: api.CodeDenied, Title: "the invite is not open", Detail: "the ticket was used, has expired, or was cancelled",
			Hint: "make a new one on the other device: peerdex invite",
		}, err)
	case errors.Is(err, pair.ErrWrongTicket):
		return explain(&Error{
			Code: api.CodeDenied, Title: "the other device did not accept the ticket", Detail: err.Error(),
			Hint: "make a new one on the other device: peerdex invite",
		}, err)
	case errors.Is(err, wire.ErrBusy):
		return explain(&Error{
			Code: api.CodeUnavailable, Title: "the inviting device is busy", Hint: "try again in a minute",
		}, err)
	case errors.Is(err, context.DeadlineExceeded):
		return explain(&Error{
			Code: api.CodeUnavailable, Title: "the inviting device did not answer in time", Hint: "try again",
		}, err)
	}
	return humane(fmt.Errorf("join: %w", err))
}

// connectError says in words for people why no connection came about: of libp2p's errors, which list every address,
// the last cause for each.
func connectError(err error) string {
	switch {
	case errors.Is(err, discovery.ErrNoAddress):
		return "no address of it is known yet"
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	}
	var out []string
	for line := range strings.Lines(err.Error()) {
		addr, cause, ok := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "* ["), "] ")
		if !ok || !strings.HasPrefix(strings.TrimSpace(line), "* [") {
			continue
		}
		if i := strings.LastIndex(cause, ": "); i >= 0 {
			cause = cause[i+2:]
		}
		out = append(out, cause+" ("+addr+")")
	}
	if len(out) == 0 {
		return err.Error()
	}
	return strings.Join(out, ", ")
}
