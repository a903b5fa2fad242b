package index

import (
	"crypto/sha256"
	"fmt"
	"unicode/utf8"

	"github.com/peerdex/peerdex/index/internal/canon"
)

// Limits of a location's record, in bytes.
const (
	MaxLocationName = 255
	MaxRootPath     = 4096
	MaxRecordLen    = 3*(MaxRootPath+8) + 64
)

// RetiredState says whether a location is in use. Values are part of the formats.
type RetiredState uint8

// What the owner says of a location's life.
const (
	Active   RetiredState = 0 // in use
	Retired  RetiredState = 1 // removed by its owner: replicas are dropped
	Archived RetiredState = 2 // removed by its owner, who asks that replicas are kept as they are
)

// Record is what the owner says of a location as a whole. The head covers it by hash, and changing it takes a seq.
type Record struct {
	Seq        int64  // of the last change of this record
	Name       string // for people, unique among its owner's locations
	Root       string // absolute path of the folder on its owner; "" for a location fed by an application
	Filesystem string // where Root is on its volume, as index/volume writes it; "" when unknown
	Platform   string // the owner's operating system, as GOOS spells it
	Retired    RetiredState
}

// Validate checks lengths and relations.
func (r *Record) Validate() error {
	switch {
	case r.Seq < 1 || r.Seq > MaxSeq:
		return fmt.Errorf("record: seq %d: %w", r.Seq, ErrInvalid)
	case r.Name == "" || len(r.Name) > MaxLocationName || !utf8.ValidString(r.Name):
		return fmt.Errorf("record: name %q: %w", r.Name, ErrInvalid)
	case len(r.Root) > MaxRootPath || len(r.Filesystem) > MaxRootPath || len(r.Platform) > MaxLocationName:
		return fmt.Errorf("record: field too long: %w", ErrInvalid)
	case r.Retired > Archived:
		return fmt.Errorf("record: retired state %d: %w", r.Retired, ErrInvalid)
	}
	return nil
}

// Base is the path under which the location's entries are shown: its folder, or "/" and its name if it has none.
func (r *Record) Base() string {
	if r.Root == "" {
		return "/" + r.Name
	}
	return r.Root
}

// MarshalBinary returns the canonical bytes: version u8 (1), seq u64, name, root, filesystem, platform, retired u8.
func (r *Record) MarshalBinary() ([]byte, error) {
	if err := r.Validate(); err != nil {
		return nil, err
	}
	b := append([]byte(nil), 1)
	b = canon.AppendU64(b, uint64(r.Seq))
	b = canon.AppendBytes(b, r.Name)
	b = canon.AppendBytes(b, r.Root)
	b = canon.AppendBytes(b, r.Filesystem)
	b = canon.AppendBytes(b, r.Platform)
	return append(b, byte(r.Retired)), nil
}

// UnmarshalBinary reads canonical bytes and validates what it read.
func (r *Record) UnmarshalBinary(b []byte) error {
	c := canon.NewReader(b)
	if v := c.U8(); v != 1 {
		c.Fail(fmt.Errorf("record: version %d: %w", v, ErrInvalid))
	}
	r.Seq = int64(c.U64())
	r.Name = string(c.Bytes(MaxLocationName))
	r.Root = string(c.Bytes(MaxRootPath))
	r.Filesystem = string(c.Bytes(MaxRootPath))
	r.Platform = string(c.Bytes(MaxLocationName))
	r.Retired = RetiredState(c.U8())
	if err := c.Close(); err != nil {
		return fmt.Errorf("record: %w", err)
	}
	return r.Validate()
}

// HashRecord is the SHA-256 of a record's canonical bytes, as the head covers it.
func HashRecord(canonical []byte) Hash { return sha256.Sum256(canonical) }
