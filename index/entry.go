package index

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/peerdex/peerdex/index/internal/canon"
)

// Limits of an entry. They hold in the store, on the wire, and for embedding applications.
const (
	// RootID is the id of a location's root folder; the first entry of every location.
	RootID = 1
	// MaxID bounds ids: the hash tree has a fixed depth for ids below 2^36.
	MaxID = 1<<36 - 1
	// MaxSeq bounds seqs and epoch counters, far above what is ever reached, so that +1 never overflows.
	MaxSeq = 1<<62 - 1
	// MaxNameLen bounds a name, in bytes.
	MaxNameLen = 255
	// MaxAttrsLen bounds the opaque attributes of an embedding application, in bytes.
	MaxAttrsLen = 1 << 10
	// MaxDepth bounds how many folders lie above an entry.
	MaxDepth = 1024
	// MaxHashLen bounds a content hash, in bytes.
	MaxHashLen = 64
)

// ErrInvalid is wrapped by every error about a value that breaks the rules of this package.
var ErrInvalid = errors.New("invalid")

// Kind says what sort of node an entry is. Values are part of the formats and are never renumbered.
type Kind uint8

// The kinds of entries.
const (
	KindFile    Kind = 1
	KindDir     Kind = 2
	KindSymlink Kind = 3
	KindOther   Kind = 4 // FIFO, socket, device: recorded, never opened
)

// String returns "file", "dir", "symlink" or "other".
func (k Kind) String() string {
	switch k {
	case KindFile:
		return "file"
	case KindDir:
		return "dir"
	case KindSymlink:
		return "symlink"
	case KindOther:
		return "other"
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// MarshalText implements [encoding.TextMarshaler] with [Kind.String].
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (k *Kind) UnmarshalText(b []byte) error {
	for _, v := range []Kind{KindFile, KindDir, KindSymlink, KindOther} {
		if v.String() == string(b) {
			*k = v
			return nil
		}
	}
	return fmt.Errorf("kind %q: %w", b, ErrInvalid)
}

// Entry is one row of a location: a file, folder, symlink or other node. Its global name is (owner, location, ID).
type Entry struct {
	ID     int64  // given by the owner, from 1 (the root), never reused
	Parent int64  // id of the folder that holds it; 0 for the root
	Name   string // raw bytes, may be invalid UTF-8; "" for the root only
	Kind   Kind
	Size   int64  // bytes; length of the target for symlinks; 0 for folders and others
	MTime  int64  // modification time, ns since 1970 UTC, saturating
	Mode   uint32 // permission, setuid, setgid and sticky bits (07777)
	Hash   []byte // of the content; nil until hashed
	Attrs  []byte // opaque, for an embedding application; nil from the scanner
	Seq    int64  // of the last change of this row
}

// SameContent reports whether a and b differ in nothing but id and seq.
func (e *Entry) SameContent(o *Entry) bool {
	return e.Parent == o.Parent && e.Name == o.Name && e.Kind == o.Kind && e.Size == o.Size && e.MTime == o.MTime &&
		e.Mode == o.Mode && sameOptional(e.Hash, o.Hash) && sameOptional(e.Attrs, o.Attrs)
}

// ModTime returns MTime as a time.
func (e *Entry) ModTime() time.Time { return time.Unix(0, e.MTime) }

// SaturatingNanos returns t in ns since 1970, or the nearest value that fits.
func SaturatingNanos(sec, nsec int64) int64 {
	const lim = math.MaxInt64 / 1_000_000_000
	switch {
	case sec >= lim:
		return math.MaxInt64
	case sec <= -lim:
		return math.MinInt64
	}
	return sec*1_000_000_000 + nsec
}

// ValidName reports why s can't be the name of an entry below the root, or nil. Invalid UTF-8 is allowed.
func ValidName(s string) error {
	switch {
	case s == "" || s == "." || s == "..":
		return fmt.Errorf("name %q: %w", s, ErrInvalid)
	case len(s) > MaxNameLen:
		return fmt.Errorf("name of %d bytes, limit %d: %w", len(s), MaxNameLen, ErrInvalid)
	case strings.ContainsAny(s, "/\x00"):
		return fmt.Errorf("name %q holds a slash or NUL: %w", s, ErrInvalid)
	}
	return nil
}

// Validate checks every field of a row, and the relations between them, but not Seq, which the store gives.
func (e *Entry) Validate() error {
	switch {
	case e.ID < RootID || e.ID > MaxID:
		return fmt.Errorf("id %d: %w", e.ID, ErrInvalid)
	case e.ID == RootID:
		if e.Parent != 0 || e.Name != "" || e.Kind != KindDir {
			return fmt.Errorf("root with parent %d, name %q, kind %v: %w", e.Parent, e.Name, e.Kind, ErrInvalid)
		}
	case e.Parent < RootID || e.Parent > MaxID || e.Parent == e.ID:
		return fmt.Errorf("id %d: parent %d: %w", e.ID, e.Parent, ErrInvalid)
	default:
		if err := ValidName(e.Name); err != nil {
			return fmt.Errorf("id %d: %w", e.ID, err)
		}
	}
	switch {
	case e.Kind < KindFile || e.Kind > KindOther:
		return fmt.Errorf("id %d: %v: %w", e.ID, e.Kind, ErrInvalid)
	case e.Size < 0:
		return fmt.Errorf("id %d: size %d: %w", e.ID, e.Size, ErrInvalid)
	case e.Mode > 0o7777:
		return fmt.Errorf("id %d: mode %#o: %w", e.ID, e.Mode, ErrInvalid)
	case len(e.Hash) > MaxHashLen:
		return fmt.Errorf("id %d: hash of %d bytes, limit %d: %w", e.ID, len(e.Hash), MaxHashLen, ErrInvalid)
	case len(e.Attrs) > MaxAttrsLen:
		return fmt.Errorf("id %d: attrs of %d bytes, limit %d: %w", e.ID, len(e.Attrs), MaxAttrsLen, ErrInvalid)
	}
	return nil
}

// AppendRow appends the canonical bytes of a row: every column in fixed order, seq included. Layout: id u64, parent
// u64, name (length, bytes), kind u8, size u64, mtime i64, mode u32, hash (optional), attrs (optional), seq u64.
func (e *Entry) AppendRow(b []byte) []byte {
	b = canon.AppendU64(b, uint64(e.ID))
	b = canon.AppendU64(b, uint64(e.Parent))
	b = canon.AppendBytes(b, e.Name)
	b = append(b, byte(e.Kind))
	b = canon.AppendU64(b, uint64(e.Size))
	b = canon.AppendU64(b, uint64(e.MTime))
	b = canon.AppendU32(b, e.Mode)
	b = canon.AppendOptional(b, e.Hash)
	b = canon.AppendOptional(b, e.Attrs)
	return canon.AppendU64(b, uint64(e.Seq))
}

// DeadRun says that ids Lo..Hi (both included) are dead for ever. It takes one seq. A run may bridge ids that were
// dead before, never a live id nor one not yet given.
type DeadRun struct {
	Seq    int64
	Lo, Hi int64
}

// Validate checks the run by itself.
func (d DeadRun) Validate() error {
	if d.Seq < 1 || d.Seq > MaxSeq || d.Lo <= RootID || d.Hi < d.Lo || d.Hi > MaxID {
		return fmt.Errorf("dead run %d..%d at seq %d: %w", d.Lo, d.Hi, d.Seq, ErrInvalid)
	}
	return nil
}

// Len is the number of ids the run covers.
func (d DeadRun) Len() int64 { return d.Hi - d.Lo + 1 }

// AppendBytes appends the canonical bytes of the run: seq u64, lo u64, hi u64.
func (d DeadRun) AppendBytes(b []byte) []byte {
	b = canon.AppendU64(b, uint64(d.Seq))
	b = canon.AppendU64(b, uint64(d.Lo))
	return canon.AppendU64(b, uint64(d.Hi))
}

func sameOptional(a, b []byte) bool {
	return (a == nil) == (b == nil) && string(a) == string(b)
}
