package store

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// TestEveryStep ends the process at every step of a workload that passes all ways by which the store changes, and
// lets every step that can fail fail, by a full disk and by an error of the disk. After each the store is whole, the
// owner has what it made known, the replica stands at a state of its owner, and the work can be finished. Which of the
// two faults a step meets changes from step to step; the long run has both at each, and finishes by all of the workload.
func TestEveryStep(t *testing.T) {
	begun := time.Now()
	steps := listSteps(t)
	passed := map[string]bool{}
	var cases []crashCase
	for i, s := range steps {
		if passed[s.name] = true; testing.Short() && i%7 != 0 {
			continue
		}
		cases = append(cases, crashCase{n: i + 1})
		if s.mayFail && (long() || i%2 == 0) {
			cases = append(cases, crashCase{n: i + 1, fault: syscall.ENOSPC})
		}
		if s.mayFail && (long() || i%2 == 1) {
			cases = append(cases, crashCase{n: i + 1, fault: syscall.EIO})
		}
	}
	for _, name := range stepNames(t) {
		if !passed[name] {
			t.Errorf("the workload never passes step %q", name)
		}
	}
	root := scratch(t)
	var violations, next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for {
				i := int(next.Add(1) - 1)
				if i >= len(cases) {
					return
				}
				c := cases[i]
				dir := filepath.Join(root, fmt.Sprint(i))
				if err := c.run(dir); err != nil {
					violations.Add(1)
					t.Errorf("%v at step %d, %q: %v", c, c.n, steps[c.n-1].name, err)
				}
				if err := os.RemoveAll(dir); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	t.Logf("%d steps of %d names, %d cases, %d violations, %.1fs",
		len(steps), len(passed), len(cases), violations.Load(), time.Since(begun).Seconds())
}

// crashCase interrupts the workload at its n-th step: by the end of the process, or by a fault of the disk.
type crashCase struct {
	n     int
	fault error // nil: the process ends
}

func (c crashCase) String() string {
	if c.fault == nil {
		return "exit"
	}
	return c.fault.Error()
}

func (c crashCase) run(dir string) error {
	w, err := newWorld(dir)
	if err != nil {
		return err
	}
	if c.fault == nil {
		return exitAt(w, c.n)
	}
	return failAt(w, c.n, c.fault)
}

type passedStep struct {
	name    string
	mayFail bool
}

// listSteps runs the workload without a fault.
func listSteps(t *testing.T) []passedStep {
	t.Helper()
	w, err := newWorld(scratch(t))
	if err != nil {
		t.Fatal(err)
	}
	var list []passedStep
	w.steps = &steps{hook: func(name string, mayFail bool) error {
		list = append(list, passedStep{name, mayFail})
		return nil
	}}
	if err := errors.Join(w.script(), w.verifyFinished(), w.close()); err != nil {
		t.Fatal(err)
	}
	return list
}

// stepNames reads the names of all steps from the source.
func stepNames(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, f := range files {
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range regexp.MustCompile(`\.(?:at|passed)\("([^"]+)"\)`).FindAllSubmatch(b, -1) {
			found[string(m[1])] = true
		}
	}
	return sortedKeys(found)
}

// exitAt runs the workload in a child that ends at its n-th step, and then finishes it.
func exitAt(w *world, n int) error {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), envChild+"=script", envDir+"="+w.dir, envLog+"="+w.log, envStep+"="+fmt.Sprint(n))
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != crashed {
		return fmt.Errorf("child: %w: %s", err, stderr.String())
	}
	var k known
	if err := k.read(bytes.NewReader(out)); err != nil {
		return err
	}
	if err := w.open(); err != nil {
		return err
	}
	return errors.Join(w.recover(&k), w.verifyFinished(), w.close())
}

// recover verifies the stores after a fault, brings the replica up to date, and finishes the workload.
func (w *world) recover(k *known) error {
	if err := w.verify(k, false); err != nil {
		return err
	}
	rest := func() error { return w.commit(put("last", 1), del("d1")) }
	if long() {
		rest = w.script
	}
	upToDate := func() error { return w.pull(intake, 5) }
	for _, f := range []func() error{upToDate, w.leftover, rest, upToDate} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}

// failAt lets the n-th step of the workload fail. With a full disk the same stores go on; after an error of the disk
// they are opened anew.
func failAt(w *world, n int, fault error) error {
	at := 0
	w.steps = &steps{hook: func(name string, _ bool) error {
		if at++; at == n {
			return fmt.Errorf("injected at %q: %w", name, fault)
		}
		return nil
	}}
	if err := w.script(); !errors.Is(err, fault) {
		return errors.Join(fmt.Errorf("the error was lost: %w", err), w.close())
	}
	var k known
	if err := k.read(w.out.(*bytes.Buffer)); err != nil {
		return err
	}
	if errors.Is(fault, syscall.EIO) {
		if err := w.close(); err != nil {
			return err
		}
	}
	// What only a start can clear up is gone after the next one.
	for _, f := range []func() error{w.open, func() error { return w.recover(&k) }, w.close, w.open, w.verifyFinished, w.close} {
		if err := f(); err != nil {
			return err
		}
	}
	return nil
}
