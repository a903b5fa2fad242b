package netns

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

const namePrefix = "peerdex-"

// Require skips the test if network namespaces can't be made here, and says why; if the environment has
// PEERDEX_TEST_NETNS=required, it fails the test instead. With -short the test is always skipped.
func Require(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("tests in network namespaces take seconds; run without -short")
	}
	reason := ""
	if _, err := exec.LookPath("ip"); err != nil {
		reason = "the ip command is missing (Debian package iproute2)"
	} else if os.Geteuid() != 0 {
		reason = "making network namespaces needs root"
	} else if out, err := exec.Command("ip", "netns", "add", newName(t)).CombinedOutput(); err != nil {
		reason = fmt.Sprintf("network namespaces can't be made here: %v: %s", err, bytes.TrimSpace(out))
	}
	switch {
	case reason == "":
		removeOld(t)
	case os.Getenv("PEERDEX_TEST_NETNS") == "required":
		t.Fatal(reason)
	default:
		t.Skip(reason)
	}
}

// newName returns a name for a namespace, and removes the namespace at the end of the test.
func newName(t testing.TB) string {
	name := fmt.Sprintf("%s%d-%x", namePrefix, os.Getpid(), time.Now().UnixNano())
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	return name
}

// removeOld removes namespaces of test processes that are no more.
func removeOld(t testing.TB) {
	t.Helper()
	list, _ := filepath.Glob("/run/netns/" + namePrefix + "*")
	for _, path := range list {
		name := filepath.Base(path)
		pid, _, _ := strings.Cut(strings.TrimPrefix(name, namePrefix), "-")
		n, err := strconv.Atoi(pid)
		if err == nil && errors.Is(syscall.Kill(n, 0), syscall.ESRCH) {
			t.Logf("removing %s, left by a test that was killed", name)
			_ = exec.Command("ip", "netns", "del", name).Run()
		}
	}
}

// run runs a command and fails the test if it fails.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

// LAN is a local network: a bridge in a namespace of its own.
type LAN struct {
	ns    string
	ports atomic.Int64
}

// NewLAN makes a local network that lasts until the end of the test.
func NewLAN(t testing.TB) *LAN {
	t.Helper()
	l := &LAN{ns: newName(t)}
	run(t, "ip", "netns", "add", l.ns)
	run(t, "ip", "-n", l.ns, "link", "add", "br0", "type", "bridge")
	run(t, "ip", "-n", l.ns, "link", "set", "br0", "up")
	return l
}

// Device is a network namespace with a loopback interface.
type Device struct {
	ns string
}

// NewDevice makes a device without a network that lasts until the end of the test.
func NewDevice(t testing.TB) *Device {
	t.Helper()
	d := &Device{ns: newName(t)}
	run(t, "ip", "netns", "add", d.ns)
	d.IP(t, "link", "set", "lo", "up")
	return d
}

// IP runs the ip command on the device.
func (d *Device) IP(t testing.TB, args ...string) {
	t.Helper()
	run(t, "ip", append([]string{"-n", d.ns}, args...)...)
}

// Attach gives the device an interface on a local network, with addresses like 192.168.77.1/24.
func (d *Device) Attach(t testing.TB, l *LAN, iface string, addrs ...string) {
	t.Helper()
	port := fmt.Sprintf("port%d", l.ports.Add(1))
	run(t, "ip", "-n", l.ns, "link", "add", port, "type", "veth", "peer", "name", iface, "netns", d.ns)
	run(t, "ip", "-n", l.ns, "link", "set", port, "master", "br0", "up")
	for _, a := range addrs {
		d.IP(t, "addr", "add", a, "dev", iface)
	}
	d.IP(t, "link", "set", iface, "up")
}

// Run runs a program on the device to its end and returns what it wrote to stdout; it fails the test if the program
// fails. input is its stdin.
func (d *Device) Run(t testing.TB, env []string, input, name string, args ...string) string {
	t.Helper()
	cmd := d.command(env, name, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, strings.Join(args, " "), err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

func (d *Device) command(env []string, name string, args ...string) *exec.Cmd {
	cmd := exec.Command("ip", append([]string{"netns", "exec", d.ns, name}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	// ip becomes the program by exec, so these are about the program itself.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return cmd
}

// Process is a program that runs on a device.
type Process struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	ended chan struct{}
	err   error // of the program, once ended is closed

	mu   sync.Mutex
	out  bytes.Buffer // stdout and stderr
	news chan struct{}
}

// Write takes the program's output.
func (p *Process) Write(b []byte) (int, error) {
	p.mu.Lock()
	p.out.Write(b)
	p.mu.Unlock()
	select {
	case p.news <- struct{}{}:
	default:
	}
	return len(b), nil
}

// Output returns what the program has written so far.
func (p *Process) Output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.out.String()
}

// Start starts a program on the device. Its stdin stays open until [Process.Stop], which the end of the test calls.
// If the test failed, what the program wrote is shown.
func (d *Device) Start(t testing.TB, env []string, name string, args ...string) *Process {
	t.Helper()
	p := &Process{cmd: d.command(env, name, args...), ended: make(chan struct{}), news: make(chan struct{}, 1)}
	p.cmd.Stdout, p.cmd.Stderr = p, p
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		p.Stop(t)
		if t.Failed() {
			t.Logf("%s %s wrote:\n%s", filepath.Base(name), strings.Join(args, " "), p.Output())
		}
	})
	return p
}

// Say writes a line to the program's stdin.
func (p *Process) Say(t testing.TB, line string) {
	t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		t.Fatal(err)
	}
}

// Stop closes the program's stdin, sends SIGTERM, and waits for its end; after 10 s it kills it and fails the test.
func (p *Process) Stop(t testing.TB) {
	t.Helper()
	select {
	case <-p.ended:
		return
	default:
	}
	_ = p.stdin.Close()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(10 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
		t.Errorf("%v did not end within 10 s of SIGTERM", p.cmd.Args)
	}
}

// Wait waits until done says that the output is as wanted, and returns the output. It fails the test, naming what,
// if that takes longer than limit or the program ends before.
func (p *Process) Wait(t testing.TB, limit time.Duration, what string, done func(output string) bool) string {
	t.Helper()
	timeout := time.After(limit)
	for {
		if out := p.Output(); done(out) {
			return out
		}
		select {
		case <-p.news:
		case <-p.ended:
			if out := p.Output(); done(out) {
				return out
			}
			t.Fatalf("no %s: the program ended: %v", what, p.err)
		case <-timeout:
			t.Fatalf("no %s within %v", what, limit)
		}
	}
}
