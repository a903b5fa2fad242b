package discovery

import (
	"context"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/zeroconf/v2"
)

// What MDNS does on a network is tested in test/netns, in network namespaces; nothing here may multicast.

func TestMDNSOff(t *testing.T) {
	for name, cfg := range map[string]MDNSConfig{"off": {Off: true}, "loopback": {Reach: Loopback}, "unknown reach": {Reach: 9}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg.Wanted = func(peer.ID) bool { return true }
				m := NewMDNS(cfg) // without a host: anything but waiting would panic
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- m.Run(ctx) }()
				time.Sleep(time.Hour)
				m.Refresh()
				m.Refresh() // must not wait for anybody
				select {
				case err := <-done:
					t.Fatalf("ended before its context: %v", err)
				default:
				}
				cancel()
				if err := <-done; err != nil {
					t.Errorf("Run: %v", err)
				}
			})
		})
	}
}

func TestFirstIPs(t *testing.T) {
	got := firstIPs(addrs(t, "/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.2/tcp/1", "/ip6/fd00::1/tcp/1", "/ip6/fd00::2/tcp/1"))
	if want := []string{"10.0.0.1", "fd00::1"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := firstIPs(addrs(t, "/ip6/fd00::1/tcp/1")); !slices.Equal(got, []string{"fd00::1"}) {
		t.Errorf("IPv6 only: %v", got)
	}
	if got := firstIPs(nil); len(got) != 0 {
		t.Errorf("none: %v", got)
	}
}

func TestFamilies(t *testing.T) {
	tests := []struct {
		ifaces []netIface
		want   []zeroconf.IPType
	}{
		{nil, nil},
		{[]netIface{ifaceWith("a", "10.0.0.1/8")}, []zeroconf.IPType{zeroconf.IPv4}},
		{[]netIface{ifaceWith("a", "fe80::1/64")}, []zeroconf.IPType{zeroconf.IPv6}},
		{[]netIface{ifaceWith("a", "fe80::1/64"), ifaceWith("b", "10.0.0.1/8")}, []zeroconf.IPType{zeroconf.IPv4, zeroconf.IPv6}},
	}
	for _, tt := range tests {
		if got := families(tt.ifaces); !slices.Equal(got, tt.want) {
			t.Errorf("families(%v) = %v, want %v", tt.ifaces, got, tt.want)
		}
	}
}

func TestCarriesAny(t *testing.T) {
	i := ifaceWith("eth0", "192.168.1.2/24")
	if !carriesAny(i, addrs(t, "/ip4/10.0.0.1/tcp/1", "/ip4/192.168.1.2/tcp/1")) {
		t.Error("its own address is not seen")
	}
	if carriesAny(i, addrs(t, "/ip4/192.168.1.3/tcp/1", "/ip6/fd00::1/tcp/1")) || carriesAny(i, nil) {
		t.Error("another's address is taken for its own")
	}
}

func TestEntrySize(t *testing.T) {
	e := &zeroconf.ServiceEntry{HostName: "host", Text: []string{"abc", ""}, AddrIPv4: []net.IP{{10, 0, 0, 1}}}
	e.Instance = "instance"
	if got, want := entrySize(e), 8+4+16+(3+16)+16; got != want {
		t.Errorf("size %d, want %d", got, want)
	}
}
