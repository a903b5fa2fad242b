package wire

import (
	"errors"
	"fmt"

	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
)

// errNotDevice is returned for peers that are not devices of peerdex.
var errNotDevice = errors.New("the peer's key is not Ed25519")

// DeviceOf returns the device whose key p is made of. It is an error if that is not an Ed25519 key.
func DeviceOf(p peer.ID) (index.DeviceID, error) {
	pub, err := p.ExtractPublicKey()
	if err != nil {
		return index.DeviceID{}, fmt.Errorf("device of peer %v: %w", p, err)
	}
	raw, err := pub.Raw()
	if err != nil || pub.Type() != crypto.Ed25519 || len(raw) != index.DeviceIDSize {
		return index.DeviceID{}, fmt.Errorf("device of peer %v: %w", p, errNotDevice)
	}
	return index.DeviceID(raw), nil
}

// PeerOf returns the libp2p peer ID of a device: the same key, spelt as libp2p does.
func PeerOf(d index.DeviceID) (peer.ID, error) {
	pub, err := crypto.UnmarshalEd25519PublicKey(d[:])
	if err != nil {
		return "", fmt.Errorf("peer of device %v: %w", d, err)
	}
	id, err := peer.IDFromPublicKey(pub)
	if err != nil {
		return "", fmt.Errorf("peer of device %v: %w", d, err)
	}
	return id, nil
}
