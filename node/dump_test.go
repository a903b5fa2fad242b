package node_test

import (
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"slices"
	"strings"
	"testing"

	_ "github.com/mattn/go-sqlite3" // so that what the store wrote is read by something else

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/store"
)

// feed commits changes to a location without a folder.
func (d *device) feed(l node.Location, changes iter.Seq2[index.Change, error]) {
	d.t.Helper()
	if _, err := d.Commit(d.t.Context(), l.Ref(), changes); err != nil {
		d.t.Fatal(err)
	}
}

// file is the path of the database file of a location.
func (d *device) file(l index.Location) string {
	d.t.Helper()
	st, err := store.OpenReadOnly(d.cfg.Dir)
	if err != nil {
		d.t.Fatal(err)
	}
	path, err := st.LocationFile(d.t.Context(), l)
	if err := errors.Join(err, st.Close()); err != nil {
		d.t.Fatal(err)
	}
	return path
}

// query runs SQL on the database file of a location, beside the node, and returns each row as text.
func (d *device) query(l index.Location, query string) []string {
	d.t.Helper()
	db, err := sql.Open("sqlite3", "file:"+(&url.URL{Path: d.file(l)}).EscapedPath()+"?mode=ro")
	if err != nil {
		d.t.Fatal(err)
	}
	defer db.Close()
	rows, err := db.Query(query)
	if err != nil {
		d.t.Fatal(err)
	}
	defer rows.Close()
	cols, err := rows.Columns()
	if err != nil {
		d.t.Fatal(err)
	}
	var out []string
	for rows.Next() {
		vals, dest := make([]any, len(cols)), make([]any, len(cols))
		for i := range vals {
			dest[i] = &vals[i]
		}
		if err := rows.Scan(dest...); err != nil {
			d.t.Fatal(err)
		}
		out = append(out, strings.TrimSuffix(fmt.Sprintln(vals...), "\n"))
	}
	if err := rows.Err(); err != nil {
		d.t.Fatal(err)
	}
	return out
}

// rows are all rows of a location, by SQL that is not the store's.
func (d *device) rows(l node.Location) []string {
	return d.query(l.Ref(), "SELECT id, parent, hex(name), kind, size, mtime, mode, hex(hash), hex(attrs), seq FROM entries ORDER BY id")
}

func (d *device) horizon(l node.Location) int64 {
	d.t.Helper()
	var n int64
	if _, err := fmt.Sscan(d.query(l.Ref(), "SELECT horizon FROM meta")[0], &n); err != nil {
		d.t.Fatal(err)
	}
	return n
}

// sameRows compares all rows of a location on two devices.
func sameRows(t *testing.T, a, b *device, l node.Location) {
	t.Helper()
	if x, y := a.rows(l), b.rows(l); len(x) == 0 || !slices.Equal(x, y) {
		t.Errorf("%s has\n%s\n%s has\n%s", a.cfg.DeviceName, strings.Join(x, "\n"), b.cfg.DeviceName, strings.Join(y, "\n"))
	}
}
