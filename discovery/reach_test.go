package discovery

import (
	"errors"
	"slices"
	"testing"

	ma "github.com/multiformats/go-multiaddr"
)

// addrs parses multiaddrs of a test.
func addrs(t testing.TB, list ...string) []ma.Multiaddr {
	t.Helper()
	var out []ma.Multiaddr
	for _, s := range list {
		a, err := ma.NewMultiaddr(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

func texts(list []ma.Multiaddr) []string {
	out := []string{}
	for _, a := range list {
		out = append(out, a.String())
	}
	return out
}

func TestParseReach(t *testing.T) {
	for s, want := range map[string]Reach{"": LAN, "lan": LAN, "loopback": Loopback} {
		if got, err := ParseReach(s); err != nil || got != want {
			t.Errorf("ParseReach(%q) = %v, %v, want %v", s, got, err, want)
		}
	}
	for _, s := range []string{"internet", "LAN", "lan ", "x"} {
		if _, err := ParseReach(s); !errors.Is(err, ErrReach) {
			t.Errorf("ParseReach(%q): %v, want ErrReach", s, err)
		}
	}
	for _, r := range []Reach{LAN, Loopback} {
		text, err := r.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		back := Reach(9)
		if err := back.UnmarshalText(text); err != nil || back != r {
			t.Errorf("%v comes back as %v, %v", r, back, err)
		}
	}
	r := Loopback
	if err := r.UnmarshalText([]byte("far")); err == nil || r != Loopback {
		t.Errorf("bad text: %v, value %v", err, r)
	}
}

func TestListenAddrs(t *testing.T) {
	if got, want := LAN.ListenAddrs(4001), []string{"/ip4/0.0.0.0/tcp/4001", "/ip6/::/tcp/4001"}; !slices.Equal(got, want) {
		t.Errorf("lan: %v, want %v", got, want)
	}
	if got, want := Loopback.ListenAddrs(0), []string{"/ip4/127.0.0.1/tcp/0"}; !slices.Equal(got, want) {
		t.Errorf("loopback: %v, want %v", got, want)
	}
	if got := Reach(9).ListenAddrs(0); !slices.Equal(got, Loopback.ListenAddrs(0)) {
		t.Errorf("an unknown reach listens on %v", got)
	}
}

func TestAllowed(t *testing.T) {
	tests := []struct {
		addr          string
		lan, loopback bool
	}{
		{"/ip4/127.0.0.1/tcp/1", true, true},
		{"/ip4/127.9.9.9/tcp/1", true, true},
		{"/ip6/::1/tcp/1", true, true},
		{"/ip6/::ffff:127.0.0.1/tcp/1", true, true},
		{"/ip4/192.168.1.2/tcp/1", true, false},
		{"/ip6/::ffff:192.168.1.2/tcp/1", true, false},
		{"/ip4/128.0.0.1/tcp/1", true, false},
		{"/ip4/8.8.8.8/tcp/1", true, false},
		{"/ip4/0.0.0.0/tcp/1", false, false},
		{"/ip6/::/tcp/1", false, false},
		{"/ip4/224.0.0.251/udp/5353", false, false},
		{"/ip4/255.255.255.255/tcp/1", false, false},
		{"/ip6/ff02::fb/udp/5353", false, false},
		{"/ip6/fe80::1/tcp/1", true, false},
		{"/ip6zone/eth0/ip6/fe80::1/tcp/1", true, false},
		{"/ip6zone/lo/ip6/::1/tcp/1", true, true},
		{"/dns4/localhost/tcp/1", true, false},
		{"/dns/nas.example/tcp/1", true, false},
		{"/dnsaddr/nas.example", false, false},
		{"/unix/tmp/x", false, false},
		{"/ip4/127.0.0.1/tcp/1/p2p/12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp/p2p-circuit", false, false},
	}
	for _, tt := range tests {
		a := addrs(t, tt.addr)[0]
		if got := LAN.Allowed(a); got != tt.lan {
			t.Errorf("lan, %s: %v", tt.addr, got)
		}
		if got := Loopback.Allowed(a); got != tt.loopback {
			t.Errorf("loopback, %s: %v", tt.addr, got)
		}
		if Reach(9).Allowed(a) {
			t.Errorf("an unknown reach allows %s", tt.addr)
		}
	}
	if LAN.Allowed(nil) || Loopback.Allowed(nil) {
		t.Error("the empty address is allowed")
	}
}

func TestAnnounce(t *testing.T) {
	all := addrs(t, "/ip4/127.0.0.1/tcp/1", "/ip4/192.168.1.2/tcp/1", "/ip4/169.254.1.2/tcp/1", "/ip6/::1/tcp/1", "/ip6/fe80::1/tcp/1",
		"/ip6/fd00::1/tcp/1", "/dns4/nas.example/tcp/1", "/ip4/0.0.0.0/tcp/1")
	if got, want := texts(LAN.Announce(all)), []string{
		"/ip4/192.168.1.2/tcp/1", "/ip4/169.254.1.2/tcp/1", "/ip6/fd00::1/tcp/1", "/dns4/nas.example/tcp/1",
	}; !slices.Equal(got, want) {
		t.Errorf("lan: %v, want %v", got, want)
	}
	if got, want := texts(Loopback.Announce(all)), []string{"/ip4/127.0.0.1/tcp/1", "/ip6/::1/tcp/1"}; !slices.Equal(got, want) {
		t.Errorf("loopback: %v, want %v", got, want)
	}
}
