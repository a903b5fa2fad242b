package store

import (
	"context"
	"errors"
	"fmt"
)

// Diff compares the entries of two location files row by row with plain SQL, reading both and writing neither. It
// returns the number of rows of a, and what the first difference is, "" if there is none. Files that another process
// is writing are compared as they stand at one moment each.
func Diff(ctx context.Context, a, b string) (rows int64, first string, err error) {
	c, err := openConn(a, accessRead)
	if err != nil {
		return 0, "", fmt.Errorf("compare: %w", err)
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := c.expect(locationAppID, locationVersion); err != nil {
		return 0, "", fmt.Errorf("compare %s: %w", a, err)
	}
	if !exists(b) {
		return 0, "", fmt.Errorf("compare %s: %w", b, ErrNotFound)
	}
	if err := c.run("ATTACH ? AS other", b); err != nil {
		return 0, "", fmt.Errorf("compare %s: %w", b, err)
	}
	err = c.view(func() error {
		rows, err = c.int("SELECT count(*) FROM main.entries")
		if err != nil {
			return err
		}
		first, err = firstDifference(ctx, c)
		return err
	})
	if err != nil {
		return rows, first, fmt.Errorf("compare: %w", err)
	}
	return rows, first, nil
}

func firstDifference(ctx context.Context, c *conn) (string, error) {
	const onlyIn = "SELECT id, name FROM %s.entries WHERE id NOT IN (SELECT id FROM %s.entries) ORDER BY id LIMIT 1"
	for _, side := range [][3]string{{"main", "other", "the first"}, {"other", "main", "the second"}} {
		for row, err := range c.query(ctx, fmt.Sprintf(onlyIn, side[0], side[1])) {
			if err != nil {
				return "", err
			}
			return fmt.Sprintf("id %v (%q) is only in %s", row[0], row[1], side[2]), nil
		}
	}
	const differ = "SELECT a.id, a.name, b.name FROM main.entries a JOIN other.entries b ON a.id = b.id WHERE" +
		" a.parent <> b.parent OR a.name <> b.name OR a.kind <> b.kind OR a.size <> b.size OR a.mtime <> b.mtime OR" +
		" a.mode <> b.mode OR a.hash IS NOT b.hash OR a.attrs IS NOT b.attrs OR a.seq <> b.seq ORDER BY a.id LIMIT 1"
	for row, err := range c.query(ctx, differ) {
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("id %v differs (%q, %q)", row[0], row[1], row[2]), nil
	}
	return "", nil
}
