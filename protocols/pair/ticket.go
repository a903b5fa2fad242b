package pair

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"unicode"

	ma "github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"

	"github.com/peerdex/peerdex/index"
)

// SecretSize is the size of an invite's secret, in bytes.
const SecretSize = 16

const (
	ticketPrefix  = "PDX:"
	ticketVersion = 1
	checksumSize  = 4
	// maxTicket bounds a ticket as text, prefix included; so a QR code of it stays readable.
	maxTicket = 150
	// maxTyped bounds what is looked at, with all its white space and dashes.
	maxTyped = 1024
)

// Tags of the addresses in a ticket. Values are part of the format.
const (
	tagIP4TCP = 1 // 4 bytes of address, 2 of port
	tagIP6TCP = 2 // 16 bytes of address, 2 of port
	// 3 and 4 are meant for QUIC over IPv4 and IPv6, 5 for a relay.
)

// Errors of [ParseTicket].
var (
	// ErrTicketMalformed is returned for text that is no ticket, or one with a typing error.
	ErrTicketMalformed = errors.New("not a ticket, or one with a typing error")
	// ErrTicketVersion is returned for a ticket of a version that this software doesn't know.
	ErrTicketVersion = errors.New("the ticket is of a newer version")
)

// Ticket is all that a device needs to join: whom to ask, where, and the secret that shows it was invited. Whoever
// has it can join as long as the invite is open.
type Ticket struct {
	Inviter index.DeviceID
	Secret  [SecretSize]byte
	Addrs   []ma.Multiaddr // where the inviter may be reached, best first
}

// String returns the ticket as text for people and QR codes, at most 150 characters: "PDX:" and base32. Of the
// addresses it carries as many as fit, those of this machine alone last; only TCP over IPv4 and IPv6 can be carried.
func (t Ticket) String() string {
	enc := base32.StdEncoding.WithPadding(base32.NoPadding)
	room := enc.DecodedLen(maxTicket-len(ticketPrefix)) - checksumSize
	b := append(make([]byte, 0, room+checksumSize), ticketVersion)
	b = append(b, t.Inviter[:]...)
	b = append(b, t.Secret[:]...)
	for _, ap := range carried(t.Addrs) {
		if n := appendAddr(b, ap); len(n) <= room {
			b = n
		}
	}
	sum := sha256.Sum256(b)
	return ticketPrefix + enc.EncodeToString(append(b, sum[:checksumSize]...))
}

// LogValue implements [slog.LogValuer]: logs must not let anybody in.
func (t Ticket) LogValue() slog.Value {
	return slog.StringValue("ticket of " + t.Inviter.Short())
}

// carried returns those of addrs that a ticket can carry, each once, loopback addresses last.
func carried(addrs []ma.Multiaddr) []netip.AddrPort {
	var out []netip.AddrPort
	for _, a := range addrs {
		if ap, ok := tcpAddr(a); ok && !slices.Contains(out, ap) {
			out = append(out, ap)
		}
	}
	slices.SortStableFunc(out, func(a, b netip.AddrPort) int {
		switch la, lb := a.Addr().IsLoopback(), b.Addr().IsLoopback(); {
		case la == lb:
			return 0
		case la:
			return 1
		}
		return -1
	})
	return out
}

// tcpAddr returns the IP address and TCP port of a, if that is all there is to it.
func tcpAddr(a ma.Multiaddr) (netip.AddrPort, bool) {
	if len(a.Protocols()) != 2 || a.Protocols()[1].Code != ma.P_TCP {
		return netip.AddrPort{}, false
	}
	n, err := manet.ToNetAddr(a)
	if err != nil {
		return netip.AddrPort{}, false
	}
	ap, err := netip.ParseAddrPort(n.String())
	if err != nil || ap.Port() == 0 || ap.Addr().IsUnspecified() || ap.Addr().Zone() != "" {
		return netip.AddrPort{}, false
	}
	return ap, true
}

func appendAddr(b []byte, ap netip.AddrPort) []byte {
	tag := byte(tagIP6TCP)
	if ap.Addr().Is4() {
		tag = tagIP4TCP
	}
	b = append(bytes.Clone(b), tag)
	b = append(b, ap.Addr().AsSlice()...)
	return binary.BigEndian.AppendUint16(b, ap.Port())
}

// ParseTicket reads what [Ticket.String] wrote. White space, dashes and lower case do no harm. It returns
// [ErrTicketMalformed] or [ErrTicketVersion].
func ParseTicket(s string) (Ticket, error) {
	if len(s) > maxTyped {
		return Ticket{}, fmt.Errorf("%w: %d characters", ErrTicketMalformed, len(s))
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsSpace(r) || unicode.Is(unicode.Pd, r) {
			return -1
		}
		return unicode.ToUpper(r)
	}, s)
	text, ok := strings.CutPrefix(s, ticketPrefix)
	if !ok {
		return Ticket{}, fmt.Errorf("%w: it begins with %s", ErrTicketMalformed, ticketPrefix)
	}
	enc := base32.StdEncoding.WithPadding(base32.NoPadding)
	b, err := enc.DecodeString(text)
	if err != nil {
		return Ticket{}, fmt.Errorf("%w: %w", ErrTicketMalformed, err)
	}
	if enc.EncodeToString(b) != text || len(b) < 1+checksumSize { // the last character may hold bits of no byte
		return Ticket{}, fmt.Errorf("%w: length", ErrTicketMalformed)
	}
	body, check := b[:len(b)-checksumSize], b[len(b)-checksumSize:]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:checksumSize], check) {
		return Ticket{}, fmt.Errorf("%w: the checksum differs", ErrTicketMalformed)
	}
	if body[0] != ticketVersion { // after the checksum, which all versions share
		return Ticket{}, fmt.Errorf("%w: %d", ErrTicketVersion, body[0])
	}
	return parseBody(body[1:])
}

func parseBody(b []byte) (Ticket, error) {
	var t Ticket
	if len(b) < len(t.Inviter)+len(t.Secret) {
		return Ticket{}, fmt.Errorf("%w: cut short", ErrTicketMalformed)
	}
	b = b[copy(t.Inviter[:], b):]
	b = b[copy(t.Secret[:], b):]
	for len(b) > 0 {
		size := 0
		switch b[0] {
		case tagIP4TCP:
			size = 4
		case tagIP6TCP:
			size = 16
		default:
			return t, nil // newer kinds of addresses stand behind those that are known
		}
		if len(b) < 1+size+2 {
			return Ticket{}, fmt.Errorf("%w: address cut short", ErrTicketMalformed)
		}
		ip, _ := netip.AddrFromSlice(b[1 : 1+size])
		port := binary.BigEndian.Uint16(b[1+size:])
		a, err := multiaddr(netip.AddrPortFrom(ip, port))
		if err != nil {
			return Ticket{}, fmt.Errorf("%w: %w", ErrTicketMalformed, err)
		}
		t.Addrs = append(t.Addrs, a)
		b = b[1+size+2:]
	}
	return t, nil
}

func multiaddr(ap netip.AddrPort) (ma.Multiaddr, error) {
	family := "ip6"
	if ap.Addr().Is4() {
		family = "ip4"
	}
	return ma.NewMultiaddr(fmt.Sprintf("/%s/%s/tcp/%d", family, ap.Addr(), ap.Port()))
}
