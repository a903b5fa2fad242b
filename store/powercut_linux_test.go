package store

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestPowerCut takes the power from a process that commits and pulls on an ext4 file system of its own: the process is
// stopped, what has reached the disk is copied, and the copy is mounted and verified. What was still in the memory of
// the machine is lost to it. The owner must have every seq that it made known. A replica may be at an older head, but
// at one.
func TestPowerCut(t *testing.T) {
	cuts := 10
	if testing.Short() {
		cuts = 2
	}
	if long() {
		cuts = 200
	}
	begun := time.Now()
	dir := scratch(t)
	w, err := newWorld(dir)
	if err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(dir, "image")
	if err := makeImage(image); err != nil {
		t.Skip("no file system for it: ", err)
	}
	unmount, err := mount(image, w.dir)
	if err != nil {
		t.Skip("no file system for it: ", err)
	}
	defer unmount(t)
	out := &lines{first: make(chan struct{})}
	child, stderr, err := w.start(out)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(child.Process.Kill(), child.Process.Signal(syscall.SIGCONT)); err != nil {
			t.Log(err)
		}
		if err := killed(child.Wait()); err != nil {
			t.Errorf("child: %v: %s", err, stderr)
		}
	}()
	<-out.first
	var k known
	commits, pulls, fell := 0, 0, 0
	for range cuts {
		time.Sleep(time.Duration(20+rand.IntN(200)) * time.Millisecond)
		if err := child.Process.Signal(syscall.SIGSTOP); err != nil {
			t.Fatal(err, stderr)
		}
		time.Sleep(20 * time.Millisecond) // what it made known is on its way to us
		k.commits, k.pulls = 0, 0
		if err := k.read(out.take()); err != nil {
			t.Fatal(err)
		}
		commits, pulls = commits+k.commits, pulls+k.pulls
		older, err := w.cut(t, image, &k)
		if err != nil {
			t.Fatal(err)
		}
		if older {
			fell++
		}
		if err := child.Process.Signal(syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%d cuts, %d commits, %d pulls, %d times the replica was at an older head, %.1fs",
		cuts, commits, pulls, fell, time.Since(begun).Seconds())
}

// cut verifies a copy of the disk, whether the replica is at an older head than it was, and brings it up to date.
func (w *world) cut(t *testing.T, image string, k *known) (older bool, err error) {
	// A file of its own for each: a loop device may outlive its mount, and would be used again for the same file, with what
	// it remembers of the cut before.
	f, err := os.CreateTemp(filepath.Dir(image), "cut-*")
	if err != nil {
		return false, err
	}
	snapshot, dir := f.Name(), w.dir+".cut"
	defer func() { err = errors.Join(err, os.Remove(snapshot)) }()
	if err := errors.Join(f.Close(), copyStill(image, snapshot)); err != nil {
		return false, err
	}
	unmount, err := mount(snapshot, dir)
	if err != nil {
		return false, err
	}
	defer unmount(t)
	after := &world{dir: dir, log: w.log, out: io.Discard, seqs: w.seqs, read: w.read}
	if err := after.open(); err != nil {
		return false, err
	}
	older, err = after.verifyCut(k)
	return older, errors.Join(err, after.close())
}

// copyStill copies an image at a moment at which the kernel writes nothing to it. It may be at it long after the writer was
// stopped, and a copy made meanwhile is no state that the disk ever was in.
func copyStill(image, to string) error {
	const still = 50 * time.Millisecond // far above the step of the times of files
	for range 200 {
		before, err := os.Stat(image)
		if err != nil {
			return err
		}
		if age := time.Since(before.ModTime()); age < still {
			time.Sleep(still - max(age, 0))
			continue
		}
		if err := command("cp", "--sparse=always", image, to); err != nil {
			return err
		}
		after, err := os.Stat(image)
		if err != nil {
			return err
		}
		if after.ModTime().Equal(before.ModTime()) {
			return nil
		}
	}
	return errors.New("the image is written to without end")
}

func (w *world) verifyCut(k *known) (older bool, err error) {
	if err := w.verify(k, true); err != nil {
		return false, err
	}
	st, err := readState(w.replica, w.l)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return false, err
	}
	return k.replica != 0 && st.head.Seq < k.replica, errors.Join(w.forgetBelow(st.head.Seq), w.pull(intake, 20))
}

// forgetBelow deletes the log of states to which no replica can go back any more.
func (w *world) forgetBelow(seq int64) error {
	files, err := os.ReadDir(w.log)
	for _, f := range files {
		var counter, random uint64
		var at int64
		if n, _ := fmt.Sscanf(f.Name(), "%d.%d.%d", &counter, &random, &at); n == 3 && at < seq && !strings.HasSuffix(f.Name(), ".tmp") {
			err = errors.Join(err, os.Remove(filepath.Join(w.log, f.Name())))
		}
	}
	return err
}

// makeImage makes a file with an ext4 file system in it.
func makeImage(path string) error {
	if os.Geteuid() != 0 {
		return errors.New("it needs root")
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Truncate(96<<20), f.Close()); err != nil {
		return err
	}
	return command("mkfs.ext4", "-q", "-F", path)
}

// mount mounts an image; the function undoes it.
func mount(image, dir string) (func(*testing.T), error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := command("mount", "-o", "loop", image, dir); err != nil {
		return nil, err
	}
	return func(t *testing.T) {
		if err := command("umount", dir); err != nil {
			t.Error(err)
		}
	}, nil
}

func command(name string, args ...string) error {
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(string(out)))
	}
	return nil
}
