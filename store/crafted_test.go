package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
)

// refusedWithin is how long a crafted file may keep us busy. A stall shows as an error that is not typed.
const refusedWithin = 2 * time.Second

// craft is one way to spoil a snapshot.
type craft struct {
	name  string
	only  Variant // 0 = both
	spoil func(t *testing.T, path string)
	sign  bool  // the owner signs what came out
	want  error // nil = any of refusals
}

var refusals = []error{ErrCorrupt, ErrMismatch, ErrNewerVersion}

// sqlOn changes a file with a connection of its own. Each statement is run in turn; "reopen" opens the file anew.
func sqlOn(stmts ...string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		c, err := openConn(path, accessScratch)
		if err != nil {
			t.Fatal(err)
		}
		for _, sql := range stmts {
			if sql == "reopen" {
				err = c.close()
				if err == nil {
					c, err = openConn(path, accessScratch)
				}
			} else {
				err = c.script("PRAGMA writable_schema=ON;" + sql)
			}
			if err != nil {
				t.Fatalf("%.60s: %v", sql, err)
			}
		}
		if err := c.close(); err != nil {
			t.Fatal(err)
		}
	}
}

// instead puts a fresh file of other statements in the place of a snapshot, marked as ours.
func instead(stmts ...string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		sqlOn(append(stmts, fmt.Sprintf("PRAGMA application_id=%d; PRAGMA user_version=%d", locationAppID, locationVersion))...)(t, path)
	}
}

// bytesOn changes a file's bytes.
func bytesOn(change func([]byte) []byte) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, change(b), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func header(at int, v ...byte) func(*testing.T, string) {
	return bytesOn(func(b []byte) []byte {
		copy(b[at:], v)
		return b
	})
}

// untyped runs a statement while the table of entries is not STRICT.
func untyped(sql string) func(*testing.T, string) {
	return sqlOn("UPDATE sqlite_schema SET sql = replace(sql, ') STRICT', ')') WHERE name = 'entries'", "reopen", sql,
		"UPDATE sqlite_schema SET sql = sql || ' STRICT' WHERE name = 'entries'")
}

// unindexed runs a statement that an index does not hear of, leaving no free page behind.
func unindexed(name, sql string) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		c, err := openConn(path, accessScratch)
		if err != nil {
			t.Fatal(err)
		}
		row, err := c.one("SELECT rootpage, sql FROM sqlite_schema WHERE name = ?", name)
		if err == nil {
			err = c.script("PRAGMA writable_schema=ON; DELETE FROM sqlite_schema WHERE name = '" + name + "'")
		}
		if err := errors.Join(err, c.close()); err != nil {
			t.Fatal(err)
		}
		sqlOn(sql, fmt.Sprintf("INSERT INTO sqlite_schema VALUES ('index', '%s', 'entries', %v, '%s')", name, row[0], row[1]))(t, path)
	}
}

const recursive = "WITH RECURSIVE c (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x AS id, 1 AS parent, 'n' AS name," +
	" 1 AS kind, 0 AS size, 0 AS mtime, 0 AS mode, NULL AS hash, NULL AS attrs, x AS seq FROM c WHERE x < 0"

// redefined adds something to a column's definition. It is not evaluated here.
func redefined(def string) func(*testing.T, string) {
	return sqlOn("UPDATE sqlite_schema SET sql = replace(sql, '  hash   BLOB,', '  hash   BLOB " + def + ",') WHERE name = 'entries'")
}

// schemas are files whose schema is not ours: none of them may be evaluated.
func schemas() []craft {
	ours := schema("location.sql")
	wide := "CREATE TABLE entries (id INTEGER PRIMARY KEY"
	for i := range 1900 {
		wide += fmt.Sprintf(", c%d", i)
	}
	without := ours[strings.Index(ours, "-- Ids lo..hi"):]
	return []craft{
		{name: "a view that never ends", spoil: instead(without, "CREATE VIEW entries AS "+recursive)},
		{name: "a generated column of 400 MB", spoil: redefined("AS (hex(zeroblob(400000000)))")},
		{name: "a constraint of 400 MB", spoil: redefined("CHECK (length(hex(zeroblob(400000000))) > 0)")},
		{name: "a default", spoil: redefined("DEFAULT (hex(zeroblob(400000000)))")},
		{name: "an expression index of 400 MB", spoil: sqlOn("CREATE INDEX big ON entries (name)", "UPDATE sqlite_schema SET sql = 'CREATE INDEX big ON entries (hex(zeroblob(400000000)))' WHERE name = 'big'")},
		{name: "a partial index that is not ours", spoil: sqlOn("CREATE INDEX big ON entries (name) WHERE name > 'a'")},
		{name: "a trigger", spoil: sqlOn("CREATE TRIGGER z AFTER INSERT ON entries BEGIN DELETE FROM entries; END")},
		{name: "an FTS3 table", spoil: instead(without, "CREATE VIRTUAL TABLE entries USING fts3 (id, parent, name)")},
		{name: "an R-tree", spoil: sqlOn("CREATE VIRTUAL TABLE r USING rtree (id, a, b)")},
		{name: "a module that is not there", spoil: sqlOn("CREATE TABLE x (a); UPDATE sqlite_schema SET sql = 'CREATE VIRTUAL TABLE x USING nosuch (a)', rootpage = 0 WHERE name = 'x'")},
		{name: "1,900 columns", spoil: instead(without, wide+")")},
		{name: "another table", spoil: sqlOn("CREATE TABLE trust (k TEXT)")},
		{name: "a thousand tables", spoil: func(t *testing.T, path string) {
			var b strings.Builder
			for i := range 1000 {
				fmt.Fprintf(&b, "CREATE TABLE t%d (a);", i)
			}
			sqlOn(b.String())(t, path)
		}},
		{name: "statistics", spoil: sqlOn("ANALYZE")},
		{name: "no entries", spoil: instead(without)},
		{name: "one letter of a comment", spoil: sqlOn("UPDATE sqlite_schema SET sql = replace(sql, 'for the root', 'for the Root') WHERE name = 'entries'")},
		{name: "a schema that can't be parsed", spoil: sqlOn("UPDATE sqlite_schema SET sql = 'CREATE TABLE entries (' WHERE name = 'entries'")},
		{name: "a schema of a megabyte", spoil: sqlOn("UPDATE sqlite_schema SET sql = sql || '/*' || hex(zeroblob(800000)) || '*/' WHERE name = 'entries'")},
		{name: "a schema that is a number", spoil: sqlOn("UPDATE sqlite_schema SET sql = 7 WHERE name = 'dead'")},
		{name: "two tables in one place", spoil: sqlOn("UPDATE sqlite_schema SET rootpage = (SELECT rootpage FROM sqlite_schema WHERE name = 'entries') WHERE name = 'dead'")},
		{name: "a table in the schema's place", spoil: sqlOn("UPDATE sqlite_schema SET rootpage = 1 WHERE name = 'dead'")},
		{name: "a table beyond the file", spoil: sqlOn("UPDATE sqlite_schema SET rootpage = 90000 WHERE name = 'entries'")},
		{name: "indexes in a compact file", only: Compact, spoil: sqlOn(schema("location_index.sql"))},
		{name: "an index missing", only: Native, spoil: sqlOn("DROP INDEX entries_seq", "VACUUM")},
	}
}

// files are wrong as files.
func files() []craft {
	return []craft{
		{name: "empty", spoil: bytesOn(func([]byte) []byte { return nil })},
		{name: "no database", spoil: bytesOn(func([]byte) []byte { return bytes.Repeat([]byte("text"), 4096) })},
		{name: "half a header", spoil: bytesOn(func(b []byte) []byte { return b[:50] })},
		{name: "truncated by a page", spoil: bytesOn(func(b []byte) []byte { return b[:len(b)-pageSize] })},
		{name: "truncated by a byte", spoil: bytesOn(func(b []byte) []byte { return b[:len(b)-1] })},
		{name: "truncated and said so", spoil: bytesOn(func(b []byte) []byte {
			binary.BigEndian.PutUint32(b[28:], uint32(len(b)/pageSize-1))
			return b[:len(b)-pageSize]
		})},
		{name: "extended by a page", spoil: bytesOn(func(b []byte) []byte { return append(b, make([]byte, pageSize)...) })},
		{name: "extended and said so", spoil: bytesOn(func(b []byte) []byte {
			binary.BigEndian.PutUint32(b[28:], uint32(len(b)/pageSize+1))
			return append(b, make([]byte, pageSize)...)
		})},
		{name: "far too long", spoil: func(t *testing.T, path string) {
			if err := os.Truncate(path, 1<<26); err != nil {
				t.Fatal(err)
			}
		}},
		{name: "another application", spoil: sqlOn("PRAGMA application_id = 7")},
		{name: "node.db's mark", spoil: sqlOn(fmt.Sprintf("PRAGMA application_id = %d", nodeAppID))},
		{name: "a newer version", spoil: sqlOn("PRAGMA user_version = 2"), want: ErrNewerVersion},
		{name: "no version", spoil: sqlOn("PRAGMA user_version = 0")},
		{name: "large pages", spoil: sqlOn("PRAGMA page_size = 8192; VACUUM")},
		{name: "small pages", spoil: sqlOn("PRAGMA page_size = 512; VACUUM")},
		{name: "a page size that is not its own", spoil: header(16, 2, 0)},
		{name: "in need of a WAL", spoil: header(18, 2, 2)},
		{name: "reserved bytes", spoil: header(20, 32)},
		{name: "payload fractions", spoil: header(21, 1)},
		{name: "free pages", spoil: sqlOn("CREATE TABLE x (a); INSERT INTO x VALUES (zeroblob(90000)); DROP TABLE x")},
		{name: "a free page that is not there", spoil: header(32, 0, 0, 0, 2, 0, 0, 0, 1)},
		{name: "schema format 1", spoil: header(44, 0, 0, 0, 1)},
		{name: "auto-vacuum", spoil: sqlOn("PRAGMA auto_vacuum = FULL; VACUUM")},
		{name: "UTF-16", spoil: header(56, 0, 0, 0, 2)},
		{name: "bytes in the header's rest", spoil: header(80, 1)},
		{name: "a page of zeros", spoil: bytesOn(func(b []byte) []byte {
			clear(b[pageSize : 2*pageSize])
			return b
		})},
		{name: "a page of noise", spoil: bytesOn(func(b []byte) []byte {
			r := rand.NewChaCha8([32]byte{1})
			_, _ = r.Read(b[pageSize+8 : 2*pageSize])
			return b
		})},
		{name: "a page that is its own child", spoil: bytesOn(func(b []byte) []byte {
			p := b[pageSize : 2*pageSize] // the root of entries
			if p[0] == 5 {
				binary.BigEndian.PutUint32(p[8:], 2)
			} else {
				p[0] = 0xFF
			}
			return b
		})},
	}
}

// rows are those that no replica may hold, under the owner's own signature or without it.
func rows() []craft {
	set := func(what string) func(*testing.T, string) {
		return sqlOn("UPDATE entries SET " + what + " WHERE id = 30")
	}
	file := "(SELECT id FROM entries WHERE kind = 1 AND id <> 30 LIMIT 1)"
	var deep strings.Builder
	deep.WriteString("UPDATE entries SET kind = 2, size = 0 WHERE id > 100;")
	fmt.Fprintf(&deep, "UPDATE entries SET parent = id - 1 WHERE id > 101")
	return []craft{
		{name: "text for a size", spoil: untyped("UPDATE entries SET size = 'big' WHERE id = 30")},
		{name: "a blob for a name", spoil: untyped("UPDATE entries SET name = x'616263' WHERE id = 30")},
		{name: "text for a hash", spoil: untyped("UPDATE entries SET hash = 'abc' WHERE id = 30")},
		{name: "a real number for a time", spoil: untyped("UPDATE entries SET mtime = 1.5 WHERE id = 30")},
		{name: "no name", sign: true, spoil: set("name = ''")},
		{name: ".", sign: true, spoil: set("name = '.'")},
		{name: "..", sign: true, spoil: set("name = '..'")},
		{name: "a slash", sign: true, spoil: set("name = 'a/b'")},
		{name: "NUL", sign: true, spoil: set("name = 'a' || char(0) || 'b'")},
		{name: "a long name", sign: true, spoil: set("name = hex(zeroblob(128))")},
		{name: "a name of 5 MB", spoil: set("name = hex(zeroblob(2500000))")},
		{name: "long attributes", sign: true, spoil: set("attrs = zeroblob(1025)")},
		{name: "a long hash", sign: true, spoil: set("hash = zeroblob(65)")},
		{name: "an unknown kind", sign: true, spoil: set("kind = 9")},
		{name: "kind 257", sign: true, spoil: set("kind = 257")},
		{name: "a mode of 33 bits", sign: true, spoil: set("mode = 4294967296 + 420")},
		{name: "a negative size", sign: true, spoil: set("size = -1")},
		{name: "a parent that is missing", sign: true, spoil: set("parent = 9999")},
		{name: "a parent that is a file", sign: true, spoil: set("parent = " + file)},
		{name: "its own parent", sign: true, spoil: set("parent = 30")},
		{name: "a cycle", sign: true, spoil: sqlOn("UPDATE entries SET kind = 2, parent = 31 WHERE id = 30; UPDATE entries SET kind = 2, parent = 32 WHERE id = 31; UPDATE entries SET kind = 2, parent = 30 WHERE id = 32")},
		{name: "too deep", sign: true, spoil: sqlOn(deep.String())},
		{name: "a root below a folder", sign: true, spoil: sqlOn("UPDATE entries SET parent = 2 WHERE id = 1")},
		{name: "no root", sign: true, spoil: sqlOn("DELETE FROM entries WHERE id = 1")},
		{name: "id 0", sign: true, spoil: sqlOn("UPDATE entries SET id = 0 WHERE id = 30")},
		{name: "a negative id", sign: true, spoil: sqlOn("UPDATE entries SET id = -5 WHERE id = 30")},
		{name: "a huge id", spoil: sqlOn("UPDATE entries SET id = 1 << 40 WHERE id = 30")},
		{name: "a seq above the head's", spoil: set("seq = 1 << 40")},
		{name: "seq 0", sign: true, spoil: set("seq = 0")},
		{name: "a row that differs", spoil: set("size = size + 1"), want: ErrMismatch},
		{name: "a name that differs", spoil: set("name = 'other'"), want: ErrMismatch},
		{name: "a seq that differs", spoil: set("seq = seq - 1"), want: ErrMismatch},
		{name: "rows changed about", spoil: sqlOn("UPDATE entries SET name = CASE id WHEN 30 THEN (SELECT name FROM entries WHERE id = 31) ELSE (SELECT name FROM entries WHERE id = 30) END WHERE id IN (30, 31)"), want: ErrMismatch},
		{name: "a row too many", spoil: sqlOn("INSERT INTO entries SELECT 1900, parent, 'extra', kind, size, mtime, mode, hash, attrs, 7 FROM entries WHERE id = 30"), want: ErrMismatch},
		{name: "a row missing", spoil: sqlOn("DELETE FROM entries WHERE id = 30"), want: ErrMismatch},
		{name: "a tree in a compact file", only: Compact, spoil: sqlOn("INSERT INTO tree VALUES (0, 0, zeroblob(32))")},
		{name: "dead runs in a compact file", only: Compact, spoil: sqlOn("INSERT INTO dead VALUES (7, 8, 9)")},
		{name: "a seq that its index has otherwise", only: Native, sign: true, spoil: unindexed("entries_seq", "UPDATE entries SET seq = 3 WHERE id = 30")},
		{name: "a name that its index has otherwise", only: Native, sign: true, spoil: unindexed("entries_parent_name", "UPDATE entries SET name = 'hidden' WHERE id = 30")},
		{name: "an entry that an index lacks", only: Native, sign: true, spoil: unindexed("entries_parent_name", "INSERT INTO entries SELECT 1900, parent, 'extra', kind, size, mtime, mode, hash, attrs, 7 FROM entries WHERE id = 30")},
		{name: "an index entry without a row", only: Native, sign: true, spoil: unindexed("entries_seq", "DELETE FROM entries WHERE id = 1901")},
		{name: "a leaf of the tree", only: Native, spoil: sqlOn("UPDATE tree SET hash = zeroblob(32) WHERE level = 0 AND idx = 1"), want: ErrCorrupt},
		{name: "a short hash in the tree", only: Native, spoil: sqlOn("UPDATE tree SET hash = x'00' WHERE level = 0 AND idx = 1"), want: ErrCorrupt},
		{name: "the root of the tree", only: Native, spoil: sqlOn("UPDATE tree SET hash = zeroblob(32) WHERE level = 5"), want: ErrCorrupt},
		{name: "a node too many", only: Native, spoil: sqlOn("INSERT INTO tree VALUES (0, 99999, zeroblob(32))"), want: ErrCorrupt},
		{name: "a node missing", only: Native, spoil: sqlOn("DELETE FROM tree WHERE level = 2"), want: ErrCorrupt},
	}
}

// sign makes the owner sign the rows of a crafted file, and the file's tree agree with them.
func sign(t *testing.T, owner *Store, path string, head index.SignedHead, v Variant) index.SignedHead {
	t.Helper()
	c, err := openConn(path, accessScratch)
	if err != nil {
		t.Fatal(err)
	}
	h := head.Head
	root := func() (index.Hash, error) { return streamTree(t.Context(), c, proof.NewBuilder(nil), nil) }
	if v == Native {
		root = func() (index.Hash, error) { return rebuildTree(c, nil) }
	}
	if got, err := root(); err == nil { // ids that the tree has no place for can't be signed
		h.Root = got
	}
	row, err := c.one("SELECT count(*), max(id) + 1, max(seq) FROM entries")
	if err != nil {
		t.Fatal(err)
	}
	h.Count, _ = row[0].(int64)
	next, _ := row[1].(int64)
	seq, _ := row[2].(int64)
	h.NextID, h.Seq = max(h.NextID, next), max(h.Seq, seq)
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	signed, err := index.SignHead(h, owner.key)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

// TestCraftedFilesAreRefused gives a replica every crafted file in both variants. Each is refused with a typed error in
// no time; nothing becomes visible, nothing is left; and the sound file is still taken at the end.
func TestCraftedFilesAreRefused(t *testing.T) {
	owner, replica := newStore(t), newStore(t)
	l := newLocationIn(t, owner)
	if _, err := owner.Commit(t.Context(), l, generate(1900, 1), CommitOptions{AsOf: time.Now}); err != nil {
		t.Fatal(err)
	}
	commit(t, owner, l, index.Change{Op: index.Delete, Entry: index.Entry{ID: 1900}})
	for _, v := range variants {
		sound, err := owner.Export(t.Context(), l, v)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(io.NewSectionReader(sound, 0, sound.Size))
		if err != nil {
			t.Fatal(err)
		}
		for _, group := range [][]craft{schemas(), files(), rows()} {
			for _, k := range group {
				if k.only == 0 || k.only == v {
					t.Run(fmt.Sprintf("%v/%s", v, k.name), func(t *testing.T) { refuse(t, owner, replica, l, sound, b, &k) })
				}
			}
		}
		if err := sound.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, v := range variants {
		if err := replica.importFrom(t, owner, l, v); err != nil {
			t.Fatal(err)
		}
		equal(t, owner, replica, l)
	}
}

func refuse(t *testing.T, owner, replica *Store, l index.Location, sound *Snapshot, b []byte, k *craft) {
	path := filepath.Join(t.TempDir(), "crafted.db")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	k.spoil(t, path)
	if c, err := os.ReadFile(path); err != nil || bytes.Equal(b, c) {
		t.Fatalf("nothing was spoiled: %v", err)
	}
	head := sound.Head
	if k.sign {
		head = sign(t, owner, path, head, sound.Variant)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ctx, cancel := context.WithTimeout(t.Context(), refusedWithin)
	defer cancel()
	start := time.Now()
	err = replica.Import(ctx, l, f, head, sound.Record, sound.Variant)
	took := time.Since(start)
	typed := false
	for _, want := range refusals {
		typed = typed || errors.Is(err, want) && (k.want == nil || k.want == want)
	}
	if !typed || errors.Is(err, context.DeadlineExceeded) || took > refusedWithin {
		t.Errorf("after %v: %v", took, err)
	}
	if _, err := replica.Held(t.Context(), l); !errors.Is(err, ErrNotFound) {
		t.Errorf("it became visible: %v, %v", err, replica.Drop(t.Context(), l))
	}
	if left := staged(t, replica); len(left) != 0 {
		t.Errorf("left in staging: %v", left)
	}
	if testing.Verbose() {
		t.Log(took, err)
	}
}

// TestForeignMetaIsNotUsed gives a replica sound rows in files whose own words about themselves are wrong: head, horizon,
// resume token, dead runs. What the replica says afterwards comes from the verified head alone.
func TestForeignMetaIsNotUsed(t *testing.T) {
	owner := newStore(t)
	l := newLocationIn(t, owner)
	commit(t, owner, l, put("a", 1), put("b", 2))
	commit(t, owner, l, del("a"))
	for name, spoil := range map[string]string{
		"meta":                "UPDATE meta SET head = x'00', record = zeroblob(90), horizon = -1, token = x'00'",
		"no meta":             "DELETE FROM meta",
		"two rows of meta":    "PRAGMA ignore_check_constraints=1; INSERT INTO meta SELECT 2, head, record, horizon, base, token FROM meta",
		"a dead run hidden":   "DELETE FROM dead",
		"a dead run changed":  "UPDATE dead SET hi = hi + 1",
		"a dead run added":    "INSERT INTO dead SELECT seq + 1, 3, 3 FROM dead",
		"a chain of the dead": "UPDATE meta SET base = randomblob(40)",
		"half a base":         "UPDATE meta SET base = x'00'",
	} {
		replica := newStore(t)
		n, err := owner.Export(t.Context(), l, Native)
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(t.TempDir(), "got.db")
		b, err := io.ReadAll(io.NewSectionReader(n, 0, n.Size))
		if err == nil {
			err = os.WriteFile(file, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		sqlOn(spoil)(t, file)
		if err := replica.ImportFile(t.Context(), l, file, n.Head, n.Record, Native); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		equal(t, owner, replica, l)
		held, err := replica.Held(t.Context(), l)
		if emptied := strings.Contains(name, "dead"); err != nil || held.Head != n.Head || (held.Horizon == n.Head.Seq) != emptied {
			t.Errorf("%s: held %+v, %v", name, held, err)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPlantedJournalsAreIgnored puts journals beside a file: they are no part of it.
func TestPlantedJournalsAreIgnored(t *testing.T) {
	owner, replica := newStore(t), newStore(t)
	l := newLocationIn(t, owner)
	commit(t, owner, l, put("a", 1), put("b", 2))
	n, err := owner.Export(t.Context(), l, Native)
	if err != nil {
		t.Fatal(err)
	}
	defer n.Close()
	b, err := io.ReadAll(io.NewSectionReader(n, 0, n.Size))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "got.db")
	live := filepath.Join(dir, "live.db")
	for _, p := range []string{file, live} {
		if err := os.WriteFile(p, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := openConn(live, accessFull)
	if err == nil {
		err = c.script("PRAGMA wal_checkpoint(TRUNCATE); UPDATE entries SET name = 'planted' WHERE id = 2")
	}
	if err != nil {
		t.Fatal(err)
	}
	wal, err := os.ReadFile(live + "-wal")
	if err != nil || len(wal) == 0 {
		t.Fatalf("WAL of %d bytes: %v", len(wal), err)
	}
	for _, suffix := range []string{"-wal", "-journal"} {
		if err := os.WriteFile(file+suffix, wal, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(c.close(), replica.ImportFile(t.Context(), l, file, n.Head, n.Record, Native)); err != nil {
		t.Fatal(err)
	}
	equal(t, owner, replica, l)
}

// TestFlippedBitsAreHarmlessOrFound flips single bits anywhere in sound files. A file is refused with a typed error, or
// the replica made of it is the owner's state in every way.
func TestFlippedBitsAreHarmlessOrFound(t *testing.T) {
	owner, replica := newStore(t), newStore(t)
	l := newLocationIn(t, owner)
	if _, err := owner.Commit(t.Context(), l, generate(400, 1), CommitOptions{AsOf: time.Now}); err != nil {
		t.Fatal(err)
	}
	flips := 60
	if testing.Short() {
		flips = 20
	}
	r := rand.New(rand.NewPCG(1, 2))
	for _, v := range variants {
		n, err := owner.Export(t.Context(), l, v)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(io.NewSectionReader(n, 0, n.Size))
		if err != nil {
			t.Fatal(err)
		}
		refused := 0
		for range flips {
			at, bit := r.IntN(len(b)), byte(1)<<r.IntN(8)
			spoiled := bytes.Clone(b)
			spoiled[at] ^= bit
			err := replica.Import(t.Context(), l, bytes.NewReader(spoiled), n.Head, n.Record, v)
			switch {
			case err == nil:
				equal(t, owner, replica, l)
				if err := replica.CheckLocation(t.Context(), l, CheckOptions{Deep: true}); err != nil {
					t.Errorf("%v, byte %d: %v", v, at, err)
				}
			case errors.Is(err, ErrCorrupt) || errors.Is(err, ErrMismatch) || errors.Is(err, ErrNewerVersion):
				refused++
			default:
				t.Errorf("%v, byte %d: %v", v, at, err)
			}
		}
		if refused == 0 {
			t.Errorf("%v: no flip was found", v)
		}
		if err := n.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
