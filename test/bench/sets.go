package main

import (
	"flag"
	"fmt"

	"github.com/peerdex/peerdex/test/bench/entryset"
)

// setFlags say which entries a benchmark works on.
type setFlags struct {
	entries int64
	paths   string
	seed    uint64
}

func (f *setFlags) add(fs *flag.FlagSet) {
	fs.Int64Var(&f.entries, "entries", 0, "number of `entries`; 0: 1,000,000, or all of -paths")
	fs.StringVar(&f.paths, "paths", "", "a `file` of relative paths, one a line, to take names from")
	fs.Uint64Var(&f.seed, "seed", 1, "`seed` of what is made up")
}

// open makes the set.
func (f *setFlags) open() (*entryset.Set, error) {
	switch {
	case f.entries < 0:
		return nil, fmt.Errorf("-entries %d: it can't be negative", f.entries)
	case f.paths != "":
		return entryset.ReadPaths(f.paths, f.entries, f.seed)
	case f.entries == 0:
		return entryset.Generate(1_000_000, f.seed)
	}
	return entryset.Generate(f.entries, f.seed)
}
