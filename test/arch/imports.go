package arch

import (
	"fmt"
	"slices"
	"strings"
)

// ImportRule says what the packages of some folders may import. A pattern is a folder of this module ("index"),
// a folder and all below ("index/..."), "std", or an import path of another module, with or without "/...".
type ImportRule struct {
	In     []string // folders the rule is for
	Except []string // folders among them that it is not for
	Only   []string // if not empty: nothing else may be imported
	Never  []string // may not be imported
	Why    string
}

const (
	goLibp2p   = "github.com/libp2p/..."
	multiforms = "github.com/multiformats/..."
	sqlite     = "github.com/mattn/go-sqlite3/..."
)

// ImportRules are the import rules of the tree. They hold for files that are not tests.
func ImportRules() []ImportRule {
	return []ImportRule{
		{
			In: []string{"index/..."}, Except: []string{"index/proof/...", "index/scan/...", "index/volume"},
			Only: []string{"std", "index", "index/membership/...", "index/internal/..."},
			Why:  "index is the shared words: store and protocols both build on them, so they build on nothing",
		},
		{
			In: []string{"index/proof/..."}, Only: []string{"std", "index", "index/internal/...", "lukechampine.com/blake3/..."},
			Why: "a proof is pure computation; BLAKE3 is the one thing the standard library lacks for it",
		},
		{
			In: []string{"index/scan/..."}, Never: []string{"store/...", "protocols/...", "node/...", "discovery/...", "cmd/...", sqlite, goLibp2p},
			Why: "the scanner yields changes and does not know who keeps or sends them",
		},
		{
			In: []string{"index/volume"}, Only: []string{"std", "golang.org/x/sys/..."},
			Why: "which volume a folder lies on is a question to the operating system alone",
		},
		{
			In: []string{"store/..."}, Never: []string{"protocols/...", "node/...", "discovery/...", "cmd/...", goLibp2p, multiforms},
			Why: "what is on disk must not depend on how it travels",
		},
		{
			In: []string{"protocols/..."}, Never: []string{"store/...", "node/...", "discovery/...", "cmd/...", sqlite},
			Why: "a protocol serves through small interfaces of its own, so that it is tested without a database",
		},
		{
			In: []string{"discovery/..."}, Only: []string{"std", "discovery/...", "index", "index/internal/...", goLibp2p, multiforms},
			Why: "finding devices needs libp2p and nothing of what they say to each other",
		},
		{
			In: []string{"node/syncer/..."}, Never: []string{"store/...", "protocols/...", "discovery/...", "cmd/...", sqlite, goLibp2p},
			Why: "the planner and the job queue are tested without a network and without a database",
		},
		{
			In: []string{"node/scrub/..."}, Only: []string{"std", "index", "index/internal/..."},
			Why: "when a file is checked is decided without a store, so that weeks pass in a test",
		},
		{
			In: []string{"node/api/..."}, Never: []string{"store/...", "protocols/...", "discovery/...", "cmd/...", sqlite, goLibp2p},
			Why: "the API serves a Backend; an embedding program brings its own",
		},
		{
			In: []string{"node/..."}, Never: []string{"cmd/..."},
			Why: "the node runs inside other programs, which have no command line of ours",
		},
		{
			In: []string{"..."}, Except: []string{"store/...", "test/..."}, Never: []string{sqlite},
			Why: "one package owns the SQLite driver, its pragmas and its connection hooks",
		},
		{
			In: []string{"..."}, Except: []string{"protocols/wire/...", "test/..."}, Never: []string{"github.com/vmihailenco/msgpack/..."},
			Why: "a peer's bytes go through the bounded decoder of protocols/wire only: the library's own allocates what a header claims",
		},
		{
			In: []string{"..."}, Except: []string{"protocols/wire/...", "node/archive/...", "test/..."}, Never: []string{"github.com/klauspost/compress/..."},
			Why: "decompression of others' bytes is bounded in two places: one for what peers send, one for files carried by hand",
		},
		{
			In: []string{"node/archive/..."}, Only: []string{"std", "index", "github.com/klauspost/compress/..."},
			Why: "the format of exported files is read and written without a store, a node or a network",
		},
		{
			In: []string{"..."}, Except: []string{"cmd/..."}, Never: []string{"github.com/spf13/cobra/...", "github.com/jedib0t/go-pretty/..."},
			Why: "the command line is one front of the node, not a part of it",
		},
		{
			In: []string{"..."}, Except: []string{"discovery/...", "test/..."}, Never: []string{"github.com/libp2p/zeroconf/..."},
			Why: "one package multicasts on the local network",
		},
		{
			In: []string{"..."}, Except: []string{"protocols/notice/...", "test/..."}, Never: []string{"github.com/libp2p/go-libp2p-pubsub/..."},
			Why: "one package knows which options of gossipsub keep strangers out",
		},
		{
			In: []string{"..."}, Except: []string{"test/..."}, Never: []string{"test/..."},
			Why: "proofs from outside use the product, not the other way round",
		},
		{
			In: []string{"test/bench/entryset"}, Only: []string{"std", "index", "index/internal/..."},
			Why: "nothing that is measured takes part in making what it is measured with",
		},
	}
}

// Imports checks every file that is not a test against the rules.
func Imports(files []*File, rules []ImportRule) []Finding {
	var out []Finding
	for _, f := range files {
		if f.Test {
			continue
		}
		for _, r := range rules {
			if !matchAny(r.In, f.Dir) || matchAny(r.Except, f.Dir) {
				continue
			}
			for _, im := range f.Imports {
				if (len(r.Only) > 0 && !im.matchAny(r.Only)) || im.matchAny(r.Never) {
					out = append(out, Finding{f.Path, im.Line, fmt.Sprintf("%s imports %s", f.Dir, im.Path), r.Why})
				}
			}
		}
	}
	return out
}

func (i Import) matchAny(patterns []string) bool {
	if dir, ok := i.Local(); ok {
		return matchAny(patterns, dir)
	}
	return matchAny(patterns, i.Path) || i.Std() && slices.Contains(patterns, "std")
}

// Dependency is a module that the tree may use, and what for.
type Dependency struct {
	Module   string
	TestOnly bool
	Why      string
}

// Dependencies are all modules that the tree may use directly.
func Dependencies() []Dependency {
	return []Dependency{
		{"github.com/BurntSushi/toml", false, "the configuration file"},
		{"github.com/adrg/xdg", false, "where configuration, state and sockets belong on each system"},
		{"github.com/dustin/go-humanize", false, "sizes and times for people"},
		{"github.com/gofrs/flock", false, "one daemon for one data folder"},
		{"github.com/google/go-cmp", true, "differences in tests"},
		{"github.com/jedib0t/go-pretty/v6", false, "tables and progress bars"},
		{"github.com/klauspost/compress", false, "zstd and s2 on the wire and in exported files"},
		{"github.com/libp2p/go-libp2p", false, "the network"},
		{"github.com/libp2p/go-libp2p-pubsub", false, "gossip of notices"},
		{"github.com/libp2p/zeroconf/v2", false, "mDNS"},
		{"github.com/mattn/go-sqlite3", false, "the store"},
		{"github.com/multiformats/go-multiaddr", false, "libp2p's addresses"},
		{"github.com/rogpeppe/go-internal", true, "command tests as scripts"},
		{"github.com/spf13/cobra", false, "the command line"},
		{"github.com/vmihailenco/msgpack/v5", false, "the payload of frames"},
		{"go.uber.org/goleak", true, "goroutines that outlive their test"},
		{"golang.org/x/sync", false, "groups of goroutines"},
		{"golang.org/x/sys", false, "system calls that package syscall lacks"},
		{"golang.org/x/term", false, "whether a person is watching"},
		{"golang.org/x/time", false, "caps on what a device sends and receives"},
		{"lukechampine.com/blake3", false, "the hash tree"},
		{"pgregory.net/rapid", true, "property tests"},
	}
}

// Modules checks that every import of another module is of an allowed one, that those for tests stay in tests, and
// that the direct requirements of go.mod are exactly the allowed ones.
func Modules(files []*File, goMod string, allowed []Dependency) []Finding {
	const why = "each dependency is weighed once, and written down with its purpose"
	var out []Finding
	for _, f := range files {
		for _, im := range f.Imports {
			if _, local := im.Local(); local || im.Std() {
				continue
			}
			i := slices.IndexFunc(allowed, func(d Dependency) bool { return match(d.Module+"/...", im.Path) })
			switch {
			case i < 0:
				out = append(out, Finding{f.Path, im.Line, "imports " + im.Path + ", which is not an allowed module", why})
			case allowed[i].TestOnly && !f.Test && !match("test/...", f.Dir):
				out = append(out, Finding{f.Path, im.Line, "imports " + im.Path + " outside tests", allowed[i].Why})
			}
		}
	}
	direct := directRequires(goMod)
	for _, m := range direct {
		if !slices.ContainsFunc(allowed, func(d Dependency) bool { return d.Module == m }) {
			out = append(out, Finding{"go.mod", 0, "requires " + m + ", which is not an allowed module", why})
		}
	}
	for _, d := range allowed {
		if !slices.Contains(direct, d.Module) {
			out = append(out, Finding{"go.mod", 0, "does not require " + d.Module + ", which is listed as allowed", why})
		}
	}
	return out
}

// directRequires returns the modules that go.mod requires without an "// indirect" remark.
func directRequires(goMod string) []string {
	var out []string
	block := false
	for line := range strings.Lines(goMod) {
		line = strings.TrimSpace(line)
		switch line {
		case "require (":
			block = true
			continue
		case ")":
			block = false
		}
		single, ok := strings.CutPrefix(line, "require ")
		if ok {
			line = single
		}
		if f := strings.Fields(line); (block || ok) && len(f) == 2 {
			out = append(out, f[0])
		}
	}
	return out
}
