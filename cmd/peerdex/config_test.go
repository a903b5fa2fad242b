package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/peerdex/peerdex/node/api"
)

const fullConfig = `name = "nas"
reach = "loopback"
listen = ["/ip4/127.0.0.1/tcp/4001"]
peers = ["/dns4/a/tcp/1/p2p/x"]
scan_every = "1h30m"
check_every = "72h"

[mdns]
enabled = false
interfaces = ["eth0"]
`

// testApp is an app with its own environment, whose words go nowhere.
func testApp(dir string, env map[string]string) *app {
	return &app{
		getenv: func(k string) string { return env[k] }, now: time.Now, flags: globalFlags{dir: dir, color: "never"},
		out: &strings.Builder{}, err: &strings.Builder{},
	}
}

func TestSettings(t *testing.T) {
	for _, tc := range []struct {
		name string
		file string
		env  map[string]string
		f    daemonFlags
		want settings
	}{
		{"defaults", "", nil, daemonFlags{}, settings{reach: "lan", mdns: true}},
		{"file", fullConfig, nil, daemonFlags{}, settings{
			name: "nas", reach: "loopback", listen: []string{"/ip4/127.0.0.1/tcp/4001"}, peers: []string{"/dns4/a/tcp/1/p2p/x"},
			scanEvery: 90 * time.Minute, checkEvery: 72 * time.Hour, mdnsInterfaces: []string{"eth0"},
		}},
		{"environment before file", "reach = \"lan\"", map[string]string{"PEERDEX_REACH": "loopback"}, daemonFlags{}, settings{reach: "loopback", mdns: true}},
		{"flags before environment", fullConfig, map[string]string{"PEERDEX_REACH": "loopback"},
			daemonFlags{name: "box", reach: "lan", listen: []string{"/l"}, peers: []string{"/p"}}, settings{
				name: "box", reach: "lan", listen: []string{"/l"}, peers: []string{"/dns4/a/tcp/1/p2p/x", "/p"},
				scanEvery: 90 * time.Minute, checkEvery: 72 * time.Hour, mdnsInterfaces: []string{"eth0"},
			}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(tc.file), 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := testApp(dir, tc.env).settings(tc.f)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(tc.want, got, cmp.AllowUnexported(settings{}), cmpopts.IgnoreFields(settings{}, "paths"), cmpopts.EquateEmpty()); d != "" {
				t.Errorf("(-want +got):\n%s", d)
			}
		})
	}
}

func TestBadConfig(t *testing.T) {
	for _, tc := range []struct{ name, file, title string }{
		{"unknown key", "name = \"x\"\n# c\nnmae = \"y\"\n", "line 3: unknown key nmae"},
		{"unknown key in a table", "[mdns]\nenabled = true\nport = 1\n", "line 3: unknown key mdns.port"},
		{"unknown dotted key", "name = \"x\"\nmdns . port = 1\n", "line 2: unknown key mdns.port"},
		{"unknown table", "name = \"x\"\n\n[dns]\na = 1\n", "line 3: unknown key dns"},
		{"wrong type", "\nname = 3\n", "line 2 (last key \"name\")"},
		{"broken", "name = \"x\"\nreach =\n", "line 2, can't be read"},
		{"bad duration", "scan_every = \"often\"\n", "can't be read"},
		{"negative duration", "scan_every = \"-1h\"\n", "can't be read"},
		{"bad reach", "reach = \"moon\"\n", "reach moon is not known"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(tc.file), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := testApp(dir, nil).settings(daemonFlags{})
			e := api.AsError(err)
			if e == nil || e.Code != api.CodeUsage || !strings.Contains(e.Title+" "+e.Detail, tc.title) || e.Detail == "" {
				t.Errorf("%+v, want an error of kind usage with %q", e, tc.title)
			}
		})
	}
}

func TestPaths(t *testing.T) {
	short := t.TempDir()
	p, err := findPaths(short)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(short, "run", "peerdex.sock"); p.Socket != want || p.Data != filepath.Join(short, "data") {
		t.Errorf("%+v, want the socket at %s", p, want)
	}
	long := filepath.Join(short, strings.Repeat("x", maxSocketPath))
	p, err = findPaths(long)
	if err != nil {
		t.Fatal(err)
	}
	if len(p.Socket) > maxSocketPath || strings.HasPrefix(p.Socket, long) {
		t.Errorf("socket %s of %d bytes", p.Socket, len(p.Socket))
	}
	if again, err := findPaths(long); err != nil || again.Socket != p.Socket {
		t.Errorf("another socket the second time: %s, %v", again.Socket, err)
	}
	if other, err := findPaths(long + "y"); err != nil || other.Socket == p.Socket {
		t.Errorf("the same socket for other data: %s, %v", other.Socket, err)
	}
}

func TestMakePrivate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "run")
	if err := makePrivate(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := makePrivate(dir); err != nil {
		t.Fatal(err)
	}
	if fi, err := os.Stat(dir); err != nil || fi.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", fi.Mode(), err)
	}
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := makePrivate(link); err == nil {
		t.Error("a symlink passed for a folder of ours")
	}
}
