package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"

	_ "github.com/mattn/go-sqlite3" // the floor is SQLite without peerdex
)

// floor measures what copying the rows of a location's file into a fresh one and building both indexes takes with
// nothing else done, and nothing safe. The fresh file is deleted.
func floor(ctx context.Context, source, fresh string) (took cost, err error) {
	schema, err := entriesSchema(ctx, source)
	if err != nil {
		return cost{}, fmt.Errorf("floor: %w", err)
	}
	statements := []string{schema[0], "ATTACH '" + fileURI(source, "mode=ro") + "' AS src", "INSERT INTO main.entries SELECT * FROM src.entries"}
	statements = append(statements, schema[1:]...)
	defer func() { err = errors.Join(err, os.Remove(fresh)) }()
	settle()
	begin := start()
	db, err := sql.Open("sqlite3", fileURI(fresh, "_journal_mode=OFF&_synchronous=OFF&_cache_size=-65536"))
	if err != nil {
		return cost{}, fmt.Errorf("floor: %w", err)
	}
	db.SetMaxOpenConns(1) // what is attached is the connection's
	for _, s := range statements {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return cost{}, errors.Join(fmt.Errorf("floor: %w", err), db.Close())
		}
	}
	if err := db.Close(); err != nil {
		return cost{}, fmt.Errorf("floor: %w", err)
	}
	return begin.cost(), nil
}

// entriesSchema returns the text that makes the table of entries of a location's file, and those of its two indexes.
func entriesSchema(ctx context.Context, file string) (out []string, err error) {
	db, err := sql.Open("sqlite3", fileURI(file, "mode=ro"))
	if err != nil {
		return nil, err
	}
	defer db.Close()
	rows, err := db.QueryContext(ctx, "SELECT sql FROM sqlite_schema WHERE tbl_name = 'entries' ORDER BY type = 'index', name")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	if len(out) != 3 && rows.Err() == nil {
		return nil, fmt.Errorf("%s: %d parts of the schema of entries, want a table and two indexes", file, len(out))
	}
	return out, rows.Err()
}

// fileURI names a database file to SQLite, with options.
func fileURI(path, options string) string {
	return "file:" + (&url.URL{Path: path}).EscapedPath() + "?" + options
}
