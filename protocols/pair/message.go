package pair

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/membership"
	"github.com/peerdex/peerdex/protocols/wire"
)

// ID is the protocol's ID.
const ID protocol.ID = "/peerdex/pair/1"

const (
	version = 1

	kindHello     = 1 // joiner: version, nonce, name, platform
	kindChallenge = 2 // inviter: nonce
	kindProof     = 3 // joiner: MAC
	kindAdmitted  = 4 // inviter: library, MAC, sealed library secret
	kindRecords   = 5 // inviter: records of membership, before the admission

	helloFields, challengeFields, proofFields, admittedFields = 4, 1, 1, 3

	nonceSize  = 32
	macSize    = sha256.Size
	secretSize = 32 // of a library
	sealedSize = secretSize + 16

	maxPlatform = 32
	frameLimit  = 4 << 10 // of all frames but the records

	keysLabel    = "peerdex/pair/1 keys"
	joinerLabel  = "peerdex/pair/1 joiner\x00"
	inviterLabel = "peerdex/pair/1 inviter\x00"
	sealLabel    = "peerdex/pair/1 library secret"
)

// Hello is what a joiner says of itself.
type Hello struct {
	Name     string // that people know the device by, 1 to 63 bytes of UTF-8
	Platform string // its operating system, as GOOS spells it
}

func (h Hello) valid() error {
	if err := membership.ValidName(h.Name); err != nil {
		return err
	}
	if len(h.Platform) > maxPlatform || !utf8.ValidString(h.Platform) {
		return fmt.Errorf("platform %q: %w", h.Platform, index.ErrInvalid)
	}
	return nil
}

// Admission is what a device gets that is taken into a library.
type Admission struct {
	Library index.LibraryID
	Records [][]byte         // of membership, encoded; the newcomer's own among them
	Secret  [secretSize]byte // of the library
}

// session is what both sides know after hello and challenge.
type session struct {
	joiner, inviter               index.DeviceID
	joinerNonce, inviterNonce     [nonceSize]byte
	hello                         Hello
	joinerKey, inviterKey, sealer [32]byte
}

// transcript is all that was said before the proofs, and by whom.
func (s *session) transcript(label string) []byte {
	b := append([]byte(label), version)
	b = append(b, s.joiner[:]...)
	b = append(b, s.inviter[:]...)
	b = append(b, s.joinerNonce[:]...)
	b = append(b, s.inviterNonce[:]...)
	b = binary.AppendUvarint(b, uint64(len(s.hello.Name)))
	b = append(b, s.hello.Name...)
	b = binary.AppendUvarint(b, uint64(len(s.hello.Platform)))
	return append(b, s.hello.Platform...)
}

// derive makes the keys of the session from the invite's secret: HKDF-SHA256, salted with both nonces, bound to both
// devices.
func (s *session) derive(secret [SecretSize]byte) error {
	salt := append(s.joinerNonce[:], s.inviterNonce[:]...)
	info := keysLabel + string(s.joiner[:]) + string(s.inviter[:])
	b, err := hkdf.Key(sha256.New, secret[:], salt, info, 96)
	if err != nil {
		return fmt.Errorf("derive keys: %w", err)
	}
	copy(s.joinerKey[:], b)
	copy(s.inviterKey[:], b[32:])
	copy(s.sealer[:], b[64:])
	return nil
}

func (s *session) joinerMAC() []byte {
	m := hmac.New(sha256.New, s.joinerKey[:])
	m.Write(s.transcript(joinerLabel))
	return m.Sum(nil)
}

// inviterMAC covers the admission too: library, sealed secret, and every record with its length.
func (s *session) inviterMAC(library index.LibraryID, sealed []byte, records [][]byte) []byte {
	m := hmac.New(sha256.New, s.inviterKey[:])
	m.Write(s.transcript(inviterLabel))
	m.Write(library[:])
	m.Write(sealed)
	for _, r := range records {
		m.Write(binary.AppendUvarint(nil, uint64(len(r))))
		m.Write(r)
	}
	return m.Sum(nil)
}

// seal encrypts the library secret with AES-256-GCM under a key that is used once, so the nonce is zero.
func (s *session) seal(secret [secretSize]byte) ([]byte, error) {
	aead, err := s.aead()
	if err != nil {
		return nil, err
	}
	return aead.Seal(nil, make([]byte, aead.NonceSize()), secret[:], []byte(sealLabel)), nil
}

func (s *session) unseal(sealed []byte) (secret [secretSize]byte, err error) {
	aead, err := s.aead()
	if err != nil {
		return secret, err
	}
	b, err := aead.Open(nil, make([]byte, aead.NonceSize()), sealed, []byte(sealLabel))
	if err != nil {
		return secret, fmt.Errorf("unseal: %w", err)
	}
	copy(secret[:], b)
	return secret, nil
}

func (s *session) aead() (cipher.AEAD, error) {
	block, err := aes.NewCipher(s.sealer[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func sendHello(c *wire.Conn, nonce [nonceSize]byte, h Hello) error {
	e := c.Begin(kindHello, helloFields)
	e.Int(version)
	e.Bytes(nonce[:])
	e.String(h.Name)
	e.String(h.Platform)
	return c.Send(wire.CodecNone)
}

func decodeHello(d *wire.Decoder) (nonce [nonceSize]byte, h Hello, err error) {
	if v := d.Int(0, math.MaxInt32); d.Err() == nil && v != version {
		return nonce, h, fmt.Errorf("hello of version %d: %w", v, wire.ErrVersion)
	}
	d.Fixed(nonce[:])
	h.Name = d.String(membership.MaxNameLen)
	h.Platform = d.String(maxPlatform)
	if d.Err() == nil {
		if err := h.valid(); err != nil {
			d.Fail(err)
		}
	}
	return nonce, h, d.Close()
}
