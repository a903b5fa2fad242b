package snapshot

import (
	"bytes"
	"database/sql"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	_ "github.com/mattn/go-sqlite3" // makes the pages

	"github.com/peerdex/peerdex/protocols/wire"
)

// entriesFile is a file that SQLite made of so many rows, in all forms that rows can have.
func entriesFile(tb testing.TB, rows int) []byte {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "entries.db")
	db, err := sql.Open("sqlite3", path)
	if err != nil {
		tb.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		tb.Fatal(err)
	}
	exec := func(q string, args ...any) {
		tb.Helper()
		if _, err := tx.Exec(q, args...); err != nil {
			tb.Fatal(err)
		}
	}
	exec("CREATE TABLE entries (id INTEGER PRIMARY KEY, parent INTEGER, name TEXT, kind INTEGER, size INTEGER, mtime INTEGER, mode INTEGER, hash BLOB, attrs BLOB, seq INTEGER) STRICT")
	r := rand.New(rand.NewPCG(1, 2))
	numbers := []int64{0, 1, 2, -1, 127, 128, -128, -129, 32767, 32768, 1<<23 - 1, 1 << 23, 1<<31 - 1, 1 << 31, 1<<47 - 1, 1 << 47, math.MaxInt64, math.MinInt64}
	for i := range rows {
		name := make([]byte, r.IntN(20))
		for k := range name {
			name[k] = byte(1 + r.IntN(255)) // also what is no UTF-8
		}
		var hash, attrs any
		if i%3 == 0 {
			hash = make([]byte, i%65)
		}
		if i%7 == 0 {
			attrs = make([]byte, i%1025)
		}
		mtime, size := r.Int64N(1<<60), r.Int64N(1<<40)
		if i%5 == 0 {
			mtime, size = numbers[r.IntN(len(numbers))], numbers[r.IntN(len(numbers))]&math.MaxInt64
		}
		exec("INSERT INTO entries VALUES (?, ?, CAST(? AS TEXT), ?, ?, ?, ?, ?, ?, ?)", int64(i)*3+1, i/10, name, 1+i%4, size, mtime, r.IntN(4096), hash, attrs, rows-i)
	}
	if err := tx.Commit(); err != nil {
		tb.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

// over sends a part through a message of columns. It returns nil if none of its pages can go by columns.
func over(tb testing.TB, b []byte) []byte {
	tb.Helper()
	c := new(columns)
	if !c.split(b) {
		return nil
	}
	p := payload(func(e *wire.Encoder) { encodeColumns(e, 77, c) })
	if len(p) > c.size()+20 {
		tb.Errorf("a message of %d bytes, at most %d expected", len(p), c.size()+20)
	}
	out := bytes.Repeat([]byte{0xee}, len(b))
	if err := decodeColumns(fields(tb, p, kindColumns, columnsFields), new(columns), 77, out); err != nil {
		tb.Fatal(err)
	}
	return out
}

// TestColumns sends pages that SQLite made, and some that look like them, and gets the same bytes.
func TestColumns(t *testing.T) {
	t.Parallel()
	file := entriesFile(t, 3000)
	if got := over(t, file); !bytes.Equal(got, file) {
		t.Fatal("another file")
	}
	c := new(columns)
	c.split(file)
	if len(c.raw) > len(file)/10 {
		t.Errorf("%d of %d bytes did not go by columns", len(c.raw), len(file))
	}
	// Deleted rows leave free space in their pages, and what was there.
	page := file[len(file)-pageSize:]
	for name, breakIt := range map[string]func(b []byte){
		"another kind of page": func(b []byte) { b[0] = 0x0a },
		"free space":           func(b []byte) { b[2] = 1 },
		"a fragment":           func(b []byte) { b[7] = 1 },
		"no rows":              func(b []byte) { b[3], b[4] = 0, 0 },
		"one row less":         func(b []byte) { b[4]-- },
		"more rows than fit":   func(b []byte) { b[3] = 0xff },
		"another beginning":    func(b []byte) { b[6]++ },
		"a pointer":            func(b []byte) { b[9]++ },
		"something in the gap": func(b []byte) { b[leafHeader+2*(int(b[3])<<8|int(b[4]))] = 1 },
		"cut short":            nil,
	} {
		b := bytes.Clone(page)
		if breakIt == nil {
			b = b[:pageSize-1]
		} else {
			breakIt(b)
		}
		if c.split(b) {
			t.Errorf("%s: went by columns", name)
		}
		both := append(bytes.Clone(page), b...)
		if got := over(t, both); !bytes.Equal(got, both) {
			t.Errorf("%s: beside a good page, another page", name)
		}
	}
}

// TestColumnsTampered flips any bit of a page, or cuts a column: what goes over is what was there, or an error.
func TestColumnsTampered(t *testing.T) {
	t.Parallel()
	file := entriesFile(t, 300)
	page := file[len(file)-2*pageSize : len(file)-pageSize]
	for i := range len(page) * 8 {
		b := bytes.Clone(page)
		b[i/8] ^= 1 << (i % 8)
		if got := over(t, b); got != nil && !bytes.Equal(got, b) {
			t.Fatalf("bit %d: another page", i)
		}
	}
	out := make([]byte, len(file))
	for i := range new(columns).fields() {
		for _, change := range []func(b []byte) []byte{
			func(b []byte) []byte { return b[:max(len(b)-1, 0)] },
			func(b []byte) []byte { return append(bytes.Clone(b), 1) },
			func([]byte) []byte { return nil },
			func(b []byte) []byte { return bytes.Repeat([]byte{0xff}, len(b)) },
			func(b []byte) []byte { return bytes.Repeat([]byte{0x7f}, len(b)) },
		} {
			c := new(columns)
			c.split(file)
			f := c.fields()[i]
			before := bytes.Clone(*f)
			if *f = change(*f); bytes.Equal(*f, before) {
				continue
			}
			if err := c.join(out); err == nil && bytes.Equal(out, file) {
				t.Errorf("column %d: not noticed", i)
			} else if err != nil && !errors.Is(err, wire.ErrMalformed) {
				t.Errorf("column %d: error of no kind: %v", i, err)
			}
		}
	}
}

// FuzzSplit checks that any part comes out as it went in.
func FuzzSplit(f *testing.F) {
	file := entriesFile(f, 200)
	f.Add(file[len(file)-pageSize:])
	f.Add(file[len(file)-2*pageSize:])
	f.Add(bytes.Repeat([]byte{leafType, 0, 0, 0, 1}, 2000))
	f.Fuzz(func(t *testing.T, b []byte) {
		if got := over(t, b); got != nil && !bytes.Equal(got, b) {
			t.Fatal("another part")
		}
	})
}

// FuzzColumns takes columns from a peer.
func FuzzColumns(f *testing.F) {
	c := new(columns)
	file := entriesFile(f, 40)
	c.split(file)
	f.Add(payload(func(e *wire.Encoder) { encodeColumns(e, 5, c) }), 1+len(file)/pageSize)
	f.Fuzz(func(t *testing.T, p []byte, pages int) {
		b := make([]byte, min(max(pages, 0), 8)*pageSize)
		err := decodeColumns(fields(t, p, kindColumns, columnsFields), new(columns), 5, b)
		if err != nil {
			if !errors.Is(err, wire.ErrMalformed) {
				t.Fatalf("error of no kind: %v", err)
			}
			return
		}
		if got := over(t, b); got != nil && !bytes.Equal(got, b) {
			t.Fatal("another part")
		}
	})
}

// BenchmarkColumns measures both directions on parts of rows as disks have them.
func BenchmarkColumns(b *testing.B) {
	file := entriesFile(b, 20_000)
	file = file[:len(file)/partSize*partSize]
	c, out := new(columns), make([]byte, partSize)
	b.SetBytes(int64(len(file)))
	for b.Loop() {
		for at := 0; at < len(file); at += partSize {
			if !c.split(file[at : at+partSize]) {
				b.Fatal("no rows")
			}
			used := *c
			if err := used.join(out); err != nil {
				b.Fatal(err)
			}
		}
	}
}
