package discovery

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"
)

func mustID(t testing.TB, s string) peer.ID {
	t.Helper()
	id, err := peer.Decode(s)
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// home is the network of the tests below.
func home(ip netip.Addr) bool {
	return localIP(ip, []netip.Prefix{netip.MustParsePrefix("203.0.113.7/24"), netip.MustParsePrefix("0.0.0.0/0")})
}

func TestTXT(t *testing.T) {
	list := addrs(t, "/ip4/192.168.1.20/tcp/4001", "/ip6/fd00::1/tcp/4001", "/ip4/192.168.1.20/udp/4001/quic-v1")
	got := encodeTXT(mustID(t, peerA), list)
	want := []string{ // the format: never change it without a new service name
		"dnsaddr=/ip4/192.168.1.20/tcp/4001/p2p/" + peerA,
		"dnsaddr=/ip6/fd00::1/tcp/4001/p2p/" + peerA,
		"dnsaddr=/ip4/192.168.1.20/udp/4001/quic-v1/p2p/" + peerA,
	}
	if !slices.Equal(got, want) {
		t.Fatalf("encoded %q, want %q", got, want)
	}
	info, ok := parseTXT(got, home)
	if !ok || info.ID.String() != peerA || !slices.Equal(texts(info.Addrs), texts(list)) {
		t.Errorf("parsed %v, %v", info, ok)
	}
}

func TestTXTFits(t *testing.T) {
	var list []string
	for i := range 40 {
		list = append(list, fmt.Sprintf("/ip6/2001:db8:1111:2222:3333:4444:5555:%x/tcp/54001", 0x1000+i))
	}
	total := 0
	text := encodeTXT(mustID(t, peerA), addrs(t, list...))
	for _, s := range text {
		total += 1 + len(s)
	}
	if total > maxTXTBytes || len(text) < 6 {
		t.Errorf("%d strings of %d bytes, limit %d", len(text), total, maxTXTBytes)
	}
	if !strings.Contains(text[0], "5555:1000") {
		t.Errorf("the first address is not announced first: %s", text[0])
	}
}

func TestParseTXTHostile(t *testing.T) {
	from := func(addrs ...string) []string {
		var out []string
		for _, a := range addrs {
			out = append(out, txtPrefix+a+"/p2p/"+peerA)
		}
		return out
	}
	many := func(n int) []string {
		var out []string
		for i := range n {
			out = append(out, fmt.Sprintf("/ip4/10.0.0.%d/tcp/1", i+1))
		}
		return out
	}
	const good = "/ip4/192.168.1.20/tcp/4001"
	tests := []struct {
		name string
		text []string
		want []string // addresses; none = refused
	}{
		{"none", nil, nil},
		{"good", from(good), []string{good}},
		{"twice", from(good, good), []string{good}},
		{"on our own network", from("/ip4/203.0.113.9/tcp/1"), []string{"/ip4/203.0.113.9/tcp/1"}},
		{"public", from("/ip4/8.8.8.8/tcp/1", good), []string{good}},
		{"public only", from("/ip4/8.8.8.8/tcp/1"), nil},
		{"loopback", from("/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1", "/ip6/::ffff:127.0.0.1/tcp/1"), nil},
		{"unspecified and multicast", from("/ip4/0.0.0.0/tcp/1", "/ip4/224.0.0.251/tcp/1", "/ip4/255.255.255.255/tcp/1"), nil},
		{"IPv4 link-local", from("/ip4/169.254.1.1/tcp/1"), []string{"/ip4/169.254.1.1/tcp/1"}},
		{"IPv6 link-local", from("/ip6/fe80::1/tcp/1", "/ip6zone/eth0/ip6/fe80::1/tcp/1"), nil},
		{"names", from("/dns4/nas.local/tcp/1", "/dnsaddr/x.example", "/dns/x.example/tcp/1"), nil},
		{"no port", from("/ip4/192.168.1.20/tcp/0", "/ip4/192.168.1.20"), nil},
		{"other transports", from(good+"/ws", "/ip4/192.168.1.20/udp/1", "/ip4/192.168.1.20/udp/1/quic"), nil},
		{"relay", []string{txtPrefix + good + "/p2p/" + peerB + "/p2p-circuit/p2p/" + peerA}, nil},
		{"no prefix", []string{good + "/p2p/" + peerA, "x=" + good + "/p2p/" + peerA}, nil},
		{"no peer", []string{txtPrefix + good}, nil},
		{"no address", []string{txtPrefix + "/p2p/" + peerA, txtPrefix}, nil},
		{"not a peer", []string{txtPrefix + good + "/p2p/12D3"}, nil},
		{"garbage", []string{"", "\x00\xff", txtPrefix + "\xff", txtPrefix + "/", txtPrefix + "//", good}, nil},
		{"a second peer", append(from(good), txtPrefix+"/ip4/10.0.0.1/tcp/1/p2p/"+peerB), []string{good}},
		{"too long", []string{txtPrefix + good + "/p2p/" + peerA + strings.Repeat("/", 256)}, nil},
		{"many", from(many(25)...), many(maxFoundAddrs)},
		{"far behind", append(make([]string, maxTXTStrings), from(good)...), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			info, ok := parseTXT(tt.text, home)
			if ok != (len(tt.want) > 0) || ok && info.ID.String() != peerA || !slices.Equal(texts(info.Addrs), append([]string{}, tt.want...)) {
				t.Errorf("got %v, %v, want %v", info, ok, tt.want)
			}
		})
	}
}

func FuzzParseTXT(f *testing.F) {
	f.Add("dnsaddr=/ip4/192.168.1.20/tcp/4001/p2p/" + peerA + "\ndnsaddr=/ip4/8.8.8.8/tcp/1/p2p/" + peerB)
	f.Add("dnsaddr=/ip6/fd00::1/udp/4001/quic-v1/p2p/" + peerA)
	f.Add("dnsaddr=/ip6zone/eth0/ip6/fe80::1/tcp/1/p2p/" + peerA)
	f.Add("dnsaddr=/p2p/" + peerA + "\n\ndnsaddr=\n")
	f.Fuzz(func(t *testing.T, text string) {
		info, ok := parseTXT(strings.Split(text, "\n"), home)
		if ok != (len(info.Addrs) > 0) || len(info.Addrs) > maxFoundAddrs {
			t.Fatalf("%v with %d addresses", ok, len(info.Addrs))
		}
		for _, a := range info.Addrs {
			ip, isIP := ipOf(a)
			if !isIP || !home(ip) || ip.IsLoopback() || !plainTransport(a) {
				t.Fatalf("took %v", a)
			}
		}
		if ok && info.ID.Validate() != nil {
			t.Fatalf("took peer %q", info.ID)
		}
	})
}
