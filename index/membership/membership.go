// Package membership says which devices belong to a library. Membership is a grow-only set of signed records: a
// genesis, which makes the library and its first device, and ADDs, each signed by a member. There is no leader and
// no order of arrival: [Evaluate] is a pure function that gives the same members for the same set of records.
//
// A record's canonical bytes are version u8 (1), kind u8, library, author, author's counter u64, SHA-256 of the
// author's previous record, device, name (length, bytes), time i64 (ns since 1970, for people only), nonce. They
// are followed by the author's Ed25519 signature over "peerdex/membership/1", a zero byte and the canonical bytes.
// The library's ID is the SHA-256 of "peerdex/library/1", a zero byte and the genesis record's canonical bytes.
//
// All functions are safe for concurrent use; types are plain values.
package membership

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"
	"unicode/utf8"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/internal/canon"
)

// Limits of a set of records.
const (
	MaxRecordLen = 1 << 10 // bytes, signature included
	MaxRecords   = 4096    // records of one library
	MaxNameLen   = 63      // bytes of a device's name
)

const (
	recordDomain  = "peerdex/membership/1\x00"
	libraryDomain = "peerdex/library/1\x00"
)

// ErrInvalid is wrapped by every error about a record that breaks the rules.
var ErrInvalid = errors.New("invalid membership record")

// Kind says what a record does. Values are part of the format.
type Kind uint8

// The kinds of records.
const (
	Genesis Kind = 1 // makes the library; author and device are its first device
	Add     Kind = 2 // a member takes in a device
)

// Record is one signed statement about who belongs to the library.
type Record struct {
	Kind      Kind
	Library   index.LibraryID // zero in the genesis, whose hash it is
	Author    index.DeviceID
	Counter   uint64     // of the author's records, from 1
	Prev      index.Hash // SHA-256 of the author's previous record as encoded; zero for its first
	Device    index.DeviceID
	Name      string // of the device, for people
	Time      int64  // ns since 1970 by the author's clock; orders nothing
	Nonce     [32]byte
	Signature [ed25519.SignatureSize]byte
}

// ValidName reports why s can't name a device, or nil: 1 to 63 bytes of UTF-8 without control characters, slashes,
// colons or spaces at the ends, since names stand before a colon in paths.
func ValidName(s string) error {
	if s == "" || len(s) > MaxNameLen || !utf8.ValidString(s) || s != string(bytes.TrimSpace([]byte(s))) {
		return fmt.Errorf("device name %q: want 1 to %d bytes of text: %w", s, MaxNameLen, ErrInvalid)
	}
	for _, r := range s {
		if r < 0x20 || r == 0x7f || r == '/' || r == ':' || r == '\\' {
			return fmt.Errorf("device name %q holds %q: %w", s, r, ErrInvalid)
		}
	}
	return nil
}

// NewGenesis makes the first record of a new library.
func NewGenesis(key ed25519.PrivateKey, name string, now time.Time) (Record, error) {
	r := Record{Kind: Genesis, Counter: 1, Name: name, Time: now.UnixNano()}
	copy(r.Author[:], key.Public().(ed25519.PublicKey))
	r.Device = r.Author
	_, _ = rand.Read(r.Nonce[:])
	return r.sign(key)
}

// NewAdd makes a record by which the holder of key takes in a device. own are the author's own records so far, in
// any order; others are passed over.
func NewAdd(key ed25519.PrivateKey, lib index.LibraryID, own []Record, device index.DeviceID, name string, now time.Time) (Record, error) {
	r := Record{Kind: Add, Library: lib, Counter: 1, Device: device, Name: name, Time: now.UnixNano()}
	copy(r.Author[:], key.Public().(ed25519.PublicKey))
	for i := range own {
		if o := &own[i]; o.Author == r.Author && o.Counter >= r.Counter {
			r.Counter, r.Prev = o.Counter+1, o.Hash()
		}
	}
	_, _ = rand.Read(r.Nonce[:])
	return r.sign(key)
}

func (r Record) sign(key ed25519.PrivateKey) (Record, error) {
	if err := r.validate(); err != nil {
		return Record{}, err
	}
	copy(r.Signature[:], ed25519.Sign(key, r.append([]byte(recordDomain))))
	return r, nil
}

func (r *Record) validate() error {
	switch {
	case r.Kind != Genesis && r.Kind != Add:
		return fmt.Errorf("kind %d: %w", r.Kind, ErrInvalid)
	case r.Counter < 1 || r.Counter > index.MaxSeq:
		return fmt.Errorf("counter %d: %w", r.Counter, ErrInvalid)
	case r.Kind == Genesis && (r.Author != r.Device || r.Counter != 1 || !r.Library.IsZero() || !r.Prev.IsZero()):
		return fmt.Errorf("genesis fields: %w", ErrInvalid)
	case r.Kind == Add && r.Library.IsZero():
		return fmt.Errorf("record without a library: %w", ErrInvalid)
	}
	return ValidName(r.Name)
}

func (r *Record) append(b []byte) []byte {
	b = append(b, 1, byte(r.Kind))
	b = append(b, r.Library[:]...)
	b = append(b, r.Author[:]...)
	b = canon.AppendU64(b, r.Counter)
	b = append(b, r.Prev[:]...)
	b = append(b, r.Device[:]...)
	b = canon.AppendBytes(b, r.Name)
	b = canon.AppendU64(b, uint64(r.Time))
	return append(b, r.Nonce[:]...)
}

// MarshalBinary returns canonical bytes and signature.
func (r *Record) MarshalBinary() ([]byte, error) {
	return append(r.append(nil), r.Signature[:]...), nil
}

// UnmarshalBinary reads what MarshalBinary wrote, and checks the fields and the signature.
func (r *Record) UnmarshalBinary(b []byte) error {
	c := canon.NewReader(b)
	if v := c.U8(); v != 1 {
		c.Fail(fmt.Errorf("version %d: %w", v, ErrInvalid))
	}
	r.Kind = Kind(c.U8())
	c.Fixed(r.Library[:])
	c.Fixed(r.Author[:])
	r.Counter = c.U64()
	c.Fixed(r.Prev[:])
	c.Fixed(r.Device[:])
	r.Name = string(c.Bytes(MaxNameLen))
	r.Time = int64(c.U64())
	c.Fixed(r.Nonce[:])
	c.Fixed(r.Signature[:])
	if err := c.Close(); err != nil {
		return fmt.Errorf("membership record: %w", err)
	}
	if err := r.validate(); err != nil {
		return err
	}
	if !ed25519.Verify(r.Author[:], r.append([]byte(recordDomain)), r.Signature[:]) {
		return fmt.Errorf("membership record: %w", index.ErrBadSignature)
	}
	return nil
}

// Hash is the SHA-256 of the encoded record, signature included; it names the record.
func (r *Record) Hash() index.Hash {
	b, _ := r.MarshalBinary()
	return sha256.Sum256(b)
}

// LibraryID returns the library that the record speaks of.
func (r *Record) LibraryID() index.LibraryID {
	if r.Kind != Genesis {
		return r.Library
	}
	return sha256.Sum256(r.append([]byte(libraryDomain)))
}
