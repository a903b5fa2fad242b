package wire

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"testing"

	"github.com/peerdex/peerdex/index"
)

// realRows returns n rows with the names, sizes and times of real files: the Go installation's own tree, again and
// again under other ids.
func realRows(tb testing.TB, n int) []index.Entry {
	tb.Helper()
	rows := []index.Entry{{ID: 1, Kind: index.KindDir, Mode: 0o755, MTime: 1_700_000_000_000_000_000, Seq: 1}}
	for len(rows) < n {
		dirs := map[string]int64{".": 1}
		root := goroot(tb)
		err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			if err != nil || len(rows) == n {
				return fs.SkipAll
			}
			info, err := d.Info()
			if err != nil || p == root {
				return nil //nolint:nilerr // a file that went away is no row
			}
			id := int64(len(rows) + 1)
			parent := dirs[filepath.Dir(p)]
			if parent == 0 {
				parent = 1
			}
			e := index.Entry{ID: id, Parent: parent, Name: d.Name(), Kind: index.KindFile, Size: info.Size(),
				MTime: info.ModTime().UnixNano(), Mode: uint32(info.Mode().Perm()), Seq: id}
			if d.IsDir() {
				dirs[p], e.Kind, e.Size = id, index.KindDir, 0
			}
			rows = append(rows, e)
			return nil
		})
		if err != nil {
			tb.Fatal(err)
		}
	}
	return rows
}

func BenchmarkEncodeRow(b *testing.B) {
	rows := realRows(b, 1000)
	e := NewEncoder()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%1000 == 0 {
			e.Reset()
		}
		e.Row(&rows[i%1000])
	}
}

func BenchmarkDecodeRow(b *testing.B) {
	rows := realRows(b, 1000)
	e := NewEncoder()
	e.Array(len(rows))
	for i := range rows {
		e.Row(&rows[i])
	}
	p := e.Payload()
	d := NewDecoder()
	var got []index.Entry
	b.ReportAllocs()
	b.ReportMetric(float64(len(p))/float64(len(rows)), "wire-B/row")
	for n := 0; n < b.N; n += len(rows) {
		d.Reset(p)
		got = d.Rows(got[:0], MaxRows)
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCodec packs and unpacks frames of 1,000 rows; ns/op is for one row.
func BenchmarkCodec(b *testing.B) {
	rows := realRows(b, 10_000)
	var frames [][]byte
	for len(rows) > 0 {
		e := NewEncoder()
		for i := range rows[:1000] {
			e.Row(&rows[i])
		}
		frames, rows = append(frames, e.Payload()), rows[1000:]
	}
	for _, c := range []struct {
		name string
		c    Codec
	}{{"none", CodecNone}, {"zstd", CodecZstd}, {"gzip", CodecGzip}, {"s2", CodecS2}} {
		var p Codecs
		var packed [][]byte
		var size int
		for _, f := range frames {
			z, err := p.pack(nil, f, c.c)
			if err != nil {
				b.Fatal(err)
			}
			packed, size = append(packed, z), size+len(z)
		}
		b.Run(fmt.Sprintf("pack/%s", c.name), func(b *testing.B) {
			var dst []byte
			b.ReportAllocs()
			for n := 0; n < b.N; n += 1000 {
				dst, _ = p.pack(dst[:0], frames[n/1000%len(frames)], c.c)
			}
			b.ReportMetric(float64(size)/10_000, "wire-B/row")
		})
		b.Run(fmt.Sprintf("unpack/%s", c.name), func(b *testing.B) {
			var dst []byte
			b.ReportAllocs()
			for n := 0; n < b.N; n += 1000 {
				var err error
				if dst, err = p.unpack(dst[:0], packed[n/1000%len(frames)], c.c, MaxPayload); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
