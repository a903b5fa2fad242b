package store

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/proof"
)

// forge changes a location's file behind the store's back and has the owner's key sign what came out, as an owner that
// means harm would. The statements give seqs to what they change, above last.
func forge(t *testing.T, s *Store, l index.Location, sql string) {
	t.Helper()
	err := s.writeLocation(t.Context(), l, func(c *conn, _ reader) error {
		return c.tx(func() error {
			m, err := readMeta(c)
			if err != nil {
				return err
			}
			if err := c.run("CREATE TEMP TABLE IF NOT EXISTS last (s)"); err != nil {
				return err
			}
			if err := c.run("INSERT INTO last VALUES (?)", m.head.Seq); err != nil {
				return err
			}
			if err := c.script(sql); err != nil {
				return err
			}
			row, err := c.one("SELECT count(*), max(id) + 1, max(seq) FROM entries")
			if err != nil {
				return err
			}
			m.head.Count, _ = row[0].(int64)
			next, _ := row[1].(int64)
			seq, _ := row[2].(int64)
			for row, err := range c.query(t.Context(), "SELECT seq, lo, hi FROM dead WHERE seq > ? ORDER BY seq", m.head.Seq) {
				if err != nil {
					return err
				}
				d := scanDead(row)
				m.head.Dead, seq = proof.FoldDead(m.head.Dead, d), max(seq, d.Seq)
			}
			m.head.Seq, m.head.NextID = max(m.head.Seq, seq), max(m.head.NextID, next)
			if m.head.Root, err = rebuildTree(c, nil); err != nil {
				return err
			}
			return s.signMeta(c, &m)
		})
	})
	if err != nil {
		t.Fatal(err)
	}
}

// last is the seq before a forged change.
const last = "(SELECT max(s) FROM last)"

// chain makes n folders below each other, the first below the root, with ids from lo on.
func chain(lo, n int) string {
	return fmt.Sprintf("WITH RECURSIVE c (i) AS (SELECT %d UNION ALL SELECT i + 1 FROM c WHERE i < %d)"+
		" INSERT INTO entries SELECT i, CASE i WHEN %d THEN 1 ELSE i - 1 END, 'd' || i, 2, 0, 0, 0, NULL, NULL, %s + i FROM c", lo, lo+n-1, lo, last)
}

// TestRowsThatAreNoTreeAreRefused has an owner sign rows that are not one tree: no replica takes them, as first sync, as
// delta in memory, or as delta through staging.
func TestRowsThatAreNoTreeAreRefused(t *testing.T) {
	const touch = "UPDATE entries SET mtime = mtime + 1, seq = " + last + " + 2000 + id WHERE id > 30;"
	for _, c := range []struct{ name, before, sql string }{
		{"a parent that is missing", "", "UPDATE entries SET parent = 9000000, seq = " + last + " + 1 WHERE id = 20"},
		{"a parent that is a file", "", "UPDATE entries SET parent = 21, kind = 1, seq = " + last + " + id WHERE id IN (20, 21)"},
		{"a cycle", "", "UPDATE entries SET parent = CASE id WHEN 20 THEN 21 ELSE 20 END, kind = 2, seq = " + last + " + id WHERE id IN (20, 21)"},
		{"a folder that became a file", "", "UPDATE entries SET kind = 1, seq = " + last + " + 1 WHERE id = 2"},
		{"a folder that died alone", "", "DELETE FROM entries WHERE id = 2; INSERT INTO dead VALUES (" + last + " + 1, 2, 2)"},
		{"new folders too deep", "", chain(100_000, index.MaxDepth+2)},
		{"a file too deep", chain(100_000, index.MaxDepth+1), "UPDATE entries SET parent = " + fmt.Sprint(100_000+index.MaxDepth) + ", seq = " + last + " + 1 WHERE id = 20"},
		{"moved too deep", chain(100_000, 600) + ";" + chain(200_000, 600), "UPDATE entries SET parent = 100599, seq = " + last + " + 1 WHERE id = 200000"},
	} {
		for _, mode := range []string{"full", "delta", "staged"} {
			t.Run(c.name+"/"+mode, func(t *testing.T) {
				owner, err := Open(t.TempDir())
				if err != nil {
					t.Fatal(err)
				}
				defer owner.Close()
				replica := newStore(t)
				l := newLocationIn(t, owner)
				n := 100
				if mode == "staged" {
					n = deltaInMemory + 100
				}
				if _, err := owner.Commit(t.Context(), l, generate(n, 1), CommitOptions{AsOf: time.Now}); err != nil {
					t.Fatal(err)
				}
				if c.before != "" {
					forge(t, owner, l, c.before)
				}
				if mode != "full" {
					if err := pull(t.Context(), owner, replica, l, 4096); err != nil {
						t.Fatal(err)
					}
				}
				sql := c.sql
				if mode == "staged" {
					sql = touch + sql
				}
				before, _ := replica.Held(t.Context(), l)
				forge(t, owner, l, sql)
				if err := pull(t.Context(), owner, replica, l, 4096); !errors.Is(err, ErrMismatch) || !errors.Is(err, index.ErrInvalid) {
					t.Errorf("pulled: %v", err)
				}
				if after, _ := replica.Held(t.Context(), l); after.Head != before.Head {
					t.Errorf("the replica moved to seq %d", after.Head.Seq)
				}
				if left := staged(t, replica); len(left) != 0 {
					t.Errorf("left in staging: %v", left)
				}
			})
		}
	}
}

// TestDeepTreesAreTaken moves folders about at the very limit.
func TestDeepTreesAreTaken(t *testing.T) {
	owner, replica := newStore(t), newStore(t)
	l := newLocationIn(t, owner)
	commit(t, owner, l, put("a", 1))
	forge(t, owner, l, chain(100_000, index.MaxDepth/2)+";"+chain(200_000, index.MaxDepth/2))
	if err := pull(t.Context(), owner, replica, l, 4096); err != nil {
		t.Fatal(err)
	}
	deepest := fmt.Sprint(200_000 + index.MaxDepth/2 - 1)
	forge(t, owner, l, "UPDATE entries SET parent = "+fmt.Sprint(100_000+index.MaxDepth/2-1)+", seq = "+last+" + 1 WHERE id = 200000;"+
		"UPDATE entries SET parent = "+deepest+", seq = "+last+" + 2 WHERE id = 2")
	if err := pull(t.Context(), owner, replica, l, 4096); err != nil {
		t.Fatal(err)
	}
	equal(t, owner, replica, l)
	fresh := newStore(t)
	if err := pull(t.Context(), owner, fresh, l, 4096); err != nil {
		t.Fatal(err)
	}
}
