package netns

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// syncWithin is how long a daemon may take to start, or a few files to arrive.
const syncWithin = 20 * time.Second

// build compiles the command and returns its path.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "peerdex")
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/peerdex")
	cmd.Dir = "../.."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return bin
}

// node is the command with a data folder of its own on a device.
type node struct {
	device *Device
	bin    string
	env    []string
	dir    string // data
	files  string // what it indexes
}

func newNode(t *testing.T, d *Device, bin string) *node {
	t.Helper()
	home := t.TempDir()
	n := &node{device: d, bin: bin, dir: filepath.Join(home, "peerdex"), files: filepath.Join(home, "files")}
	n.env = []string{"HOME=" + home, "PEERDEX_REACH=lan", "PEERDEX_DIR="}
	if err := os.Mkdir(n.files, 0o700); err != nil {
		t.Fatal(err)
	}
	return n
}

// run runs a command to its end and returns its answer.
func (n *node) run(t *testing.T, input string, args ...string) string {
	t.Helper()
	return n.device.Run(t, n.env, input, n.bin, append(args, "--dir", n.dir)...)
}

// serve starts the daemon and waits until it answers.
func (n *node) serve(t *testing.T, name string) *Process {
	t.Helper()
	p := n.device.Start(t, n.env, n.bin, "serve", "--json", "--name", name, "--dir", n.dir)
	p.Wait(t, syncWithin, "start of the daemon", holds(`"kind":"ready"`))
	return p
}

// addFile puts a file into the folder that the node indexes.
func (n *node) addFile(t *testing.T, name string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(n.files, name), []byte(name), 0o600); err != nil {
		t.Fatal(err)
	}
}

// waitFor searches on n until a file is found.
func (n *node) waitFor(t *testing.T, name string) {
	t.Helper()
	deadline := time.Now().Add(syncWithin)
	for {
		cmd := n.device.command(n.env, n.bin, "find", name, "--dir", n.dir)
		out, err := cmd.CombinedOutput()
		if err == nil && strings.Contains(string(out), name) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s is not found within %v: %v\n%s", name, syncWithin, err, out)
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// pairWith lets other join n's library.
func (n *node) pairWith(t *testing.T, other *node) {
	t.Helper()
	inviting := n.device.Start(t, n.env, n.bin, "invite", "--json", "--dir", n.dir)
	out := inviting.Wait(t, syncWithin, "ticket", holds(`"ticket":`))
	var ticket string
	for line := range strings.Lines(out) {
		var answer struct{ Data struct{ Ticket string } }
		if json.Unmarshal([]byte(line), &answer) == nil && answer.Data.Ticket != "" {
			ticket = answer.Data.Ticket
		}
	}
	other.run(t, ticket+"\n", "join", "-")
	inviting.Wait(t, syncWithin, "word that the other joined", holds(`"joined":true`))
}

// TestDaemonsSyncByMDNS pairs two daemons, stops them, moves both to addresses that neither knows of the other, and
// starts them again: now only mDNS can bring them together.
func TestDaemonsSyncByMDNS(t *testing.T) {
	Require(t)
	t.Parallel()
	bin := build(t)
	_, da, db := pair(t)
	a, b := newNode(t, da, bin), newNode(t, db, bin)
	a.addFile(t, "before-pairing.txt")
	pa, pb := a.serve(t, "nas"), b.serve(t, "laptop")
	a.run(t, "", "add", a.files)
	a.pairWith(t, b)
	b.waitFor(t, "before-pairing.txt")

	pa.Stop(t)
	pb.Stop(t)
	for d, addrs := range map[*Device][2]string{da: {"192.168.77.1/24", "192.168.77.11/24"}, db: {"192.168.77.2/24", "192.168.77.12/24"}} {
		d.IP(t, "addr", "del", addrs[0], "dev", "eth0")
		d.IP(t, "addr", "add", addrs[1], "dev", "eth0")
		d.IP(t, "-6", "addr", "flush", "dev", "eth0") // link-local addresses would stay the same
	}
	a.addFile(t, "after-moving.txt")
	pa = a.serve(t, "nas")
	b.serve(t, "laptop")
	b.waitFor(t, "after-moving.txt")

	pa.Stop(t)
	b.waitFor(t, "before-pairing.txt") // the other is off now, and nothing is forgotten
	b.waitFor(t, "after-moving.txt")
}
