package store

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// killsPerWorld is after how many kills a world begins anew, so that it stays small.
const killsPerWorld = 10

// TestKill kills a process that commits and pulls at random, at random moments, again and again on the same data, and
// verifies after each what TestEveryStep does.
func TestKill(t *testing.T) {
	kills := 300
	if testing.Short() {
		kills = 20
	}
	if long() {
		kills = 5000
	}
	if n, err := strconv.Atoi(os.Getenv(envKills)); err == nil {
		kills = n
	}
	begun := time.Now()
	var done, hot, commits, pulls atomic.Int64
	root := scratch(t)
	var wg sync.WaitGroup
	for worker := range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for round := 0; done.Load() < int64(kills); round++ {
				dir := filepath.Join(root, fmt.Sprintf("%d-%d", worker, round))
				err := killRound(dir, func(k *known, wal bool) bool {
					if commits.Add(int64(k.commits)); wal {
						hot.Add(1)
					}
					pulls.Add(int64(k.pulls))
					return done.Add(1) < int64(kills)
				})
				if err = errors.Join(err, os.RemoveAll(dir)); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if commits.Load() == 0 || pulls.Load() == 0 || hot.Load() == 0 {
		t.Error("nothing was under way when the processes were killed")
	}
	t.Logf("%d kills, %d with a journal, %d commits, %d pulls, %.1fs",
		done.Load(), hot.Load(), commits.Load(), pulls.Load(), time.Since(begun).Seconds())
}

// killRound kills processes on one world, one after the other, until next says that it is enough.
func killRound(dir string, next func(k *known, wal bool) bool) error {
	w, err := newWorld(dir)
	if err != nil {
		return err
	}
	var k known
	for i := range killsPerWorld {
		out, err := w.kill(time.Duration(rand.Int64N(int64(80 * time.Millisecond))))
		if err != nil {
			return err
		}
		k.commits, k.pulls = 0, 0
		if err := k.read(out); err != nil {
			return err
		}
		wals, _ := filepath.Glob(filepath.Join(w.dir, "*", "locations", "*-wal"))
		steps := []func() error{w.open, func() error { return w.verify(&k, false) }}
		if i%2 == 1 {
			steps = append(steps, func() error { return w.pull(intake, 9) }, func() error { return w.verify(&k, false) })
		}
		w.out = &bytes.Buffer{} // what this process makes known
		for _, f := range append(steps, w.forget, w.close) {
			if err := f(); err != nil {
				return fmt.Errorf("after kill %d: %w", i, err)
			}
		}
		if err := k.read(w.out.(io.Reader)); err != nil {
			return err
		}
		if !next(&k, len(wals) > 0) {
			break
		}
	}
	return nil
}

// start runs a child that changes the world until it is killed. Its lines go to out.
func (w *world) start(out io.Writer) (*exec.Cmd, *bytes.Buffer, error) {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envChild+"=churn", envDir+"="+w.dir, envLog+"="+w.log)
	stderr := &bytes.Buffer{}
	cmd.Stdout, cmd.Stderr = out, stderr
	return cmd, stderr, cmd.Start()
}

// kill runs a child, kills it after a while from its first sign of life, and returns what it made known.
func (w *world) kill(after time.Duration) (io.Reader, error) {
	out := &lines{first: make(chan struct{})}
	cmd, stderr, err := w.start(out)
	if err != nil {
		return nil, err
	}
	if rand.IntN(4) > 0 { // else while it starts
		select {
		case <-out.first:
		case <-time.After(10 * time.Second):
		}
	}
	time.Sleep(after)
	err = errors.Join(cmd.Process.Kill(), killed(cmd.Wait()))
	if err != nil {
		return nil, fmt.Errorf("child: %w: %s", err, stderr)
	}
	return out.take(), nil
}

// killed returns nil if a process ended by being killed.
func killed(err error) error {
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		if st, ok := exit.Sys().(syscall.WaitStatus); !ok || st.Signal() == syscall.SIGKILL {
			return nil
		}
	}
	return fmt.Errorf("ended by itself: %w", err)
}

// lines collects what a child makes known, and tells when it begins to.
type lines struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	once  sync.Once
	first chan struct{}
}

func (b *lines) Write(p []byte) (int, error) {
	b.once.Do(func() { close(b.first) })
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// take returns what came since the last call.
func (b *lines) take() io.Reader {
	b.mu.Lock()
	defer b.mu.Unlock()
	got := bytes.NewBuffer(bytes.Clone(b.buf.Bytes()))
	b.buf.Reset()
	return got
}
