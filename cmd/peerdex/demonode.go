package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/api/client"
	"github.com/peerdex/peerdex/store"
)

// killAfter is how long a device of the demo may take to end by itself when the demo is interrupted.
const killAfter = 5 * time.Second

// demoNode is one device of the demo: a child process.
type demoNode struct {
	name   string
	dir    string // of its data
	child  *child
	stdin  io.Closer // the child ends when this is closed, also when we are killed
	client *client.Client
}

func (a *app) startDemoNode(ctx context.Context, dir, name string) (*demoNode, error) {
	p, err := findPaths(dir)
	if err != nil {
		return nil, err
	}
	self, err := selfPath()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "serve", "--dir", dir, "--name", name, "--reach", "loopback", "--shutdown-on-stdin")
	cmd.Env = append(os.Environ(), "PEERDEX_REACH=loopback", "PEERDEX_DIR=", "PEERDEX_TICKET=")
	cmd.SysProcAttr = shielded()
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	child, err := start(cmd, p.Log)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), stdin.Close())
	}
	n := &demoNode{name: name, dir: p.Data, child: child, stdin: stdin}
	if n.client, _, err = child.waitReady(ctx, p); err != nil {
		n.kill()
		return nil, err
	}
	return n, nil
}

// ended returns an error when the process has ended by itself.
func (n *demoNode) ended() error {
	select {
	case <-n.child.done:
		return n.child.failure()
	default:
		return nil
	}
}

// stop tells the device to stop and waits until its process has ended well.
func (n *demoNode) stop(ctx context.Context) error {
	if _, err := n.client.Shutdown(ctx); err != nil {
		return err
	}
	limit := time.NewTimer(stopWithin)
	defer limit.Stop()
	select {
	case <-n.child.done:
	case <-limit.C:
		return &api.Error{Code: api.CodeFailed, Title: n.name + " does not end", Detail: "it was told to, " + took(stopWithin) + " ago"}
	case <-ctx.Done():
		return ctx.Err()
	}
	if n.child.err != nil {
		return n.child.failure()
	}
	return nil
}

// kill ends the process, kindly at first, and waits until it has ended. It may have ended before.
func (n *demoNode) kill() {
	_ = n.stdin.Close() // fails only if the child has ended and closed it
	if n.client != nil {
		n.client.Close()
	}
	limit := time.NewTimer(killAfter)
	defer limit.Stop()
	select {
	case <-n.child.done:
	case <-limit.C:
		_ = n.child.cmd.Process.Kill() // fails only if it has just ended
		<-n.child.done
	}
}

// compareStores compares what two stopped devices hold of a location.
func compareStores(ctx context.Context, owner, replica string, ref index.Location) (rows int64, first string, err error) {
	a, err := locationFile(ctx, owner, ref)
	if err != nil {
		return 0, "", err
	}
	b, err := locationFile(ctx, replica, ref)
	if err != nil {
		return 0, "", err
	}
	return store.Diff(ctx, a, b)
}

// verifyStore checks everything that can be checked of a replica on a stopped device, its hash tree against the owner's
// signature above all, and returns the root.
func verifyStore(ctx context.Context, dir string, ref index.Location) (root index.Hash, err error) {
	s, err := store.OpenReadOnly(dir)
	if err != nil {
		return root, fmt.Errorf("open %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := s.CheckLocation(ctx, ref, store.CheckOptions{Deep: true}); err != nil {
		return root, fmt.Errorf("verify the replica: %w", err)
	}
	held, err := s.Held(ctx, ref)
	return held.Head.Root, err
}

// locationFile finds the database of a location in a data folder.
func locationFile(ctx context.Context, dir string, ref index.Location) (path string, err error) {
	s, err := store.OpenReadOnly(dir)
	if err != nil {
		return "", fmt.Errorf("open %s: %w", dir, err)
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return s.LocationFile(ctx, ref)
}
