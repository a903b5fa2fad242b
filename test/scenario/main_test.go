package scenario

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"testing"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/store"
	"github.com/peerdex/peerdex/test/bench/entryset"
	"github.com/peerdex/peerdex/test/harness"
	"github.com/peerdex/peerdex/test/harness/cluster"
)

// serveArg makes the test's own program a device, so that it can be killed.
const serveArg = "serve-a-device"

func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == serveArg {
		if err := serve(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(harness.Main(m))
}

// serve runs a device until its input ends.
func serve(dir string) error {
	n, err := node.Open(node.Config{Dir: dir, Reach: "loopback", ScanEvery: -1})
	if err != nil {
		return err
	}
	if err := n.Start(context.Background()); err != nil {
		return errors.Join(err, n.Close())
	}
	fmt.Println("ready")
	_, err = io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, n.Close())
}

// elsewhere runs a stopped device in a process of its own, and returns what kills it there.
func elsewhere(t *testing.T, d *cluster.Device) (pid int, kill func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, serveArg, d.Config.Dir)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	kill = func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			_ = in.Close()
		}
	}
	t.Cleanup(kill)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return cmd.Process.Pid, kill
}

// long skips tests that take minutes.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("PEERDEX_LONG") != "1" {
		t.Skip("takes minutes; run with PEERDEX_LONG=1")
	}
}

// strategy is a way in which a device gets what others have.
type strategy struct {
	name      string
	configure func(*node.Config) // of the receiver
}

func strategies() []strategy {
	return []strategy{
		{name: "auto"},
		{name: "batch", configure: func(c *node.Config) { c.Strategy = "batch" }},
		{name: "compact", configure: func(c *node.Config) { c.Strategy = "compact" }},
		{name: "native", configure: func(c *node.Config) { c.Strategy = "native" }},
	}
}

// entries are changes that make n entries below the root.
func entries(t testing.TB, n int64) iter.Seq2[index.Change, error] {
	t.Helper()
	if n == 0 {
		return cluster.Changes()
	}
	set, err := entryset.Generate(n, 1)
	if err != nil {
		t.Fatal(err)
	}
	return entryset.Puts(set.Entries())
}

// edit commits n changes scattered over a location.
func edit(t testing.TB, owner *cluster.Device, l index.Location, n int, seed uint64) {
	t.Helper()
	owner.Put(l, cluster.Changes(edits(t, owner, l, n, seed)...))
}

// edits are n changes scattered over a location.
func edits(t testing.TB, owner *cluster.Device, l index.Location, n int, seed uint64) (changes []index.Change) {
	t.Helper()
	owner.Read(func(s *store.Store) error {
		get := func(id int64) (index.Entry, bool, error) {
			e, err := s.Entry(t.Context(), l, id)
			if errors.Is(err, store.ErrNotFound) {
				return e, false, nil
			}
			return e, err == nil, err
		}
		for c, err := range entryset.Edits(seed, n, owner.Head(l).NextID, get) {
			if err != nil {
				return err
			}
			changes = append(changes, c)
		}
		return nil
	})
	return changes
}
