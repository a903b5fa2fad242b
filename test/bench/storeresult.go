package main

import (
	"fmt"
	"io"
	"os"
	"runtime"
	"text/tabwriter"

	"github.com/klauspost/compress/zstd"
	sqlite3 "github.com/mattn/go-sqlite3"

	"github.com/peerdex/peerdex/test/bench/entryset"
)

// storeResult is what bench store prints. The package comment says what the figures mean.
type storeResult struct {
	Entries            int64   `json:"entries"`
	FloorSeconds       float64 `json:"floor_seconds"`
	CommitRatio        float64 `json:"commit_ratio"`
	ExportNativeRatio  float64 `json:"export_native_ratio"`
	ExportCompactRatio float64 `json:"export_compact_ratio"`
	ImportNativeRatio  float64 `json:"import_native_ratio"`
	ImportCompactRatio float64 `json:"import_compact_ratio"`
	DeltaSeconds       float64 `json:"delta_10k_seconds"`
	OneChangeSeconds   float64 `json:"one_change_seconds"`
	SearchSeconds      float64 `json:"search_seconds"`
	ListSeconds        float64 `json:"list_seconds"`
	BytesPerEntry      float64 `json:"bytes_per_entry"`
	PeakRSS            int64   `json:"peak_rss_bytes"`
	Verified           bool    `json:"verified"`

	Set                  string  `json:"set"` // "generated", or the file of paths
	Seed                 uint64  `json:"seed"`
	MeanNameBytes        float64 `json:"mean_name_bytes"`
	MeanDepth            float64 `json:"mean_depth"`
	FolderShare          float64 `json:"folder_share"`
	ZstdRatio            float64 `json:"zstd_ratio"`
	CompactBytesPerEntry float64 `json:"compact_bytes_per_entry"`
	ZstdBytesPerEntry    float64 `json:"zstd_bytes_per_entry"`
	DeltaChanges         int     `json:"delta_changes"`
	SearchHits           int64   `json:"search_hits"`
	ListEntries          int64   `json:"list_entries"`

	Go     string  `json:"go_version"`
	SQLite string  `json:"sqlite_version"`
	OS     string  `json:"os"`
	CPUs   int     `json:"cpus"`
	Load   float64 `json:"load_before"` // processes that wanted a processor in the minute before

	Runs       int              `json:"runs"`
	Stream     float64          `json:"stream_seconds"`
	PeakByWork map[string]int64 `json:"peak_rss_bytes_by_work"`
	Works      []workResult     `json:"works"`

	facts entryset.Facts
	word  string
}

// workResult is one work in seconds.
type workResult struct {
	Work   string  `json:"work"`
	What   string  `json:"what"`
	Times  int     `json:"times"`
	Median float64 `json:"median_seconds"`
	Min    float64 `json:"min_seconds"`
	Max    float64 `json:"max_seconds"`
	CPU    float64 `json:"cpu_seconds"` // median, of all processors; 0 where it is not known

	// Of the medians to those of the floor. That of processor time says more on a busy machine.
	Ratio    float64 `json:"ratio"`
	CPURatio float64 `json:"cpu_ratio"`
}

func newStoreResult(set *entryset.Set, f *setFlags, runs int) storeResult {
	r := storeResult{
		Entries: set.Len(), Set: "generated", Seed: f.seed, Go: runtime.Version(), OS: runtime.GOOS + "/" + runtime.GOARCH,
		CPUs: runtime.GOMAXPROCS(0), Load: load(), Runs: runs,
	}
	if f.paths != "" {
		r.Set = f.paths
	}
	r.SQLite, _, _ = sqlite3.Version()
	return r
}

// compress measures how well the rows of a compact snapshot compress, in one piece.
func (r *storeResult) compress(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	var out counting
	z, err := zstd.NewWriter(&out)
	if err != nil {
		return err
	}
	n, err := io.Copy(z, f)
	if err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	r.ZstdRatio = float64(out.n) / float64(n)
	r.CompactBytesPerEntry = float64(n) / float64(r.Entries)
	r.ZstdBytesPerEntry = float64(out.n) / float64(r.Entries)
	return nil
}

// fill computes the figures from what was measured.
func (r *storeResult) fill(times map[string]timing) {
	f := &r.facts
	r.MeanNameBytes, r.MeanDepth = f.MeanName, f.MeanDepth
	r.FolderShare = float64(f.Folders) / float64(f.Entries)
	r.FloorSeconds = times[workFloor].median()
	for work, ratio := range map[string]*float64{
		workCommit: &r.CommitRatio, workExportNative: &r.ExportNativeRatio, workExportCompact: &r.ExportCompactRatio,
		workImportNative: &r.ImportNativeRatio, workImportCompact: &r.ImportCompactRatio,
	} {
		*ratio = times[work].median() / r.FloorSeconds
	}
	r.DeltaSeconds = times[workDelta].median()
	r.OneChangeSeconds = times[workOneChange].median()
	r.SearchSeconds = max(times[workSearchNone].median(), times[workSearchSome].median())
	r.ListSeconds = times[workList].median()
	r.Stream = times[workStream].median()
	for _, w := range r.works() {
		t := times[w[0]]
		v := workResult{
			Work: w[0], What: w[1], Times: len(t), Median: t.median(), Min: t.shortest(), Max: t.longest(), CPU: t.medianCPU(),
		}
		v.Ratio = v.Median / r.FloorSeconds
		if least := times[workFloor].medianCPU(); least > 0 {
			v.CPURatio = v.CPU / least
		}
		r.Works = append(r.Works, v)
	}
}

// works are the works and what was done in each.
func (r *storeResult) works() [][2]string {
	return [][2]string{
		{workFloor, "INSERT..SELECT and both indexes, nothing safe"},
		{workStream, "reading the entries for a commit"},
		{workCommit, fmt.Sprintf("%d entries into a new location", r.Entries)},
		{workExportNative, "rows, indexes and tree to a file"},
		{workExportCompact, "rows to a file"},
		{workImportNative, "file to proved replica"},
		{workImportCompact, "file to proved replica"},
		{workDelta, fmt.Sprintf("%d scattered changes to a replica, root compared", r.DeltaChanges)},
		{workOneChange, "one row, committed and synced"},
		{workSearchNone, fmt.Sprintf("%q, 0 hits", entryset.Absent)},
		{workSearchSome, fmt.Sprintf("%q, %d hits", r.word, r.SearchHits)},
		{workList, fmt.Sprintf("a folder of %d", r.ListEntries)},
	}
}

// table prints for people.
func (r *storeResult) table(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "%d entries (%s, seed %d): names of %.1f bytes, %.1f deep, %.1f %% folders, zstd %.2f\n",
		r.Entries, r.Set, r.Seed, r.MeanNameBytes, r.MeanDepth, 100*r.FolderShare, r.ZstdRatio)
	fmt.Fprintf(w, "%s, SQLite %s, %s, %d cpus, load %.1f before\n\n", r.Go, r.SQLite, r.OS, r.CPUs, r.Load)
	fmt.Fprintln(w, "WORK\tMEDIAN\tMIN\tMAX\tCPU\tRUNS\tx FLOOR\tx CPU\tPEAK MEMORY\tWHAT")
	for _, v := range r.Works {
		mem := ""
		if p := r.PeakByWork[v.Work]; p > 0 {
			mem = fmt.Sprintf("%.0f MB", float64(p)/1e6)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%d\t%.3f\t%.3f\t%s\t%s\n", v.Work, seconds(v.Median), seconds(v.Min), seconds(v.Max),
			seconds(v.CPU), v.Times, v.Ratio, v.CPURatio, mem, v.What)
	}
	fmt.Fprintf(w, "\n%.1f bytes an entry in the location's file; compact snapshot %.1f, after zstd %.1f\n",
		r.BytesPerEntry, r.CompactBytesPerEntry, r.ZstdBytesPerEntry)
	fmt.Fprintf(w, "peak memory %.0f MB; verified: %t\n", float64(r.PeakRSS)/1e6, r.Verified)
	return w.Flush()
}

// seconds shows a time with three digits or more.
func seconds(s float64) string {
	if s < 1 {
		return fmt.Sprintf("%.2f ms", 1000*s)
	}
	return fmt.Sprintf("%.2f s", s)
}
