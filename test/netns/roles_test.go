package netns

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"golang.org/x/sync/errgroup"

	"github.com/peerdex/peerdex/discovery"
)

// The test program runs itself on devices, in one of these roles.
const (
	roleEnv = "PEERDEX_TEST_ROLE"
	argEnv  = "PEERDEX_TEST_ARG"
)

func TestMain(m *testing.M) {
	roles := map[string]func(arg string) error{"peer": runPeer, "ear": runEar, "liar": runLiar}
	role := os.Getenv(roleEnv)
	if role == "" {
		m.Run()
		return
	}
	signal.Ignore(syscall.SIGTERM) // a role ends with its stdin
	if err := roles[role](os.Getenv(argEnv)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// startRole runs this test program on d in a role.
func startRole(t *testing.T, d *Device, role string, arg any) *Process {
	t.Helper()
	text, err := json.Marshal(arg)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return d.Start(t, []string{roleEnv + "=" + role, argEnv + "=" + string(text)}, self)
}

// key returns the identity of device number n.
func key(n int) (crypto.PrivKey, peer.ID) {
	seed := make([]byte, ed25519.SeedSize)
	seed[0] = byte(n)
	k, err := crypto.UnmarshalEd25519PrivateKey(ed25519.NewKeyFromSeed(seed))
	if err != nil {
		panic(err)
	}
	id, err := peer.IDFromPrivateKey(k)
	if err != nil {
		panic(err)
	}
	return k, id
}

// peerArg says what a peer does: device number N, of a library with Members, with mDNS as given.
type peerArg struct {
	N          int
	Members    []int
	Interfaces []string
	Off        bool
}

// roster is who is a member, by peer ID with their numbers.
type roster struct {
	mu      sync.Mutex
	numbers map[peer.ID]int
}

func (r *roster) add(n int) {
	_, id := key(n)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.numbers[id] = n
}

func (r *roster) number(id peer.ID) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.numbers[id]
}

func (r *roster) members() []peer.ID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.numbers))
}

// runPeer runs discovery until stdin ends. It prints "found N ADDR", "connected N ADDR" and "disconnected N". A line
// on stdin is the number of a new member.
func runPeer(text string) error {
	var arg peerArg
	if err := json.Unmarshal([]byte(text), &arg); err != nil {
		return err
	}
	k, _ := key(arg.N)
	h, err := libp2p.New(append(discovery.LAN.HostOptions(0), libp2p.Identity(k), libp2p.DisableMetrics())...)
	if err != nil {
		return err
	}
	defer h.Close()
	who := &roster{numbers: map[peer.ID]int{}}
	for _, n := range arg.Members {
		who.add(n)
	}
	start := time.Now()
	var mu sync.Mutex
	say := func(format string, args ...any) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Printf("%s (%.1f s)\n", fmt.Sprintf(format, args...), time.Since(start).Seconds())
	}
	h.Network().Notify(&network.NotifyBundle{
		ConnectedF: func(_ network.Network, c network.Conn) {
			say("connected %d %v", who.number(c.RemotePeer()), c.RemoteMultiaddr())
		},
		DisconnectedF: func(_ network.Network, c network.Conn) { say("disconnected %d", who.number(c.RemotePeer())) },
	})
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{Level: slog.LevelDebug}))
	keeper := discovery.NewKeeper(discovery.KeeperConfig{Host: h, Members: who.members, Logger: logger})
	mdns := discovery.NewMDNS(discovery.MDNSConfig{
		Host: h, Off: arg.Off, Interfaces: arg.Interfaces, Logger: logger,
		Wanted: func(id peer.ID) bool { return who.number(id) != 0 },
		Found: func(info peer.AddrInfo) {
			say("found %d %v", who.number(info.ID), info.Addrs)
			keeper.Found(info)
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	var g errgroup.Group
	g.Go(func() error { return keeper.Run(ctx) })
	g.Go(func() error { return mdns.Run(ctx) })
	say("started")
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		n, err := strconv.Atoi(lines.Text())
		if err != nil {
			cancel()
			return errors.Join(err, g.Wait())
		}
		who.add(n)
		keeper.Kick()
		mdns.Refresh()
	}
	cancel()
	return errors.Join(lines.Err(), g.Wait())
}

// runEar prints every mDNS packet about peerdex on interface eth0 until stdin ends: "heard LENGTH QUOTED-CONTENT".
func runEar(string) error {
	ifi, err := net.InterfaceByName("eth0")
	if err != nil {
		return err
	}
	conn, err := net.ListenMulticastUDP("udp4", ifi, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353})
	if err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		conn.Close()
	}()
	fmt.Println("started")
	buf := make([]byte, 64<<10)
	for {
		n, from, err := conn.ReadFromUDP(buf)
		if err != nil {
			return nil // closed
		}
		if strings.Contains(string(buf[:n]), "_peerdex") {
			fmt.Printf("heard %d from %v %q\n", n, from.IP, buf[:n])
		}
	}
}

// liarArg says whom a liar speaks for and how much it says.
type liarArg struct {
	Victim int // number of the device that it claims to be
	Flood  int // announcements with names and keys of their own
}

// runLiar multicasts garbage and false announcements from eth0, prints "lied", and waits for the end of stdin.
func runLiar(text string) error {
	var arg liarArg
	if err := json.Unmarshal([]byte(text), &arg); err != nil {
		return err
	}
	conn, err := net.DialUDP("udp4", nil, &net.UDPAddr{IP: net.IPv4(224, 0, 0, 251), Port: 5353})
	if err != nil {
		return err
	}
	defer conn.Close()
	own, err := net.InterfaceAddrs()
	if err != nil {
		return err
	}
	_, victim := key(arg.Victim)
	lies := []string{ // where the victim is not
		"dnsaddr=/ip4/127.0.0.1/tcp/22/p2p/" + victim.String(),
		"dnsaddr=/ip4/8.8.8.8/tcp/22/p2p/" + victim.String(),
		"dnsaddr=/dns4/evil.example/tcp/22/p2p/" + victim.String(),
		fmt.Sprintf("dnsaddr=/ip4/%s/tcp/9/p2p/%v", own[1].(*net.IPNet).IP, victim),
	}
	packets := [][]byte{
		{}, {0}, []byte(strings.Repeat("\xff", 1400)), []byte(strings.Repeat("\x00", 12)),
		[]byte("\x00\x00\x84\x00\x00\x00\xff\xff\x00\x00\x00\x00\xc0\x0c\xc0\x0c"), // a name that points at itself
		announcement("liar", lies...),
		announcement("empty"), announcement("odd", "", "dnsaddr=", "dnsaddr=/", "x"),
		announcement("many", make([]string, 4000)...),
	}
	for i := range arg.Flood {
		packets = append(packets, announcement(fmt.Sprintf("flood%d", i), lies[3]))
	}
	for i, p := range packets {
		_, _ = conn.Write(p) // an empty datagram may be refused
		if i%50 == 49 {
			time.Sleep(5 * time.Millisecond) // so that a socket's buffer takes them
		}
	}
	fmt.Println("lied")
	_, err = io.Copy(io.Discard, os.Stdin)
	return err
}

// announcement builds an mDNS response that announces instance of the service with the given TXT strings.
func announcement(instance string, text ...string) []byte {
	name := func(labels ...string) []byte {
		var b []byte
		for _, l := range labels {
			b = append(append(b, byte(len(l))), l...)
		}
		return append(b, 0)
	}
	service := name("_peerdex", "_udp", "local")
	full := name(instance, "_peerdex", "_udp", "local")
	target := name(instance, "local")
	b := []byte{0, 0, 0x84, 0, 0, 0, 0, 4, 0, 0, 0, 0} // a response with four answers
	record := func(name []byte, kind byte, data []byte) {
		b = append(b, name...)
		b = append(b, 0, kind, 0, 1, 0x7f, 0xff, 0xff, 0xff) // class IN, for 68 years
		b = append(b, byte(len(data)>>8), byte(len(data)))
		b = append(b, data...)
	}
	var txt []byte
	for _, s := range text {
		txt = append(append(txt, byte(len(s))), s...)
	}
	record(service, 12, full)                                     // PTR
	record(full, 33, append([]byte{0, 0, 0, 0, 0, 9}, target...)) // SRV
	record(full, 16, txt)
	record(target, 1, []byte{10, 0, 0, 1}) // A
	return b
}
