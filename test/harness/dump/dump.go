// Package dump compares the database files of two devices by plain SQL. Nothing of the store takes part, so that a mistake
// of it can't hide itself.
package dump

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"net/url"

	_ "github.com/mattn/go-sqlite3" // SQLite without peerdex
)

const (
	entriesSQL = "SELECT quote(id) || ',' || quote(parent) || ',' || quote(name) || ',' || quote(kind) || ',' || quote(size) || ',' ||" +
		" quote(mtime) || ',' || quote(mode) || ',' || quote(hash) || ',' || quote(attrs) || ',' || quote(seq) FROM entries ORDER BY id"
	deadSQL = "SELECT quote(seq) || ',' || quote(lo) || ',' || quote(hi) FROM dead WHERE seq > ? ORDER BY seq"
)

// Entries yields every entry of a location's file as one line, all columns as SQL writes them, in order of id. The file
// is read as it stands at one moment, also while its process writes it.
func Entries(ctx context.Context, file string) iter.Seq2[string, error] {
	return lines(ctx, file, entriesSQL)
}

// Compare compares the entries of two files of a location, and the deletions that both still know. It returns the
// number of entries of a, and the first difference, "" if there is none.
func Compare(ctx context.Context, a, b string) (entries int64, first string, err error) {
	entries, first, err = compare(Entries(ctx, a), Entries(ctx, b))
	if err != nil || first != "" {
		return entries, first, err
	}
	known := int64(0)
	for _, file := range []string{a, b} {
		h, err := horizon(ctx, file)
		if err != nil {
			return entries, "", err
		}
		known = max(known, h)
	}
	_, first, err = compare(lines(ctx, a, deadSQL, known), lines(ctx, b, deadSQL, known))
	if first != "" {
		first = "deletions: " + first
	}
	return entries, first, err
}

// CompareEntries is [Compare] without the deletions, for files that hold nothing but entries.
func CompareEntries(ctx context.Context, a, b string) (entries int64, first string, err error) {
	return compare(Entries(ctx, a), Entries(ctx, b))
}

func compare(a, b iter.Seq2[string, error]) (n int64, first string, err error) {
	next, stop := iter.Pull2(b)
	defer stop()
	for line, err := range a {
		if err != nil {
			return n, "", err
		}
		n++
		other, err, ok := next()
		switch {
		case err != nil:
			return n, "", err
		case !ok:
			return n, fmt.Sprintf("row %d, %s, is only in the first", n, line), nil
		case other != line:
			return n, fmt.Sprintf("row %d is %s in the first and %s in the second", n, line, other), nil
		}
	}
	other, err, ok := next()
	if ok && err == nil {
		first = fmt.Sprintf("row %d, %s, is only in the second", n+1, other)
	}
	return n, first, err
}

// horizon is the seq from which on a file knows all deletions.
func horizon(ctx context.Context, file string) (h int64, err error) {
	db, err := open(file)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return h, db.QueryRowContext(ctx, "SELECT horizon FROM meta").Scan(&h)
}

// lines yields what a query of one column returns.
func lines(ctx context.Context, file, query string, args ...any) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		if err := each(ctx, file, query, args, func(s string) bool { return yield(s, nil) }); err != nil {
			yield("", fmt.Errorf("dump %s: %w", file, err))
		}
	}
}

func each(ctx context.Context, file, query string, args []any, yield func(string) bool) (err error) {
	db, err := open(file)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var line sql.RawBytes
		if err := rows.Scan(&line); err != nil {
			return err
		}
		if !yield(string(line)) {
			return nil
		}
	}
	return rows.Err()
}

func open(file string) (*sql.DB, error) {
	db, err := sql.Open("sqlite3", "file:"+(&url.URL{Path: file}).EscapedPath()+"?mode=ro")
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", file, err)
	}
	return db, nil
}
