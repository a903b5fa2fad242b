package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// cost is what a work took: the time that passed, and that of all processors for this process.
type cost struct{ wall, cpu time.Duration }

// mark is a moment from which a cost is counted.
type mark struct {
	at  time.Time
	cpu time.Duration
}

func start() mark { return mark{time.Now(), cpuTime()} }

func (m mark) cost() cost { return cost{time.Since(m.at), cpuTime() - m.cpu} }

// timing is what one work took, run by run.
type timing []cost

// median, shortest and longest are seconds, 0 without a run.
func (t timing) median() float64 { return t.sorted(cost.seconds, len(t)/2) }

func (t timing) shortest() float64 { return t.sorted(cost.seconds, 0) }

func (t timing) longest() float64 { return t.sorted(cost.seconds, len(t)-1) }

// medianCPU is the median of processor time in seconds, 0 where it is not known.
func (t timing) medianCPU() float64 { return t.sorted(cost.cpuSeconds, len(t)/2) }

func (c cost) seconds() float64 { return c.wall.Seconds() }

func (c cost) cpuSeconds() float64 { return c.cpu.Seconds() }

func (t timing) sorted(by func(cost) float64, i int) float64 {
	if len(t) == 0 {
		return 0
	}
	var v []float64
	for _, c := range t {
		v = append(v, by(c))
	}
	slices.Sort(v)
	return v[i]
}

// settle begins a measurement with nothing left to be collected of the ones before.
func settle() { runtime.GC() }

// peakRSS is the most memory that this process held since it began, or since resetPeak, in bytes; 0 when not known.
func peakRSS() (int64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if os.IsNotExist(err) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if v, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kb, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(v), " kB"), 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("no VmHWM in /proc/self/status")
}

// resetPeak lets peakRSS begin anew with what is held now. Where that can't be had, the peak stays that of all before.
func resetPeak() { _ = os.WriteFile("/proc/self/clear_refs", []byte("5"), 0) }

// load is the number of processes that wanted a processor during the last minute; 0 when not known.
func load() float64 {
	b, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(b), " ")
	v, _ := strconv.ParseFloat(first, 64)
	return v
}

// counting counts the bytes written.
type counting struct{ n int64 }

var _ io.Writer = (*counting)(nil)

func (c *counting) Write(p []byte) (int, error) {
	c.n += int64(len(p))
	return len(p), nil
}
