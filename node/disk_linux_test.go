package node_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/store"
)

// TestFullDisk fills a real small disk: the scan that doesn't fit says so, what was indexed before is still there,
// the node lives, and goes on when there is room again.
func TestFullDisk(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=3m"); err != nil {
		t.Skipf("mounting a small disk needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	d := &device{t: t, cfg: node.Config{Dir: filepath.Join(disk, "data"), DeviceName: "nas", Reach: "loopback"}}
	d.start()
	t.Cleanup(func() { d.stop(); d.check() })
	d.add(tree(t, "small/kept.txt"))

	var names []string
	for i := range 30_000 {
		names = append(names, fmt.Sprintf("d%03d/%s-%d", i/100, strings.Repeat("long name ", 8), i))
	}
	big, err := d.AddLocation(t.Context(), node.AddRequest{Path: tree(t, names...), Name: "big"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.Scan(t.Context(), node.ScanRequest{Location: "big"})
	e := &node.Error{}
	if !errors.Is(err, store.ErrDiskFull) || !errors.As(err, &e) || e.Code != api.CodeFailed || e.Hint == "" {
		t.Fatalf("scan on a full disk: %v", err)
	}
	if got := d.find("kept.txt"); len(got) != 1 {
		t.Errorf("what was indexed before: %q", got)
	}
	if s, err := d.Status(t.Context()); err != nil || !s.Running || !strings.Contains(strings.Join(s.Notes, "\n"), "big: the last scan failed: the disk is full") {
		t.Errorf("status on a full disk: %q, %v", s.Notes, err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Scan(t.Context(), node.ScanRequest{Location: big.Name}); err != nil {
		t.Fatalf("with room again: %v", err)
	}
	if s, err := d.Status(t.Context()); err != nil || len(s.Notes) != 0 {
		t.Errorf("status with room again: %q, %v", s.Notes, err)
	}
	if got := d.find("type:f"); len(got) != len(names)+1 {
		t.Errorf("%d files found, want %d", len(got), len(names)+1)
	}
}

// TestSnapshotOnAFullDisk syncs to a real small disk: nothing is fetched for which there is no room, and nothing is left.
func TestSnapshotOnAFullDisk(t *testing.T) {
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=4m"); err != nil {
		t.Skipf("mounting a small disk needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	nas := newDevice(t, "nas")
	l := nas.filled("big", 20_000)
	d := &device{t: t, cfg: node.Config{Dir: filepath.Join(disk, "data"), DeviceName: "laptop", Reach: "loopback"}}
	d.start()
	t.Cleanup(func() { d.stop(); d.check() })
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	events := d.Events(ctx)
	nas.pairWith(d)
	for e, err := range events {
		if err != nil {
			t.Fatal(err)
		}
		if p := e.Progress; p != nil && p.Finished {
			if !strings.Contains(p.Error, store.ErrDiskFull.Error()) || p.DoneBytes != 0 {
				t.Errorf("%+v", p)
			}
			break
		}
	}
	if left, err := filepath.Glob(filepath.Join(d.cfg.Dir, "staging", "*")); err != nil || len(left) != 0 {
		t.Errorf("left in staging: %q, %v", left, err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=64m"); err != nil {
		t.Fatal(err)
	}
	d.holds(nas, l)
	d.same(nas, l)
}
