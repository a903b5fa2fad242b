package store

import (
	"errors"
	"strings"
	"testing"
)

// TestIndexesAreChecked gives an index an entry less, one more, and one of another seq or name. The rows are right in each
// case.
func TestIndexesAreChecked(t *testing.T) {
	const extra = "INSERT INTO entries SELECT 900, parent, 'extra', kind, size, mtime, mode, hash, attrs, 900 FROM entries WHERE id = 3"
	for _, name := range []string{"entries_seq", "entries_parent_name"} {
		for _, c := range []struct{ what, seen, unseen, found string }{
			{"one less", "CREATE TABLE keep AS SELECT * FROM entries WHERE id = 3; DELETE FROM entries WHERE id = 3", "INSERT INTO entries SELECT * FROM keep; DROP TABLE keep", ""},
			{"one more", extra, "DELETE FROM entries WHERE id = 900", ""},
			{"another", "UPDATE entries SET name = 'bb', seq = seq + 900 WHERE id = 3", "UPDATE entries SET name = 'b', seq = seq - 900 WHERE id = 3", "1 rows from id 1 to 4 are not in the index by"},
		} {
			dir := t.TempDir()
			s, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			l := newLocationIn(t, s)
			commit(t, s, l, put("a", 1), put("b", 2), put("c", 3))
			path, err := s.LocationFile(t.Context(), l)
			if err := errors.Join(err, s.CheckLocation(t.Context(), l, CheckOptions{Deep: true}), s.Close()); err != nil {
				t.Fatal(err)
			}
			sqlOn(c.seen)(t, path)
			unindexed(name, c.unseen)(t, path)
			if s, err = Open(dir); err != nil {
				t.Fatal(err)
			}
			for how, o := range map[string]CheckOptions{"at once": {Deep: true}, "in steps": {Deep: true, Rest: restless, leaves: 1}} {
				err := s.CheckLocation(t.Context(), l, o)
				if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), c.found) {
					t.Errorf("%s, %s, %s: %v", name, c.what, how, err)
				}
			}
			if err := s.CheckLocation(t.Context(), l, CheckOptions{}); (err == nil) != (c.found != "") {
				t.Errorf("%s, %s, quick: %v", name, c.what, err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}
	}
}
