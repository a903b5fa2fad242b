package netns

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// foundWithin is how long devices of one network may take to find each other and connect.
const foundWithin = 10 * time.Second

// holds is a condition for [Process.Wait].
func holds(text string) func(string) bool {
	return func(out string) bool { return strings.Contains(out, text) }
}

// pair makes two devices with addresses 192.168.77.1 and .2 on one local network.
func pair(t *testing.T) (lan *LAN, a, b *Device) {
	t.Helper()
	lan = NewLAN(t)
	a, b = NewDevice(t), NewDevice(t)
	a.Attach(t, lan, "eth0", "192.168.77.1/24")
	b.Attach(t, lan, "eth0", "192.168.77.2/24")
	return lan, a, b
}

func TestDevicesFindEachOther(t *testing.T) {
	Require(t)
	t.Parallel()
	lan, a, b := pair(t)
	c := NewDevice(t)
	c.Attach(t, lan, "eth0", "192.168.77.3/24")
	stranger := startRole(t, c, "peer", peerArg{N: 3, Members: []int{4}})
	pa := startRole(t, a, "peer", peerArg{N: 1, Members: []int{1, 2}})
	pb := startRole(t, b, "peer", peerArg{N: 2, Members: []int{1, 2}})
	out := pa.Wait(t, foundWithin, "connection", holds("connected 2 "))
	pb.Wait(t, foundWithin, "connection", holds("connected 1 "))
	t.Log(regexp.MustCompile(`connected 2 .*`).FindString(out))
	stranger.Wait(t, foundWithin, "announcement", holds("mDNS announces"))
	time.Sleep(2 * time.Second) // long enough for the stranger's announcements, and for a second connection
	for _, p := range []*Process{pa, pb} {
		if n := strings.Count(p.Output(), "connected "); n != 1 {
			t.Errorf("%d connections, want one", n)
		}
	}
	for _, p := range []*Process{pa, pb, stranger} {
		if strings.Contains(p.Output(), "found 0") || p == stranger && strings.Contains(p.Output(), "found ") {
			t.Error("a device that is no member was reported")
		}
	}
}

func TestOnlyChosenInterfaces(t *testing.T) {
	Require(t)
	t.Parallel()
	lan, a, b := pair(t)
	other := NewLAN(t)
	a.Attach(t, other, "eth1", "10.66.0.1/24", "fd66::1/64")
	b.Attach(t, other, "eth1", "10.66.0.2/24", "fd66::2/64")
	earHere, earThere := NewDevice(t), NewDevice(t)
	earHere.Attach(t, lan, "eth0", "192.168.77.9/24")
	earThere.Attach(t, other, "eth0", "10.66.0.9/24")
	here, there := startRole(t, earHere, "ear", nil), startRole(t, earThere, "ear", nil)
	here.Wait(t, foundWithin, "ear", holds("started"))
	there.Wait(t, foundWithin, "ear", holds("started"))

	pa := startRole(t, a, "peer", peerArg{N: 1, Members: []int{2}, Interfaces: []string{"eth0"}})
	pb := startRole(t, b, "peer", peerArg{N: 2, Members: []int{1}, Interfaces: []string{"eth0", "eth7"}})
	pa.Wait(t, foundWithin, "connection", holds("connected 2 /ip4/192.168.77.2/"))
	pb.Wait(t, foundWithin, "connection", holds("connected 1 /ip4/192.168.77.1/"))
	pa.Stop(t)                                                                              // says goodbye, on the chosen interface too
	goodbye := regexp.MustCompile(`from 192\.168\.77\.1 .*!\\x80\\x01\\x00\\x00\\x00\\x00`) // an SRV record that lives for 0 s
	heard := here.Wait(t, foundWithin, "goodbye", goodbye.MatchString)
	if out := there.Output(); strings.Contains(out, "heard") {
		t.Errorf("heard on an interface that was not chosen:\n%s", out)
	}
	if strings.Contains(heard, "/10.66.0.") || strings.Contains(heard, "fd66:") {
		t.Error("an address of an interface that was not chosen is announced")
	}
	if !strings.Contains(heard, "/ip4/192.168.77.1/tcp/") {
		t.Error("no address of the chosen interface is announced")
	}
	for _, m := range regexp.MustCompile(`heard (\d+)`).FindAllStringSubmatch(heard, -1) {
		if n, _ := strconv.Atoi(m[1]); n > 1232 { // the least that IPv6 carries unsplit
			t.Errorf("a packet of %d bytes", n)
		}
	}
}

// TestManyAddresses announces more addresses than fit a packet.
func TestManyAddresses(t *testing.T) {
	Require(t)
	t.Parallel()
	lan, a, _ := pair(t)
	for i := range 30 {
		a.IP(t, "addr", "add", fmt.Sprintf("fd77:1111:2222:3333:4444:5555:6666:%x/64", 0x1000+i), "dev", "eth0", "nodad")
	}
	ear := NewDevice(t)
	ear.Attach(t, lan, "eth0", "192.168.77.9/24")
	heard := startRole(t, ear, "ear", nil)
	heard.Wait(t, foundWithin, "ear", holds("started"))
	startRole(t, a, "peer", peerArg{N: 1, Members: []int{2}})
	out := heard.Wait(t, foundWithin, "announcement", func(out string) bool { return strings.Count(out, "dnsaddr=") >= 20 })
	largest := 0
	for _, m := range regexp.MustCompile(`heard (\d+)`).FindAllStringSubmatch(out, -1) {
		n, _ := strconv.Atoi(m[1])
		largest = max(largest, n)
	}
	if largest < 800 || largest > 1232 {
		t.Errorf("the largest packet has %d bytes, want it well filled and at most 1232", largest)
	}
	t.Logf("largest packet: %d bytes", largest)
}

func TestMDNSOff(t *testing.T) {
	Require(t)
	t.Parallel()
	_, a, b := pair(t)
	pa := startRole(t, a, "peer", peerArg{N: 1, Members: []int{2}})
	off := startRole(t, b, "peer", peerArg{N: 2, Members: []int{1}, Off: true})
	pa.Wait(t, foundWithin, "announcement", holds("mDNS announces"))
	time.Sleep(5 * time.Second)
	for _, p := range []*Process{pa, off} {
		if strings.Contains(p.Output(), "connected") {
			t.Error("connected though one side has mDNS off")
		}
	}
	off.Stop(t)
	startRole(t, b, "peer", peerArg{N: 2, Members: []int{1}}) // and now on, to show that nothing else was in the way
	pa.Wait(t, foundWithin, "connection", holds("connected 2 "))
}

// TestNewMember takes in a device that was heard before: the mDNS library would not report it again for a while.
func TestNewMember(t *testing.T) {
	Require(t)
	t.Parallel()
	_, a, b := pair(t)
	pb := startRole(t, b, "peer", peerArg{N: 2})
	pb.Wait(t, foundWithin, "announcement", holds("mDNS announces"))
	pa := startRole(t, a, "peer", peerArg{N: 1})
	pa.Wait(t, foundWithin, "announcement", holds("mDNS announces"))
	time.Sleep(4 * time.Second) // until the announcements at the start are over
	pa.Say(t, "2")
	pa.Wait(t, foundWithin, "connection", holds("connected 2 "))
	if !strings.Contains(pa.Output(), "found 2 ") {
		t.Error("connected without being found")
	}
}

// TestAddressComesLater starts a device before its network is there, and then moves it to another address.
func TestAddressComesLater(t *testing.T) {
	Require(t)
	t.Parallel()
	lan, a, _ := pair(t)
	late := NewDevice(t)
	pa := startRole(t, a, "peer", peerArg{N: 1, Members: []int{2}})
	pl := startRole(t, late, "peer", peerArg{N: 2, Members: []int{1}})
	pa.Wait(t, foundWithin, "announcement", holds("mDNS announces"))
	pl.Wait(t, foundWithin, "word that there is no network", holds("waiting for the network"))
	late.Attach(t, lan, "eth0", "192.168.77.5/24")
	pa.Wait(t, foundWithin, "connection", holds("connected 2 /ip4/192.168.77.5/"))
	late.IP(t, "addr", "del", "192.168.77.5/24", "dev", "eth0")
	late.IP(t, "addr", "add", "192.168.77.6/24", "dev", "eth0")
	pa.Wait(t, foundWithin, "news of the new address", holds("found 2 [/ip4/192.168.77.6/"))
}

// TestLiesAndFloods has a device on the network that multicasts garbage, claims to be a member, and announces
// thousands of devices.
func TestLiesAndFloods(t *testing.T) {
	Require(t)
	t.Parallel()
	lan, a, b := pair(t)
	c := NewDevice(t)
	c.Attach(t, lan, "eth0", "192.168.77.3/24")
	c.IP(t, "route", "add", "default", "dev", "eth0")
	pa := startRole(t, a, "peer", peerArg{N: 1, Members: []int{2}})
	pa.Wait(t, foundWithin, "announcement", holds("mDNS announces"))
	liar := startRole(t, c, "liar", liarArg{Victim: 2, Flood: 4000})
	liar.Wait(t, foundWithin, "lies", holds("lied"))
	out := pa.Wait(t, foundWithin, "end of listening to the flood", holds("heard too many announcements"))
	if !strings.Contains(out, "found 2 [/ip4/192.168.77.3/tcp/9]") {
		t.Error("the lies did not come through at all, so this shows nothing")
	}
	for _, bad := range []string{"/ip4/127.0.0.1/", "8.8.8.8", "evil.example"} {
		if strings.Contains(out, bad) {
			t.Errorf("%s was taken from an announcement", bad)
		}
	}
	startRole(t, b, "peer", peerArg{N: 2, Members: []int{1}})
	pa.Wait(t, foundWithin, "connection to the true device", holds("connected 2 /ip4/192.168.77.2/"))
}
