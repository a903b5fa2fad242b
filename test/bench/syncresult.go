package main

import (
	"cmp"
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/peerdex/peerdex/test/bench/entryset"
)

// syncResult is what bench sync prints. The package comment says what the figures mean.
type syncResult struct {
	Entries          int64   `json:"entries"`
	Strategy         string  `json:"strategy"`
	Seconds          float64 `json:"seconds"`
	EntriesPerSecond float64 `json:"entries_per_second"`
	WireIn           int64   `json:"wire_bytes_in"`
	WireOut          int64   `json:"wire_bytes_out"`
	ProviderPeak     int64   `json:"provider_peak_rss_bytes"`
	ReceiverPeak     int64   `json:"receiver_peak_rss_bytes"`
	ProviderCPU      float64 `json:"provider_cpu_seconds"`
	ReceiverCPU      float64 `json:"receiver_cpu_seconds"`
	FloorSeconds     float64 `json:"floor_seconds"`
	Ratio            float64 `json:"ratio_to_floor"`
	Verified         bool    `json:"verified"`

	Changes       int      `json:"changes"`
	Commits       int      `json:"commits"`
	P95           float64  `json:"p95_seconds,omitempty"`
	Used          []string `json:"used"`
	Min           float64  `json:"min_seconds"`
	Max           float64  `json:"max_seconds"`
	BytesPerEntry float64  `json:"wire_bytes_per_entry"`
	Reconnect     float64  `json:"reconnect_seconds,omitempty"`
	ReconnectWire int64    `json:"reconnect_wire_bytes,omitempty"`
	FloorCPU      float64  `json:"floor_cpu_seconds"`
	CPURatio      float64  `json:"cpu_ratio_to_floor"`

	Set  string  `json:"set"` // "generated", or the file of paths
	Seed uint64  `json:"seed"`
	Runs int     `json:"runs"`
	Go   string  `json:"go_version"`
	OS   string  `json:"os"`
	CPUs int     `json:"cpus"`
	Load float64 `json:"load_before"` // processes that wanted a processor in the minute before

	samples []syncSample
}

func newSyncResult(set *entryset.Set, f *setFlags, how *strategy, changes, runs int) syncResult {
	r := syncResult{
		Entries: set.Len(), Strategy: how.name, Changes: changes, Set: "generated", Seed: f.seed, Runs: runs, Used: []string{},
		Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0), Load: load(),
	}
	if f.paths != "" {
		r.Set = f.paths
	}
	return r
}

// moved is how many entries a run brings over.
func (r *syncResult) moved() float64 {
	if r.Changes > 0 {
		return float64(r.Changes)
	}
	return float64(r.Entries)
}

// fill computes the figures from the samples. A run that was not proved right ended the benchmark.
func (r *syncResult) fill() {
	var took, floors timing
	for i := range r.samples {
		s := &r.samples[i]
		floors = append(floors, s.floor)
		if took = append(took, s.each...); len(s.each) == 0 {
			took = append(took, s.took)
		}
		for _, u := range s.used {
			if !slices.Contains(r.Used, u) {
				r.Used = append(r.Used, u)
			}
		}
	}
	// Bytes and processor time are of all commits of a run.
	commits := max(1, len(r.samples[0].each))
	r.Commits = commits
	count := func(f func(*syncSample) int64) int64 { return middle(r.samples, f) }
	seconds := func(f func(*syncSample) float64) float64 { return middle(r.samples, f) }
	r.Seconds, r.Min, r.Max = took.median(), took.shortest(), took.longest()
	if commits > 1 {
		r.P95 = took.sorted(cost.seconds, (len(took)*95+99)/100-1)
	}
	r.EntriesPerSecond = r.moved() / r.Seconds
	r.WireIn = count(func(s *syncSample) int64 { return s.receiver.Wire.In })
	r.WireOut = count(func(s *syncSample) int64 { return s.receiver.Wire.Out })
	r.BytesPerEntry = float64(r.WireIn+r.WireOut) / r.moved() / float64(commits)
	r.ProviderPeak = count(func(s *syncSample) int64 { return s.provider.Peak })
	r.ReceiverPeak = count(func(s *syncSample) int64 { return s.receiver.Peak })
	r.ProviderCPU = seconds(func(s *syncSample) float64 { return s.provider.CPU })
	r.ReceiverCPU = seconds(func(s *syncSample) float64 { return s.receiver.CPU })
	r.Reconnect = seconds(func(s *syncSample) float64 { return s.reconnect })
	r.ReconnectWire = count(func(s *syncSample) int64 { return s.reconnectWire.In + s.reconnectWire.Out })
	r.FloorSeconds, r.FloorCPU = floors.median(), floors.medianCPU()
	r.Ratio = r.Seconds / r.FloorSeconds
	if r.FloorCPU > 0 {
		r.CPURatio = (r.ProviderCPU + r.ReceiverCPU) / r.FloorCPU
	}
	r.Verified = len(r.samples) == r.Runs
}

// middle is the median of a figure of the samples.
func middle[T cmp.Ordered](samples []syncSample, f func(*syncSample) T) T {
	var v []T
	for i := range samples {
		v = append(v, f(&samples[i]))
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// table prints for people.
func (r *syncResult) table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	what := fmt.Sprintf("first sync of %d entries", r.Entries)
	if r.Changes > 0 {
		what = fmt.Sprintf("%d changes of %d entries", r.Changes, r.Entries)
	}
	fmt.Fprintf(w, "%s (%s, seed %d), strategy %s", what, r.Set, r.Seed, r.Strategy)
	if len(r.Used) > 0 {
		fmt.Fprintf(w, " (%s)", strings.Join(r.Used, ", "))
	}
	fmt.Fprintf(w, "\n%s, %s, %d cpus, load %.1f before, median of %d\n\n", r.Go, r.OS, r.CPUs, r.Load, r.Runs)
	fmt.Fprintf(w, "time\t%s\t%s to %s, %.0f a second\n", seconds(r.Seconds), seconds(r.Min), seconds(r.Max), r.EntriesPerSecond)
	if r.Commits > 1 {
		fmt.Fprintf(w, "95 of 100\t%s\tof %d commits\n", seconds(r.P95), r.Commits*r.Runs)
	}
	fmt.Fprintf(w, "floor\t%s\tplain SQLite; the sync takes %.2f x as long, and %.2f x the processor time\n", seconds(r.FloorSeconds), r.Ratio, r.CPURatio)
	fmt.Fprintf(w, "wire\t%d B in, %d B out\tat the receiver, %.1f each\n", r.WireIn, r.WireOut, r.BytesPerEntry)
	fmt.Fprintf(w, "memory\t%.0f MB, %.0f MB\tprovider and receiver, at most\n", float64(r.ProviderPeak)/1e6, float64(r.ReceiverPeak)/1e6)
	fmt.Fprintf(w, "processor\t%s, %s\tprovider and receiver\n", seconds(r.ProviderCPU), seconds(r.ReceiverCPU))
	if r.Reconnect > 0 {
		fmt.Fprintf(w, "reconnect\t%s, %d B\tin sync, until all is said\n", seconds(r.Reconnect), r.ReconnectWire)
	}
	fmt.Fprintf(w, "verified\t%t\t\n", r.Verified)
	return w.Flush()
}
