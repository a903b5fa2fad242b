package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
)

// benchLocation commits n entries and brings all of them into the file, warm.
func benchLocation(b *testing.B, n int) (*Store, index.Location) {
	b.Helper()
	if n > 100_000 && testing.Short() {
		b.Skip("1,000,000 entries are not for -short")
	}
	s, err := Open(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	l := newLocationIn(b, s)
	if _, err := s.Commit(context.Background(), l, generate(n, 1), CommitOptions{AsOf: time.Now}); err != nil {
		b.Fatal(err)
	}
	if err := s.viewLocation(context.Background(), l, func(c *conn) error {
		_, err := c.int("SELECT count(*) FROM entries")
		return err
	}); err != nil {
		b.Fatal(err)
	}
	return s, l
}

// floor is what copying the rows and building both indexes takes with nothing else done, and nothing safe.
func floor(b *testing.B, from string) time.Duration {
	b.Helper()
	path := filepath.Join(b.TempDir(), "floor.db")
	start := time.Now()
	c, err := openConn(path, accessScratch)
	if err != nil {
		b.Fatal(err)
	}
	for _, sql := range []string{schema("location.sql"), "ATTACH '" + from + "' AS src", "INSERT INTO main.entries SELECT * FROM src.entries", schema("location_index.sql")} {
		if err := c.script(sql); err != nil {
			b.Fatal(err)
		}
	}
	if err := c.close(); err != nil {
		b.Fatal(err)
	}
	took := time.Since(start)
	os.Remove(path)
	return took
}

// against reports the median of what run takes, in turn with the floor on the same rows, and their ratio.
func against(b *testing.B, s *Store, l index.Location, run func() time.Duration) {
	b.Helper()
	from, err := s.LocationFile(context.Background(), l)
	if err != nil {
		b.Fatal(err)
	}
	var took, least []time.Duration
	for b.Loop() {
		least = append(least, floor(b, from))
		took = append(took, run())
	}
	slices.Sort(took)
	slices.Sort(least)
	mid := len(took) / 2
	b.ReportMetric(took[mid].Seconds(), "s")
	b.ReportMetric(least[mid].Seconds(), "floor-s")
	b.ReportMetric(took[mid].Seconds()/least[mid].Seconds(), "x-floor")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkExport reports the seconds of an export that nothing is cached for, and its ratio to the floor.
func BenchmarkExport(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		for _, v := range variants {
			b.Run(fmt.Sprintf("%v/%d", v, n), func(b *testing.B) {
				s, l := benchLocation(b, n)
				against(b, s, l, func() time.Duration {
					start := time.Now()
					snap, err := s.Export(context.Background(), l, v)
					took := time.Since(start)
					if err != nil {
						b.Fatal(err)
					}
					b.ReportMetric(float64(snap.Size)/float64(n), "bytes/entry")
					if err := errors.Join(snap.Close(), s.snaps.close()); err != nil {
						b.Fatal(err)
					}
					return took
				})
			})
		}
	}
}

// BenchmarkImport reports the seconds from a file in hand to a replica in place, and the ratio to the floor.
func BenchmarkImport(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		for _, v := range variants {
			b.Run(fmt.Sprintf("%v/%d", v, n), func(b *testing.B) {
				s, l := benchLocation(b, n)
				snap, err := s.Export(context.Background(), l, v)
				if err != nil {
					b.Fatal(err)
				}
				defer snap.Close()
				against(b, s, l, func() time.Duration {
					to, err := Open(b.TempDir())
					if err != nil {
						b.Fatal(err)
					}
					file := filepath.Join(to.dir, "got.db")
					writeFile(b, file, snap)
					start := time.Now()
					err = to.ImportFile(context.Background(), l, file, snap.Head, snap.Record, v)
					took := time.Since(start)
					if err := errors.Join(err, to.Close()); err != nil {
						b.Fatal(err)
					}
					os.RemoveAll(to.dir)
					return took
				})
			})
		}
	}
}

// writeFile puts a snapshot where a transfer would have left it: on the disk.
func writeFile(b *testing.B, path string, snap *Snapshot) {
	b.Helper()
	f, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	if _, err := io.Copy(f, io.NewSectionReader(snap, 0, snap.Size)); err != nil {
		b.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		b.Fatal(err)
	}
	if err := f.Close(); err != nil {
		b.Fatal(err)
	}
}
