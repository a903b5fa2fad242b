// Package guard is the choke point between libp2p and everything of peerdex: a host.Host that lets only members of
// the library open a stream or be opened one to. Connections are another matter: strangers may connect (pairing
// needs it), but find nothing that answers.
//
// Hand [Host] instead of the bare host to whatever sets stream handlers or opens streams. The protocols given as Open
// answer anyone; pairing is the only one.
package guard

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
)

// ErrStranger is returned for a stream to a device that is not a member.
var ErrStranger = errors.New("the device is not a member of the library")

// Host wraps a libp2p host. It is safe for concurrent use, as the host is.
type Host struct {
	host.Host
	members func(peer.ID) bool
	open    []protocol.ID
}

// New wraps h. members says who is a member at this moment, and is asked for every stream. open are the protocols
// that answer strangers too.
func New(h host.Host, members func(peer.ID) bool, open ...protocol.ID) *Host {
	return &Host{Host: h, members: members, open: open}
}

// SetStreamHandler sets the handler of a protocol for streams of members. It has no effect on protocols of libp2p's
// own, which were set on the bare host.
func (h *Host) SetStreamHandler(id protocol.ID, f network.StreamHandler) {
	h.Host.SetStreamHandler(id, h.wrap(id, f))
}

// SetStreamHandlerMatch is [Host.SetStreamHandler] with a matching function. Such a protocol is never open.
func (h *Host) SetStreamHandlerMatch(id protocol.ID, match func(protocol.ID) bool, f network.StreamHandler) {
	h.Host.SetStreamHandlerMatch(id, match, h.check(f))
}

// NewStream opens a stream to a member; to a stranger only for an open protocol.
func (h *Host) NewStream(ctx context.Context, p peer.ID, ids ...protocol.ID) (network.Stream, error) {
	isOpen := func(id protocol.ID) bool { return slices.Contains(h.open, id) }
	if !h.members(p) && !(len(ids) > 0 && !slices.ContainsFunc(ids, func(id protocol.ID) bool { return !isOpen(id) })) {
		return nil, fmt.Errorf("open stream to %v: %w", p, ErrStranger)
	}
	return h.Host.NewStream(ctx, p, ids...)
}

func (h *Host) wrap(id protocol.ID, f network.StreamHandler) network.StreamHandler {
	if slices.Contains(h.open, id) {
		return f
	}
	return h.check(f)
}

func (h *Host) check(f network.StreamHandler) network.StreamHandler {
	return func(s network.Stream) {
		if !h.members(s.Conn().RemotePeer()) {
			_ = s.Reset()
			return
		}
		f(s)
	}
}
