package dump

import (
	"database/sql"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// file makes a database with three entries and two deletions, and then changes it.
func file(t *testing.T, change string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "a b?.db")
	db, err := sql.Open("sqlite3", "file:"+strings.NewReplacer("?", "%3f").Replace(path))
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec(`CREATE TABLE entries (id INTEGER PRIMARY KEY, parent, name, kind, size, mtime, mode, hash, attrs, seq);
		CREATE TABLE dead (seq, lo, hi); CREATE TABLE meta (horizon);
		INSERT INTO meta VALUES (0);
		INSERT INTO dead VALUES (4, 10, 12), (5, 20, 20);
		INSERT INTO entries VALUES (1, 0, '', 2, 0, 0, 0, NULL, NULL, 1), (2, 1, CAST(x'ff41' AS TEXT), 1, 5, -7, 420, x'00', NULL, 2),
			(3, 1, 'b', 1, 5, 7, 420, NULL, x'01', 3);` + change)
	if err := errors.Join(err, db.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCompare(t *testing.T) {
	for change, want := range map[string]string{
		"": "",
		"UPDATE entries SET parent = 3 WHERE id = 2":                    "row 2",
		"UPDATE entries SET name = CAST(x'fe41' AS TEXT) WHERE id = 2":  "row 2",
		"UPDATE entries SET name = CAST(name AS BLOB) WHERE id = 2":     "row 2",
		"UPDATE entries SET kind = 3 WHERE id = 2":                      "row 2",
		"UPDATE entries SET size = 6 WHERE id = 2":                      "row 2",
		"UPDATE entries SET mtime = -8 WHERE id = 2":                    "row 2",
		"UPDATE entries SET mode = 0 WHERE id = 2":                      "row 2",
		"UPDATE entries SET hash = NULL WHERE id = 2":                   "row 2",
		"UPDATE entries SET attrs = x'' WHERE id = 2":                   "row 2",
		"UPDATE entries SET seq = 9 WHERE id = 3":                       "row 3",
		"UPDATE entries SET id = 4 WHERE id = 3":                        "row 3",
		"DELETE FROM entries WHERE id = 3":                              "only in the first",
		"INSERT INTO entries SELECT 4, 1, 'c', 1, 0, 0, 0, NULL, '', 6": "only in the second",
		"UPDATE dead SET hi = 13 WHERE seq = 4":                         "deletions: row 1",
		"DELETE FROM dead WHERE seq = 5":                                "deletions: row 2",
		"DELETE FROM dead WHERE seq = 4; UPDATE meta SET horizon = 4":   "", // forgotten, and it says so
	} {
		a, b := file(t, ""), file(t, change)
		n, first, err := Compare(t.Context(), a, b)
		if err != nil || (first == "") != (want == "") || !strings.Contains(first, want) || n < 2 || n > 3 {
			t.Errorf("%q: %d rows, %q, %v", change, n, first, err)
		}
		if strings.Contains(change, "dead") {
			if n, first, err := CompareEntries(t.Context(), a, b); n != 3 || first != "" || err != nil {
				t.Errorf("entries with %q: %d rows, %q, %v", change, n, first, err)
			}
		}
	}
}

func TestNoFile(t *testing.T) {
	none := filepath.Join(t.TempDir(), "none")
	for _, pair := range [][2]string{{none, file(t, "")}, {file(t, ""), none}} {
		if _, _, err := Compare(t.Context(), pair[0], pair[1]); err == nil {
			t.Error("a file that is not there is compared")
		}
	}
}
