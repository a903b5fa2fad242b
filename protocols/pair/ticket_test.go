package pair

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	ma "github.com/multiformats/go-multiaddr"

	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

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

func testTicket(t testing.TB, list ...string) Ticket {
	t.Helper()
	tk := Ticket{Inviter: deviceOf(testKey("inviter")), Addrs: addrs(t, list...)}
	copy(tk.Secret[:], "sixteen bytes ok")
	return tk
}

func TestTicketRoundTrip(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ in, want []string }{
		"none":           {nil, nil},
		"IPv4":           {[]string{"/ip4/192.168.1.20/tcp/4001"}, []string{"/ip4/192.168.1.20/tcp/4001"}},
		"IPv6":           {[]string{"/ip6/fd00::1/tcp/65535"}, []string{"/ip6/fd00::1/tcp/65535"}},
		"both":           {[]string{"/ip6/2001:db8::7/tcp/1", "/ip4/10.0.0.1/tcp/2"}, []string{"/ip6/2001:db8::7/tcp/1", "/ip4/10.0.0.1/tcp/2"}},
		"each once":      {[]string{"/ip4/10.0.0.1/tcp/2", "/ip4/10.0.0.1/tcp/2"}, []string{"/ip4/10.0.0.1/tcp/2"}},
		"loopback last":  {[]string{"/ip4/127.0.0.1/tcp/2", "/ip6/::1/tcp/2", "/ip4/10.0.0.1/tcp/2"}, []string{"/ip4/10.0.0.1/tcp/2", "/ip4/127.0.0.1/tcp/2", "/ip6/::1/tcp/2"}},
		"not carried":    {[]string{"/ip4/10.0.0.1/udp/2/quic-v1", "/dns4/x.example/tcp/1", "/ip4/10.0.0.1/tcp/1/ws", "/ip4/0.0.0.0/tcp/1", "/ip4/10.0.0.1/tcp/0"}, nil},
		"link-local":     {[]string{"/ip6zone/eth0/ip6/fe80::1/tcp/9"}, nil},
		"IPv4 in IPv6":   {[]string{"/ip6/::ffff:1.2.3.4/tcp/9"}, nil},
		"more than fit":  {strings.Fields("/ip4/10.0.0.1/tcp/1 /ip4/10.0.0.2/tcp/1 /ip4/10.0.0.3/tcp/1 /ip4/10.0.0.4/tcp/1 /ip4/10.0.0.5/tcp/1 /ip4/10.0.0.6/tcp/1"), strings.Fields("/ip4/10.0.0.1/tcp/1 /ip4/10.0.0.2/tcp/1 /ip4/10.0.0.3/tcp/1 /ip4/10.0.0.4/tcp/1 /ip4/10.0.0.5/tcp/1")},
		"large one last": {strings.Fields("/ip6/fd00::1/tcp/1 /ip4/10.0.0.2/tcp/1 /ip6/fd00::2/tcp/1 /ip4/10.0.0.3/tcp/1"), strings.Fields("/ip6/fd00::1/tcp/1 /ip4/10.0.0.2/tcp/1 /ip4/10.0.0.3/tcp/1")},
	} {
		tk := testTicket(t, c.in...)
		s := tk.String()
		if len(s) > 150 || !strings.HasPrefix(s, "PDX:") {
			t.Errorf("%s: %d characters: %s", name, len(s), s)
		}
		got, err := ParseTicket(s)
		if err != nil || got.Inviter != tk.Inviter || got.Secret != tk.Secret {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if fmt.Sprint(got.Addrs) != fmt.Sprint(addrs(t, c.want...)) {
			t.Errorf("%s: addresses %v, want %v", name, got.Addrs, c.want)
		}
		if got.String() != s {
			t.Errorf("%s: written again, it is another ticket", name)
		}
	}
}

func TestTicketIsTolerant(t *testing.T) {
	t.Parallel()
	tk := testTicket(t, "/ip4/192.168.1.20/tcp/4001")
	s := tk.String()
	var spaced strings.Builder
	for i, r := range s {
		if spaced.WriteRune(r); i%5 == 4 {
			spaced.WriteString([]string{" ", "-", "\n", "\t", "\u00a0", "\u2014", "\r\n"}[i/5%7])
		}
	}
	for name, typed := range map[string]string{
		"lower case": strings.ToLower(s), "spaces around": "  " + s + "\n", "in groups": spaced.String(),
		"space in the prefix": "P D X : " + s[4:],
	} {
		if got, err := ParseTicket(typed); err != nil || got.String() != s {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestTicketTypo changes every character of a ticket to every other one, drops each, and swaps neighbours.
func TestTicketTypo(t *testing.T) {
	t.Parallel()
	s := testTicket(t, "/ip4/192.168.1.20/tcp/4001").String()
	try := func(typed string) {
		if typed == s {
			return
		}
		if _, err := ParseTicket(typed); !errors.Is(err, ErrTicketMalformed) {
			t.Errorf("%q: %v", typed, err)
		}
	}
	for i := range s {
		for _, r := range "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567018:=é\x00" {
			try(s[:i] + string(r) + s[i+1:])
		}
		try(s[:i] + s[i+1:])
		try(s[:i])
		if i > 0 {
			try(s[:i-1] + s[i:i+1] + s[i-1:i] + s[i+1:])
		}
	}
	for _, typed := range []string{"", "PDX:", "PDX", "hello", s + s, s + "A", strings.Repeat("A", 1<<20), "PDX:" + strings.Repeat("A", 140)} {
		try(typed)
	}
}

// rawTicket is a ticket of any body, with a checksum that is right.
func rawTicket(body []byte) string {
	sum := sha256.Sum256(body)
	return ticketPrefix + base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(append(bytes.Clone(body), sum[:checksumSize]...))
}

func TestTicketOtherVersions(t *testing.T) {
	t.Parallel()
	known := append([]byte{1}, make([]byte, 48)...)
	for name, c := range map[string]struct {
		body  []byte
		want  error
		addrs int
	}{
		"version 2":              {append([]byte{2}, known[1:]...), ErrTicketVersion, 0},
		"version 2, other shape": {[]byte{2, 9}, ErrTicketVersion, 0},
		"no version":             {nil, ErrTicketMalformed, 0},
		"cut in the secret":      {known[:48], ErrTicketMalformed, 0},
		"no addresses":           {known, nil, 0},
		"address cut short":      {append(bytes.Clone(known), 1, 10, 0, 0, 1, 15), ErrTicketMalformed, 0},
		"IPv6 cut short":         {append(bytes.Clone(known), 2, 10, 0, 0, 1, 15, 1), ErrTicketMalformed, 0},
		"newer kind behind":      {append(bytes.Clone(known), 1, 10, 0, 0, 1, 15, 160, 9, 1, 2, 3), nil, 1},
	} {
		tk, err := ParseTicket(rawTicket(c.body))
		if !errors.Is(err, c.want) || len(tk.Addrs) != c.addrs {
			t.Errorf("%s: %v, %v", name, tk.Addrs, err)
		}
	}
}

func TestTicketStaysOutOfLogs(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	tk := testTicket(t, "/ip4/192.168.1.20/tcp/4001")
	slog.New(slog.NewTextHandler(&out, nil)).Info("open", "ticket", tk)
	if s := tk.String(); strings.Contains(out.String(), s[60:80]) || !strings.Contains(out.String(), tk.Inviter.Short()) {
		t.Errorf("logged: %s", out.String())
	}
}

func TestTicketGolden(t *testing.T) {
	t.Parallel()
	tk := testTicket(t, "/ip4/192.168.1.20/tcp/4001", "/ip6/fd00::20/tcp/4001")
	got := wiretest.Golden(t, "testdata/ticket.txt", *update, []wiretest.Vector{
		{Name: "ticket", Bytes: []byte(tk.String())}, {Name: "no-addresses", Bytes: []byte(testTicket(t).String())},
	})
	if back, err := ParseTicket(string(got["ticket"])); err != nil || back.String() != tk.String() || len(back.Addrs) != 2 {
		t.Errorf("%+v, %v", back, err)
	}
}

func FuzzTicket(f *testing.F) {
	f.Add(testTicket(f, "/ip4/192.168.1.20/tcp/4001", "/ip6/fd00::20/tcp/4001").String())
	f.Add(rawTicket(append([]byte{2}, make([]byte, 60)...)))
	f.Fuzz(func(t *testing.T, s string) {
		check := func(s string) {
			tk, err := ParseTicket(s)
			switch {
			case err != nil && !errors.Is(err, ErrTicketMalformed) && !errors.Is(err, ErrTicketVersion):
				t.Fatalf("error of no kind: %v", err)
			case err == nil:
				again, err := ParseTicket(tk.String())
				if err != nil || again.Inviter != tk.Inviter || again.Secret != tk.Secret {
					t.Fatalf("not the same after a round trip: %v", err)
				}
			}
		}
		check(s)
		check(rawTicket([]byte(s))) // gets past the checksum
	})
}
