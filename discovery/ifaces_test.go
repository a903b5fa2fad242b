package discovery

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func ifaceWith(name string, prefixes ...string) netIface {
	i := netIface{Interface: net.Interface{Name: name}}
	for _, p := range prefixes {
		i.prefixes = append(i.prefixes, netip.MustParsePrefix(p))
	}
	return i
}

func TestAnnounceAddrs(t *testing.T) {
	eth := ifaceWith("eth0", "fd00::1/64", "192.168.1.2/24", "fe80::1/64", "169.254.3.4/16")
	wifi := ifaceWith("wlan0", "10.0.0.2/8", "2001:db8::2/64")
	tests := []struct {
		name   string
		listen []string
		ifaces []netIface
		want   []string
	}{
		{"nothing", nil, []netIface{eth}, nil},
		{"no interface", []string{"/ip4/0.0.0.0/tcp/1"}, nil, nil},
		{
			"everywhere",
			[]string{"/ip6/::/tcp/2", "/ip4/0.0.0.0/tcp/1"},
			[]netIface{eth, wifi},
			[]string{"/ip4/192.168.1.2/tcp/1", "/ip4/169.254.3.4/tcp/1", "/ip4/10.0.0.2/tcp/1", "/ip6/fd00::1/tcp/2", "/ip6/2001:db8::2/tcp/2"},
		},
		{"one interface", []string{"/ip4/0.0.0.0/tcp/1"}, []netIface{wifi}, []string{"/ip4/10.0.0.2/tcp/1"}},
		{"one address", []string{"/ip4/10.0.0.2/tcp/1"}, []netIface{eth, wifi}, []string{"/ip4/10.0.0.2/tcp/1"}},
		{"an address of another interface", []string{"/ip4/10.0.0.2/tcp/1"}, []netIface{eth}, nil},
		{"loopback", []string{"/ip4/127.0.0.1/tcp/1"}, []netIface{ifaceWith("lo", "127.0.0.1/8")}, nil},
		{"other transports", []string{"/ip4/0.0.0.0/tcp/1/ws", "/ip4/0.0.0.0/udp/1/quic-v1"}, []netIface{wifi}, []string{"/ip4/10.0.0.2/udp/1/quic-v1"}},
		{"same address twice", []string{"/ip4/0.0.0.0/tcp/1", "/ip4/10.0.0.2/tcp/1"}, []netIface{wifi}, []string{"/ip4/10.0.0.2/tcp/1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			listen := addrs(t, tt.listen...)
			got := texts(announceAddrs(listen, tt.ifaces))
			if !slices.Equal(got, append([]string{}, tt.want...)) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
			slices.Reverse(listen) // libp2p gives them in random order
			if again := texts(announceAddrs(listen, tt.ifaces)); !slices.Equal(again, got) {
				t.Errorf("in another order: %v, want %v", again, got)
			}
		})
	}
}

func TestFingerprint(t *testing.T) {
	base := []netIface{ifaceWith("eth0", "192.168.1.2/24")}
	list := addrs(t, "/ip4/192.168.1.2/tcp/1")
	if fingerprint(base, list) != fingerprint([]netIface{ifaceWith("eth0", "192.168.1.2/24")}, addrs(t, "/ip4/192.168.1.2/tcp/1")) {
		t.Error("the same is not the same")
	}
	other := map[string]string{
		"name":    fingerprint([]netIface{ifaceWith("eth1", "192.168.1.2/24")}, list),
		"address": fingerprint([]netIface{ifaceWith("eth0", "192.168.1.3/24")}, list),
		"listen":  fingerprint(base, addrs(t, "/ip4/192.168.1.2/tcp/2")),
		"none":    fingerprint(nil, nil),
	}
	for name, f := range other {
		if f == fingerprint(base, list) {
			t.Errorf("another %s makes no difference", name)
		}
	}
}

func TestMulticastIfaces(t *testing.T) {
	all, err := multicastIfaces(nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 || i.Flags&net.FlagMulticast == 0 || len(i.prefixes) == 0 {
			t.Errorf("chose %s: %v %v", i.Name, i.Flags, i.prefixes)
		}
		one, err := multicastIfaces([]string{"no-such-interface", i.Name})
		if err != nil || len(one) != 1 || one[0].Name != i.Name {
			t.Errorf("by name %s: %v, %v", i.Name, one, err)
		}
	}
	if none, err := multicastIfaces([]string{"no-such-interface", "lo"}); err != nil || len(none) != 0 {
		t.Errorf("by other names: %v, %v", none, err)
	}
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		states := []string{"a", "a", "", "a", "b", "b", "c"} // "" = could not be read
		i := 0
		read := func() string {
			s := states[min(i, len(states)-1)]
			i++
			return s
		}
		start := time.Now()
		var at []time.Duration
		done := make(chan struct{})
		go func() {
			defer close(done)
			watch(ctx, 3*time.Second, read, func() { at = append(at, time.Since(start)) })
		}()
		time.Sleep(time.Minute)
		cancel()
		<-done
		if want := []time.Duration{12 * time.Second, 18 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("changes at %v, want %v", at, want)
		}
	})
}
