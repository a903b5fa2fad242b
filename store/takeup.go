package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/peerdex/peerdex/index"
)

// takeUp uses the files of own locations again when node.db was lost beside them: a pointer that is gone must not make
// leftovers of what it pointed to. Membership, and what was heard, are gone. Replicas are fetched again.
func (s *Store) takeUp(ctx context.Context) error {
	if _, err := s.Setting(ctx, "generation"); !errors.Is(err, ErrNotFound) {
		return err // no generation was ever taken: node.db is new
	}
	files, err := os.ReadDir(filepath.Join(s.dir, "locations"))
	if err != nil {
		return fmt.Errorf("list locations: %w", err)
	}
	highest := int64(0)
	found := map[index.Location]*generationFile{}
	for _, f := range files {
		l, gen, ok := parseGeneration(f.Name())
		if highest = max(highest, gen); !ok || l.Owner != s.self {
			continue
		}
		g := s.lookAt(l, gen)
		if was := found[l]; was == nil || g.sound && !was.sound || g.sound == was.sound && g.gen > was.gen {
			found[l] = g
		}
	}
	if highest == 0 {
		return nil
	}
	err = s.node.tx(ctx, func(c *conn) error {
		for l, g := range found {
			if err := setGeneration(c, l, g.gen); err != nil {
				return err
			}
			if !g.sound {
				continue
			}
			if err := errors.Join(insertOwn(c, &g.meta), insertPublished(c, &g.meta.head.Head)); err != nil {
				return err
			}
		}
		return setSetting(c, "generation", highest)
	})
	if err != nil {
		return fmt.Errorf("use the files of before: %w", err)
	}
	return nil
}

// generationFile is a file of an own location that no pointer names.
type generationFile struct {
	gen   int64
	meta  meta
	sound bool // complete, and signed by us, as far as it says itself
}

func parseGeneration(name string) (l index.Location, gen int64, ok bool) {
	loc, rest, _ := strings.Cut(name, ".")
	number, suffix, _ := strings.Cut(rest, ".")
	gen, err := strconv.ParseInt(number, 10, 64)
	if err != nil || gen < 1 || suffix != "db" {
		return l, 0, false
	}
	err = l.UnmarshalText([]byte(loc))
	return l, gen, err == nil
}

func (s *Store) lookAt(l index.Location, gen int64) *generationFile {
	g := &generationFile{gen: gen}
	c, err := openConn(s.locationPath(l, gen), accessFull) // which brings the journal of a crash in
	if err != nil {
		return g
	}
	if c.expect(locationAppID, locationVersion) == nil {
		g.meta, err = readMeta(c)
		h := &g.meta.head
		g.sound = err == nil && g.meta.token == nil && h.Location == l && h.Verify() == nil && index.HashRecord(g.meta.record) == h.Record
	}
	_ = c.close()
	return g
}
