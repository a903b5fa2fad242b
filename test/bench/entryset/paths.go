package entryset

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"

	"github.com/peerdex/peerdex/index"
)

// ReadPaths returns the set whose names and tree are those of a list: one path a line, relative to the root, "/" between
// names. Folders on the way need no line of their own; one that holds nothing is told by a "/" at its end. A leading "/"
// or "./" counts for nothing, nor do empty lines and those that come twice. With a limit, only so many entries are taken,
// the first in order of path; 0 takes all. The error is [index.ErrInvalid] if a line is no path of a location. The list
// stays in memory.
func ReadPaths(file string, limit int64, seed uint64) (*Set, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	paths, err := parsePaths(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if limit > 0 && int64(len(paths)) > limit {
		paths = paths[:limit] // every folder stands before what it holds
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%s: no paths: %w", file, index.ErrInvalid)
	}
	slices.SortStableFunc(paths, func(a, b listedPath) int { return a.depth - b.depth })
	rows := func(yield func(index.Entry, error) bool) {
		r := rand.New(rand.NewPCG(seed, uint64(len(paths))))
		holder := 0 // the folder whose entries come
		for i, p := range paths {
			dir, name := p.split()
			e := index.Entry{ID: index.RootID + 1 + int64(i), Parent: index.RootID, Name: name, Kind: index.KindFile}
			if p.depth > 1 {
				for paths[holder].path != dir {
					holder++
				}
				e.Parent += 1 + int64(holder)
			}
			if p.folder {
				e.Kind = index.KindDir
			}
			if attributes(r, &e); !yield(e, nil) {
				return
			}
		}
	}
	return &Set{n: int64(len(paths)), word: commonWord(paths), rows: rows}, nil
}

// listedPath is one entry of a list.
type listedPath struct {
	path   string // without "/" at either end
	depth  int    // number of names
	folder bool
}

// split returns the path of the folder that holds the entry, "" for the root, and the entry's name.
func (p *listedPath) split() (dir, name string) {
	i := strings.LastIndexByte(p.path, '/')
	return p.path[:max(i, 0)], p.path[i+1:]
}

// parsePaths returns all entries that a list names, folders on the way too, in order of path: depth-first.
func parsePaths(text string) ([]listedPath, error) {
	var paths []listedPath
	known := map[string]bool{} // folders
	n := 0
	for line := range strings.Lines(text) {
		n++
		line = strings.TrimSuffix(line, "\n")
		p := listedPath{path: strings.TrimLeft(strings.TrimPrefix(line, "./"), "/")}
		p.folder = strings.HasSuffix(p.path, "/")
		if p.path = strings.TrimRight(p.path, "/"); p.path == "" || p.path == "." {
			continue
		}
		for name := range strings.SplitSeq(p.path, "/") {
			if err := index.ValidName(name); err != nil {
				return nil, fmt.Errorf("line %d: %q: %w", n, line, err)
			}
			p.depth++
		}
		if p.depth > index.MaxDepth {
			return nil, fmt.Errorf("line %d: %d names deep: %w", n, p.depth, index.ErrInvalid)
		}
		paths = append(paths, p)
		for p.depth > 1 {
			dir, _ := p.split()
			if known[dir] {
				break
			}
			known[dir] = true
			p = listedPath{path: dir, depth: p.depth - 1, folder: true}
			paths = append(paths, p)
		}
	}
	slices.SortFunc(paths, func(a, b listedPath) int { return comparePaths(a.path, b.path) })
	out := paths[:0]
	for _, p := range paths {
		if last := len(out) - 1; last >= 0 && out[last].path == p.path {
			out[last].folder = out[last].folder || p.folder
			continue
		}
		out = append(out, p)
	}
	return out, nil
}

// comparePaths orders as a walk does: by raw name, folder by folder, so "/" stands before all other bytes.
func comparePaths(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		switch x, y := a[i], b[i]; {
		case x == y:
		case x == '/':
			return -1
		case y == '/':
			return 1
		default:
			return int(x) - int(y)
		}
	}
	return len(a) - len(b)
}

// commonWord returns the word that as near to 1,000 names hold as may be; of several the first by letters.
func commonWord(paths []listedPath) string {
	count := map[string]int{}
	for i := range paths {
		_, name := paths[i].split()
		letters := func(c rune) bool { return c < 'a' || c > 'z' }
		for _, w := range strings.FieldsFunc(strings.ToLower(name), letters) {
			if len(w) >= 5 && len(w) <= 16 {
				count[w]++
			}
		}
	}
	best, off := "", 0
	for w, n := range count {
		d := max(n-rareHits, rareHits-n)
		if best == "" || d < off || d == off && w < best {
			best, off = w, d
		}
	}
	return best
}
