package notice

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
)

// ID is the protocol on which members exchange notices: gossipsub as its version 1.1 has it, under a name of our own, so
// that gossip of other programs doesn't mix with it.
const ID protocol.ID = "/peerdex/notice/1"

// SecretSize is the size of a library secret in bytes.
const SecretSize = 32

// SealedSize is the size of every notice as it is gossiped. Bytes.
const SealedSize = nonceSize + plainSize + tagSize

const (
	version = 1

	nonceSize = 12
	tagSize   = 16
	keySize   = 32
	// headFrom is where the canonical bytes of a head differ from notice to notice of one owner: what stands before, its
	// version, library and owner, is known to whoever can open the notice.
	headFrom  = 1 + index.HashSize + index.DeviceIDSize
	plainSize = 1 + index.SignedHeadSize - headFrom

	// Domains keep the uses of the library secret apart.
	topicDomain = "peerdex/notice/1 topic"
	sealDomain  = "peerdex/notice/1 seal"
	// topicSize is how much of the hash names the topic. Bytes, twice as many in hex.
	topicSize = 16
)

// Library is what all members have in common.
type Library struct {
	ID     index.LibraryID
	Secret [SecretSize]byte
}

// BulkIndexComplete says that a commit of a location ended, whatever its size, and what the location is since then.
// All of it is in the head that the owner signed.
type BulkIndexComplete struct {
	Head index.SignedHead
}

// Device is the owner of the location, which is also the author of the notice.
func (b *BulkIndexComplete) Device() index.DeviceID { return b.Head.Location.Owner }

// Location is what was indexed.
func (b *BulkIndexComplete) Location() index.Location { return b.Head.Location }

// Entries is the number of entries in the location, its root included.
func (b *BulkIndexComplete) Entries() int64 { return b.Head.Count }

// IndexedAt is when the owner last knew the index to be true, by its own clock; zero = not yet.
func (b *BulkIndexComplete) IndexedAt() time.Time { return b.Head.Time() }

// channel is what a library secret makes: where its notices are, and the key to them.
type channel struct {
	library index.LibraryID
	topic   string
	aead    cipher.AEAD
}

func newChannel(lib Library) (*channel, error) {
	mac := hmac.New(sha256.New, lib.Secret[:])
	mac.Write([]byte(topicDomain))
	key, err := hkdf.Key(sha256.New, lib.Secret[:], nil, sealDomain, keySize)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	return &channel{library: lib.ID, topic: hex.EncodeToString(mac.Sum(nil)[:topicSize]), aead: aead}, nil
}

// bound is what a sealed notice is bound to besides the key.
func (c *channel) bound(owner index.DeviceID) []byte { return append(c.library[:], owner[:]...) }

// seal packs a notice about a location of owner, with a nonce of its own.
func (c *channel) seal(b *BulkIndexComplete) []byte {
	nonce := make([]byte, nonceSize, SealedSize)
	_, _ = rand.Read(nonce) // never fails
	return c.sealWith(nonce, b)
}

func (c *channel) sealWith(nonce []byte, b *BulkIndexComplete) []byte {
	head, _ := b.Head.MarshalBinary()
	plain := append([]byte{version}, head[headFrom:]...)
	return c.aead.Seal(nonce, nonce, plain, c.bound(b.Head.Location.Owner))
}

// open unpacks a notice of an author and verifies its head, which must be the author's.
func (c *channel) open(author index.DeviceID, sealed []byte) (BulkIndexComplete, error) {
	if len(sealed) != SealedSize {
		return BulkIndexComplete{}, fmt.Errorf("%w: notice of %d bytes", wire.ErrMalformed, len(sealed))
	}
	plain, err := c.aead.Open(nil, sealed[:nonceSize], sealed[nonceSize:], c.bound(author))
	if err != nil {
		return BulkIndexComplete{}, fmt.Errorf("%w: notice: %w", wire.ErrMalformed, err)
	}
	return decode(c.library, author, plain)
}

// decode reads a notice that was opened.
func decode(lib index.LibraryID, author index.DeviceID, plain []byte) (BulkIndexComplete, error) {
	var b BulkIndexComplete
	if len(plain) != plainSize || plain[0] != version {
		return b, fmt.Errorf("%w: notice: not of version %d", wire.ErrMalformed, version)
	}
	// A head begins with its version, library and owner.
	head := make([]byte, 0, index.SignedHeadSize)
	head = append(append(append(head, 1), lib[:]...), author[:]...)
	if err := b.Head.UnmarshalBinary(append(head, plain[1:]...)); err != nil {
		return BulkIndexComplete{}, fmt.Errorf("%w: notice: %w", wire.ErrMalformed, err)
	}
	if err := b.Head.Verify(); err != nil {
		return BulkIndexComplete{}, fmt.Errorf("%w: notice: %w", wire.ErrMalformed, err)
	}
	return b, nil
}
