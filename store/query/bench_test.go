package query

import (
	"database/sql"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"github.com/peerdex/peerdex/index"
)

const benchRows = 1_000_000

// benchDB returns a database of a million made-up entries, in which every thousandth name holds "ZqXneedle", and the
// mean length of their names.
func benchDB(b *testing.B) (*sql.DB, float64) {
	b.Helper()
	db := openDB(b, "file:"+filepath.Join(b.TempDir(), "bench.db")+"?_journal_mode=off&_synchronous=off")
	if _, err := db.Exec(testSchema); err != nil {
		b.Fatal(err)
	}
	words := []string{
		"report", "invoice", "holiday", "index", "README", "main", "config", "photo", "IMG", "backup", "letter", "draft",
		"budget", "meeting", "notes", "library", "test", "common", "Übersicht", "отчёт",
	}
	exts := []string{".jpg", ".pdf", ".go", ".html", ".c", ".h", ".txt", ".png", "", ".tar.gz"}
	rnd := rand.New(rand.NewPCG(1, 2))
	bytes := 0
	batch := make([]index.Entry, 0, 10_000)
	for id := int64(1); id <= benchRows; id++ {
		name := fmt.Sprintf("%s-%s_%d%s", words[rnd.IntN(len(words))], words[rnd.IntN(len(words))], rnd.IntN(1e6),
			exts[rnd.IntN(len(exts))])
		if id%1000 == 0 {
			name = name[:6] + "ZqXneedle" + name[6:]
		}
		bytes += len(name)
		batch = append(batch, index.Entry{
			ID: id, Parent: id/12 + 1, Name: name, Kind: index.KindFile, Size: rnd.Int64N(1 << 24),
			MTime: 1_700_000_000_000_000_000 + rnd.Int64N(1<<56), Mode: 0o644, Seq: id,
		})
		if len(batch) == cap(batch) {
			insert(b, db, batch)
			batch = batch[:0]
		}
	}
	if _, err := db.Exec("CREATE INDEX entries_parent_name ON entries(parent, name)"); err != nil {
		b.Fatal(err)
	}
	return db, float64(bytes) / benchRows
}

// BenchmarkSearch is a search of a million rows: SQL, then Match.
func BenchmarkSearch(b *testing.B) {
	db, mean := benchDB(b)
	for _, c := range []struct{ name, text string }{
		{"no hit", "qzvvxk"},
		{"no hit, common first letter", "etherqz"},
		{"1000 hits", "zqxneedle"},
		{"1000 hits, exact", "ZqXneedle"},
		{"two words", "photo zqxneedle"},
		{"glob", "*zqx*.jpg"},
		{"latin non-ASCII", "größe"},
		{"cyrillic", "погода"},
		{"ext, no hit", "ext:qqq"},
		{"six exts, no hit", "ext:qq1,qq2,qq3,qqq1,qqq2,qqq3"},
		{"size, no hit", "size:>1G"},
		{"all", "type:f"},
	} {
		q := mustParse(b, c.text)
		b.Run(c.name, func(b *testing.B) {
			hits := 0
			for b.Loop() {
				_, matched := search(b, db, q)
				hits = len(matched)
			}
			b.ReportMetric(float64(hits), "hits")
			b.ReportMetric(mean, "name-bytes")
		})
	}
}

// BenchmarkForms compares ways to ask SQLite for one word. It is why the filters are what they are.
func BenchmarkForms(b *testing.B) {
	db, _ := benchDB(b)
	const (
		table   = "SELECT id, name, kind, size, mtime FROM entries WHERE "
		byIndex = "SELECT e.id, e.name, e.kind, e.size, e.mtime FROM entries i INDEXED BY entries_parent_name " +
			"CROSS JOIN entries e ON e.id = i.id WHERE "
	)
	run := func(b *testing.B, query string, args ...any) {
		rows, err := db.Query(query, args...)
		if err != nil {
			b.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var e index.Entry
			if err := rows.Scan(&e.ID, &e.Name, &e.Kind, &e.Size, &e.MTime); err != nil {
				b.Fatal(err)
			}
		}
		if err := rows.Err(); err != nil {
			b.Fatal(err)
		}
	}
	for _, word := range []string{"qzvvxk", "ZqXneedle"} {
		for _, c := range []struct{ name, query, arg string }{
			{"LIKE", table + "name LIKE ?", "%" + word + "%"},
			{"LIKE ESCAPE", table + `name LIKE ? ESCAPE '\'`, "%" + word + "%"},
			{"instr", table + "instr(name, ?) > 0", word},
			{"instr lower", table + "instr(lower(name), lower(?)) > 0", word},
			{"GLOB", table + "name GLOB ?", "*" + word + "*"},
			{"LIKE by index", byIndex + "i.name LIKE ?", "%" + word + "%"},
		} {
			b.Run(word+"/"+c.name, func(b *testing.B) {
				for b.Loop() {
					run(b, c.query, c.arg)
				}
			})
		}
		b.Run(word+"/LIKE on two connections", func(b *testing.B) {
			for b.Loop() {
				var wg sync.WaitGroup
				for i := range 2 {
					wg.Go(func() {
						lo := i*benchRows/2 + 1
						run(b, table+"id BETWEEN ? AND ? AND name LIKE ?", lo, lo+benchRows/2-1, "%"+word+"%")
					})
				}
				wg.Wait()
			}
		})
	}
}

func BenchmarkMatch(b *testing.B) {
	e := index.Entry{Name: "holiday-photo_123456.jpg", Kind: index.KindFile, Size: 1 << 21}
	for _, text := range []string{"photo", "IMG", "*photo*.jpg", "ext:jpg,png", "фото", "photo ext:jpg size:>1M"} {
		q := mustParse(b, text)
		b.Run(text, func(b *testing.B) {
			for b.Loop() {
				q.Match(&e)
			}
		})
	}
}

func BenchmarkParse(b *testing.B) {
	now := testNow(b)
	for b.Loop() {
		if _, err := Parse("photo -draft ext:jpg,png size:>1.5M modified:<7d on:nas", now); err != nil {
			b.Fatal(err)
		}
	}
}
