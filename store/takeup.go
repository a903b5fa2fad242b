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

// takeUp uses files of own locations again that node.db lost sight of: all of them if it is new, since the one of before
// is gone; otherwise those of locations whose file is missing, since node.db is older than they are. A pointer that is
// gone must not make leftovers of what it pointed to. Replicas are fetched again.
func (s *Store) takeUp(ctx context.Context) error {
	last, err := s.Setting(ctx, "generation")
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	isNew := err != nil // no generation was ever taken
	named, err := s.node.generations(ctx)
	if err != nil {
		return err
	}
	found, highest, err := s.generationFiles(func(l index.Location) bool {
		gen, known := named[l]
		return isNew || known && !exists(s.locationPath(l, gen))
	})
	if err != nil {
		return err
	}
	if highest == 0 || !isNew && len(found) == 0 {
		return nil
	}
	counted, _ := last.(int64)
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
		return setSetting(c, "generation", max(highest, counted))
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

// generationFiles looks at the files of the own locations that are wanted, and returns the best of each, and the highest
// number that any file in the folder has.
func (s *Store) generationFiles(wanted func(index.Location) bool) (found map[index.Location]*generationFile, highest int64, err error) {
	files, err := os.ReadDir(filepath.Join(s.dir, "locations"))
	if err != nil {
		return nil, 0, fmt.Errorf("list locations: %w", err)
	}
	found = map[index.Location]*generationFile{}
	for _, f := range files {
		l, gen, ok := parseGeneration(f.Name())
		if !ok {
			continue
		}
		if highest = max(highest, gen); l.Owner != s.self || !wanted(l) {
			continue
		}
		g := s.lookAt(l, gen)
		if was := found[l]; was == nil || g.sound && !was.sound || g.sound == was.sound && g.gen > was.gen {
			found[l] = g
		}
	}
	return found, highest, nil
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
