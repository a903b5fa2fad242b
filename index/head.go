package index

import (
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/peerdex/peerdex/index/internal/canon"
)

// Sizes of a head in canonical form, in bytes.
const (
	HeadSize       = 1 + 2*32 + LocationIDSize + 5*8 + 3*HashSize + 8
	SignedHeadSize = HeadSize + ed25519.SignatureSize
)

// MaxCount bounds the entries a head may claim; more is taken for nonsense.
const MaxCount = 100_000_000

const headDomain = "peerdex/head/1\x00"

// ErrBadSignature is returned when a signature does not match the signer it claims.
var ErrBadSignature = errors.New("signature does not match")

// Epoch names a stretch of a location's history in which seqs compare. A new one begins when the past can no longer
// be trusted. The zero value is no epoch; counters start at 1.
type Epoch struct {
	Counter uint64
	Random  uint64
}

// String returns counter and random bits, such as "1.9f86d081884c7d65".
func (e Epoch) String() string { return fmt.Sprintf("%d.%016x", e.Counter, e.Random) }

// Head is the owner's statement of a location's state. It means something only when signed: see [SignedHead].
type Head struct {
	Library  LibraryID
	Location Location
	Epoch    Epoch
	Seq      int64 // highest seq given
	Count    int64 // live rows, the root included
	NextID   int64 // the next id to be given; all ids ever given are below it
	Root     Hash  // root of the hash tree over the live rows (package proof)
	Dead     Hash  // chain over all dead runs of the epoch, in seq order; zero when there was none
	Record   Hash  // SHA-256 of the location's record
	AsOf     int64 // ns since 1970 by the owner's clock: when it last knew this true; 0 = not yet
}

// Time returns AsOf as a time, the zero time when AsOf is 0.
func (h *Head) Time() time.Time {
	if h.AsOf == 0 {
		return time.Time{}
	}
	return time.Unix(0, h.AsOf)
}

// Validate checks the relations between the fields.
func (h *Head) Validate() error {
	switch {
	case h.Epoch.Counter == 0 || h.Epoch.Counter > MaxSeq:
		return fmt.Errorf("head: epoch %v: %w", h.Epoch, ErrInvalid)
	case h.Seq < 1 || h.Seq > MaxSeq:
		return fmt.Errorf("head: seq %d: %w", h.Seq, ErrInvalid)
	case h.NextID <= RootID || h.NextID > MaxID+1:
		return fmt.Errorf("head: next id %d: %w", h.NextID, ErrInvalid)
	case h.Count < 1 || h.Count >= h.NextID || h.Count > MaxCount:
		return fmt.Errorf("head: %d entries with next id %d: %w", h.Count, h.NextID, ErrInvalid)
	case h.AsOf < 0:
		return fmt.Errorf("head: as of %d: %w", h.AsOf, ErrInvalid)
	}
	return nil
}

// AppendBytes appends the canonical bytes, [HeadSize] long: version u8 (1), library, owner, location, epoch counter
// u64, epoch random u64, seq u64, count u64, next id u64, root, dead, record, as of i64.
func (h *Head) AppendBytes(b []byte) []byte {
	b = append(b, 1)
	b = append(b, h.Library[:]...)
	b = append(b, h.Location.Owner[:]...)
	b = append(b, h.Location.ID[:]...)
	b = canon.AppendU64(b, h.Epoch.Counter)
	b = canon.AppendU64(b, h.Epoch.Random)
	b = canon.AppendU64(b, uint64(h.Seq))
	b = canon.AppendU64(b, uint64(h.Count))
	b = canon.AppendU64(b, uint64(h.NextID))
	b = append(b, h.Root[:]...)
	b = append(b, h.Dead[:]...)
	b = append(b, h.Record[:]...)
	return canon.AppendU64(b, uint64(h.AsOf))
}

// SignedHead is a head with its owner's signature over "peerdex/head/1", a zero byte and the head's canonical bytes.
type SignedHead struct {
	Head
	Signature [ed25519.SignatureSize]byte
}

// SignHead validates h and signs it with the owner's key.
func SignHead(h Head, key ed25519.PrivateKey) (SignedHead, error) {
	if err := h.Validate(); err != nil {
		return SignedHead{}, err
	}
	if pub, ok := key.Public().(ed25519.PublicKey); !ok || string(pub) != string(h.Location.Owner[:]) {
		return SignedHead{}, fmt.Errorf("sign head: the key is not the owner's: %w", ErrInvalid)
	}
	s := SignedHead{Head: h}
	copy(s.Signature[:], ed25519.Sign(key, h.AppendBytes([]byte(headDomain))))
	return s, nil
}

// Verify checks the fields and the owner's signature. Whether the owner is a member is for the caller to ask.
func (s *SignedHead) Verify() error {
	if err := s.Validate(); err != nil {
		return err
	}
	if !ed25519.Verify(s.Location.Owner[:], s.AppendBytes([]byte(headDomain)), s.Signature[:]) {
		return fmt.Errorf("head of %v: %w", s.Location, ErrBadSignature)
	}
	return nil
}

// MarshalBinary returns the canonical bytes and the signature, [SignedHeadSize] long.
func (s *SignedHead) MarshalBinary() ([]byte, error) {
	return append(s.AppendBytes(make([]byte, 0, SignedHeadSize)), s.Signature[:]...), nil
}

// UnmarshalBinary reads what MarshalBinary wrote and checks the fields, not the signature: see [SignedHead.Verify].
func (s *SignedHead) UnmarshalBinary(b []byte) error {
	c := canon.NewReader(b)
	s.Head = readHead(c)
	c.Fixed(s.Signature[:])
	if err := c.Close(); err != nil {
		return fmt.Errorf("head: %w", err)
	}
	return s.Validate()
}

func readHead(c *canon.Reader) Head {
	var h Head
	if v := c.U8(); v != 1 {
		c.Fail(fmt.Errorf("head: version %d: %w", v, ErrInvalid))
	}
	c.Fixed(h.Library[:])
	c.Fixed(h.Location.Owner[:])
	c.Fixed(h.Location.ID[:])
	h.Epoch.Counter = c.U64()
	h.Epoch.Random = c.U64()
	h.Seq = int64(c.U64())
	h.Count = int64(c.U64())
	h.NextID = int64(c.U64())
	c.Fixed(h.Root[:])
	c.Fixed(h.Dead[:])
	c.Fixed(h.Record[:])
	h.AsOf = int64(c.U64())
	return h
}

// Digest is the SHA-256 of a head's canonical bytes, without the signature.
func (h *Head) Digest() Hash { return sha256.Sum256(h.AppendBytes(nil)) }

// Order is the outcome of comparing a head heard with a head held.
type Order int

// The outcomes of [Compare].
const (
	Older        Order = iota // the head heard says nothing new
	Same                      // the same state and the same time
	Later                     // the same state, known true at a later time: moves "as of" alone
	Newer                     // a newer state of the same epoch
	NewEpoch                  // a higher epoch: seqs do not compare
	Equivocation              // two statements that cannot both be honest
)

// Compare says how a head heard relates to a head held of the same location. A held head with a zero epoch stands
// for none, and everything is a NewEpoch to it.
func Compare(heard, held *Head) Order {
	switch {
	case heard.Epoch.Counter > held.Epoch.Counter:
		return NewEpoch
	case heard.Epoch.Counter < held.Epoch.Counter:
		return Older
	case heard.Epoch.Random != held.Epoch.Random:
		return Equivocation
	case heard.Seq > held.Seq:
		return Newer
	case heard.Seq < held.Seq:
		return Older
	case heard.Root != held.Root || heard.Dead != held.Dead || heard.Record != held.Record ||
		heard.Count != held.Count || heard.NextID != held.NextID:
		return Equivocation
	case heard.AsOf > held.AsOf:
		return Later
	case heard.AsOf < held.AsOf:
		return Older
	}
	return Same
}
