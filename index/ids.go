package index

import (
	"crypto/ed25519"
	"encoding/base32"
	"encoding/hex"
	"fmt"
)

// Sizes of the fixed-width identifiers, in bytes.
const (
	DeviceIDSize   = ed25519.PublicKeySize
	LocationIDSize = 16
	HashSize       = 32
)

// DeviceID is a device's raw 32-byte Ed25519 public key. On the network the same key is its libp2p peer ID. The
// zero value names no device.
type DeviceID [DeviceIDSize]byte

// LibraryID names a library: the SHA-256 of its genesis record. The zero value names no library.
type LibraryID [HashSize]byte

// LocationID is the random part of a location's name. It means something only together with the owner.
type LocationID [LocationIDSize]byte

// Hash is a 256-bit hash. Which function made it is said where it is used: BLAKE3-256 for rows, dead runs and the
// tree, SHA-256 for records of membership and of locations. The zero value stands for "none".
type Hash [HashSize]byte

// Location names a location in the whole library: its owner and the owner's random ID for it.
type Location struct {
	Owner DeviceID
	ID    LocationID
}

// String returns the key in lower-case hex.
func (d DeviceID) String() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether d names no device.
func (d DeviceID) IsZero() bool { return d == DeviceID{} }

// Short returns eight characters of the key in two groups, such as "7QK3-M2VD", for people. It is not unique.
func (d DeviceID) Short() string {
	s := base32.StdEncoding.EncodeToString(d[:5])
	return s[:4] + "-" + s[4:8]
}

// MarshalText implements [encoding.TextMarshaler] with lower-case hex.
func (d DeviceID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, d[:]), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *DeviceID) UnmarshalText(b []byte) error { return decodeHex(d[:], b, "device id") }

// ParseDeviceID reads what [DeviceID.String] wrote.
func ParseDeviceID(s string) (DeviceID, error) {
	var d DeviceID
	return d, d.UnmarshalText([]byte(s))
}

// String returns the id in lower-case hex.
func (l LibraryID) String() string { return hex.EncodeToString(l[:]) }

// IsZero reports whether l names no library.
func (l LibraryID) IsZero() bool { return l == LibraryID{} }

// MarshalText implements [encoding.TextMarshaler] with lower-case hex.
func (l LibraryID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, l[:]), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (l *LibraryID) UnmarshalText(b []byte) error { return decodeHex(l[:], b, "library id") }

// String returns the id in lower-case hex.
func (l LocationID) String() string { return hex.EncodeToString(l[:]) }

// MarshalText implements [encoding.TextMarshaler] with lower-case hex.
func (l LocationID) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, l[:]), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (l *LocationID) UnmarshalText(b []byte) error { return decodeHex(l[:], b, "location id") }

// String returns the hash in lower-case hex.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// IsZero reports whether h stands for "none".
func (h Hash) IsZero() bool { return h == Hash{} }

// MarshalText implements [encoding.TextMarshaler] with lower-case hex.
func (h Hash) MarshalText() ([]byte, error) { return hex.AppendEncode(nil, h[:]), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *Hash) UnmarshalText(b []byte) error { return decodeHex(h[:], b, "hash") }

// String returns owner and ID in hex, joined by a dash, as used in file names.
func (l Location) String() string { return l.Owner.String() + "-" + l.ID.String() }

// IsZero reports whether l names no location.
func (l Location) IsZero() bool { return l == Location{} }

// MarshalText implements [encoding.TextMarshaler] with the form of [Location.String].
func (l Location) MarshalText() ([]byte, error) { return []byte(l.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (l *Location) UnmarshalText(b []byte) error {
	const dash = 2 * DeviceIDSize
	if len(b) != dash+1+2*LocationIDSize || b[dash] != '-' {
		return fmt.Errorf("location %q: want owner-id in hex", b)
	}
	if err := l.Owner.UnmarshalText(b[:dash]); err != nil {
		return err
	}
	return l.ID.UnmarshalText(b[dash+1:])
}

// ParseLocation reads what [Location.String] wrote.
func ParseLocation(s string) (Location, error) {
	var l Location
	return l, l.UnmarshalText([]byte(s))
}

func decodeHex(dst, src []byte, what string) error {
	if len(src) != 2*len(dst) {
		return fmt.Errorf("%s %q: want %d hex digits", what, src, 2*len(dst))
	}
	if _, err := hex.Decode(dst, src); err != nil {
		return fmt.Errorf("%s %q: %w", what, src, err)
	}
	return nil
}
