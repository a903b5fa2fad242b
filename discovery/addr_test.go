package discovery

import (
	"errors"
	"strings"
	"testing"
)

const (
	peerA = "12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp"
	peerB = "12D3KooWHHzSeKaY8xuZVzkLbKFfvNgPPeKhFBGrMbNzbm5akpqu"
)

func TestParsePeerAddr(t *testing.T) {
	good := []string{
		"/ip4/192.168.1.20/tcp/4001/p2p/" + peerA,
		"/ip6/fd00::1/tcp/4001/p2p/" + peerA,
		"/ip6zone/eth0/ip6/fe80::1/tcp/4001/p2p/" + peerA,
		"/dns4/nas.example.org/tcp/4001/p2p/" + peerA,
	}
	for _, s := range good {
		info, err := ParsePeerAddr(" " + s + "\n")
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		if info.ID.String() != peerA || len(info.Addrs) != 1 || info.Addrs[0].String()+"/p2p/"+peerA != s {
			t.Errorf("%s: got %v", s, info)
		}
	}
	bad := []struct{ in, want string }{
		{"", "want one like"},
		{"192.168.1.20:4001", "want one like"},
		{"/ip4/192.168.1.300/tcp/4001/p2p/" + peerA, "192.168.1.300"},
		{"/ip4/192.168.1.20/tcp/4001", "lacks"},
		{"/p2p/" + peerA, "TCP port"},
		{"/ip4/192.168.1.20/p2p/" + peerA, "TCP port"},
		{"/ip4/192.168.1.20/tcp/0/p2p/" + peerA, "TCP port"},
		{"/ip4/192.168.1.20/udp/4001/p2p/" + peerA, "TCP port"},
		{"/ip4/192.168.1.20/udp/4001/quic-v1/p2p/" + peerA, "TCP port"},
		{"/ip4/192.168.1.20/tcp/4001/ws/p2p/" + peerA, "TCP port"},
		{"/ip4/192.168.1.20/tcp/4001/p2p/" + peerB + "/p2p-circuit/p2p/" + peerA, "TCP port"},
		{"/dnsaddr/nas.example.org/p2p/" + peerA, "TCP port"},
		{"/ip4/0.0.0.0/tcp/4001/p2p/" + peerA, "no single device"},
		{"/ip4/224.0.0.1/tcp/4001/p2p/" + peerA, "no single device"},
		{"/ip4/192.168.1.20/tcp/4001/p2p/12D3", "12D3"},
		{"/" + strings.Repeat("x", 600), "limit 512"},
	}
	for _, tt := range bad {
		_, err := ParsePeerAddr(tt.in)
		if !errors.Is(err, ErrAddr) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want ErrAddr with %q", tt.in, err, tt.want)
		}
	}
}

func FuzzParsePeerAddr(f *testing.F) {
	f.Add("/ip4/192.168.1.20/tcp/4001/p2p/" + peerA)
	f.Add("/ip6zone/eth0/ip6/fe80::1/udp/4001/quic-v1/p2p/" + peerA)
	f.Add("/dns/nas/tcp/1/p2p/" + peerA)
	f.Add("/p2p/" + peerA)
	f.Fuzz(func(t *testing.T, s string) {
		info, err := ParsePeerAddr(s)
		if err != nil {
			if !errors.Is(err, ErrAddr) {
				t.Fatalf("error %v does not wrap ErrAddr", err)
			}
			return
		}
		if info.ID.Validate() != nil || len(info.Addrs) != 1 || !LAN.Allowed(info.Addrs[0]) {
			t.Fatalf("%q gave %v", s, info)
		}
		again, err := ParsePeerAddr(info.Addrs[0].String() + "/p2p/" + info.ID.String())
		if err != nil || again.ID != info.ID || !again.Addrs[0].Equal(info.Addrs[0]) {
			t.Fatalf("%v comes back as %v, %v", info, again, err)
		}
	})
}
