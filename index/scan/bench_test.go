//go:build unix

package scan

import (
	"context"
	"fmt"
	"iter"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/peerdex/peerdex/index"
)

// BenchmarkScan walks PEERDEX_BENCH_DIR, or a tree of 20,000 files, as a first scan and as one that finds all rows
// known. Where GNU find is installed it runs before each scan: x-find is our best time in units of its best, and
// x-find-cpu the same of the processor time of all cores, which says more on a busy machine.
func BenchmarkScan(b *testing.B) {
	dir := os.Getenv("PEERDEX_BENCH_DIR")
	if dir == "" {
		dir = benchTree(b, 2_000, 10)
	}
	warm := knownRows{}
	entries := benchScan(b, dir, knownRows{}, func(e index.Entry) { warm[e.Parent] = append(warm[e.Parent], e) })
	for _, c := range []struct {
		name  string
		known Known
	}{{"first", knownRows{}}, {"again", warm}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			var find, ours cost
			for b.Loop() {
				b.StopTimer()
				find.lower(findCost(dir))
				before := ownCost(b)
				b.StartTimer()
				benchScan(b, dir, c.known, nil)
				b.StopTimer()
				after := ownCost(b)
				ours.lower(cost{after.wall - before.wall, after.cpu - before.cpu})
				b.StartTimer()
			}
			b.ReportMetric(float64(entries)*float64(b.N)/b.Elapsed().Seconds(), "entries/s")
			if find.wall > 0 {
				b.ReportMetric(ours.wall.Seconds()/find.wall.Seconds(), "x-find")
				b.ReportMetric(ours.cpu.Seconds()/find.cpu.Seconds(), "x-find-cpu")
			}
		})
	}
}

// cost is what a run takes.
type cost struct{ wall, cpu time.Duration }

func (c *cost) lower(o cost) {
	if c.wall == 0 || o.wall < c.wall {
		c.wall = o.wall
	}
	if c.cpu == 0 || o.cpu < c.cpu {
		c.cpu = o.cpu
	}
}

// ownCost is what this process has taken so far.
func ownCost(b *testing.B) cost {
	b.Helper()
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return cost{time.Duration(time.Now().UnixNano()), time.Duration(r.Utime.Nano() + r.Stime.Nano())}
}

// findCost runs GNU find, its output going to the null device. The cost is zero without it.
func findCost(dir string) cost {
	cmd := exec.Command("find", dir, "-printf", `%s %T@ %p\n`)
	begin := time.Now()
	if cmd.Run() != nil {
		return cost{}
	}
	return cost{time.Since(begin), cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()}
}

// knownRows is a store that knows what was put in it, by folder, in the order it was put.
type knownRows map[int64][]index.Entry

func (k knownRows) Children(_ context.Context, parent int64) iter.Seq2[index.Entry, error] {
	return func(yield func(index.Entry, error) bool) {
		for _, e := range k[parent] {
			if !yield(e, nil) {
				return
			}
		}
	}
}

// benchScan scans once and returns how many entries there are. It gives what changed to keep, which may be nil.
func benchScan(b *testing.B, dir string, known Known, keep func(index.Entry)) int64 {
	b.Helper()
	s := New(Config{Root: dir, NextID: 2, Known: known})
	for c, err := range s.Changes(b.Context()) {
		if err != nil {
			b.Fatal(err)
		}
		if keep != nil {
			keep(c.Entry)
		}
	}
	return s.Result().Files + s.Result().Folders
}

func benchTree(b *testing.B, folders, files int) string {
	b.Helper()
	dirs := []string{b.TempDir()}
	for i := 0; len(dirs) < folders; i++ {
		for j := 0; j < 10 && len(dirs) < folders; j++ {
			d := filepath.Join(dirs[i], fmt.Sprintf("folder-%d-%d", j, i))
			if err := os.Mkdir(d, 0o755); err != nil {
				b.Fatal(err)
			}
			dirs = append(dirs, d)
		}
	}
	for i, d := range dirs {
		for j := range files {
			if err := os.WriteFile(filepath.Join(d, fmt.Sprintf("some-file-%d-%d.txt", j, i)), nil, 0o644); err != nil {
				b.Fatal(err)
			}
		}
	}
	return dirs[0]
}
