package arch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// parse parses sources given as name, text pairs.
func parse(t *testing.T, nameText ...string) []*File {
	t.Helper()
	var out []*File
	for i := 0; i < len(nameText); i += 2 {
		f, err := Parse(nameText[i], []byte(nameText[i+1]))
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, f)
	}
	return out
}

// importing is a file that imports the given paths; "name path" gives an alias.
func importing(paths ...string) string {
	var b strings.Builder
	b.WriteString("package p\n")
	for _, p := range paths {
		if name, rest, ok := strings.Cut(p, " "); ok {
			fmt.Fprintf(&b, "import %s %q\n", name, rest)
		} else {
			fmt.Fprintf(&b, "import %q\n", p)
		}
	}
	return b.String()
}

func TestImportRulesFail(t *testing.T) {
	own := func(dir string) string { return Module + "/" + dir }
	tests := []struct {
		file, imports string
		broken        int // rules
	}{
		{"index/a.go", "encoding/binary", 0},
		{"index/a.go", own("index/internal/canon"), 0},
		{"index/a.go", "lukechampine.com/blake3", 1},
		{"index/a.go", own("index/proof"), 1},
		{"index/a.go", own("index/scan"), 1},
		{"index/membership/a.go", own("index"), 0},
		{"index/membership/a.go", own("store"), 1},
		{"index/internal/canon/a.go", "golang.org/x/sys/unix", 1},
		{"index/new/a.go", "golang.org/x/sys/unix", 1},
		{"index/proof/a.go", "lukechampine.com/blake3", 0},
		{"index/proof/a.go", "lukechampine.com/blake3/guts", 0},
		{"index/proof/a.go", "golang.org/x/sync/errgroup", 1},
		{"index/scan/a.go", "golang.org/x/sys/unix", 0},
		{"index/scan/a.go", own("store"), 1},
		{"index/scan/a.go", own("protocols/batch"), 1},
		{"index/scan/a.go", own("node"), 1},
		{"index/scan/a.go", "github.com/mattn/go-sqlite3", 2},
		{"index/volume/a.go", "golang.org/x/sys/unix", 0},
		{"index/volume/a.go", own("index/scan"), 1},
		{"store/a.go", "github.com/mattn/go-sqlite3", 0},
		{"store/sub/a.go", "github.com/mattn/go-sqlite3", 0},
		{"store/a.go", "github.com/libp2p/go-libp2p/core/peer", 1},
		{"store/a.go", "github.com/multiformats/go-multiaddr", 1},
		{"store/a.go", own("protocols/wire"), 1},
		{"store/a.go", own("node/syncer"), 1},
		{"store/a_test.go", own("protocols/wire"), 0},
		{"protocols/batch/a.go", own("protocols/wire"), 0},
		{"protocols/batch/a.go", own("store"), 1},
		{"protocols/batch/a.go", own("node/api"), 1},
		{"protocols/batch/a.go", "github.com/vmihailenco/msgpack/v5", 1},
		{"protocols/wire/a.go", "github.com/vmihailenco/msgpack/v5", 0},
		{"protocols/batch/a.go", "github.com/klauspost/compress/zstd", 1},
		{"protocols/wire/a.go", "github.com/klauspost/compress/zstd", 0},
		{"node/archive/a.go", "github.com/klauspost/compress/zstd", 0},
		{"node/archive/a.go", own("store"), 1},
		{"discovery/a.go", "github.com/libp2p/zeroconf/v2", 0},
		{"discovery/a.go", "github.com/multiformats/go-multiaddr", 0},
		{"discovery/a.go", own("store"), 1},
		{"discovery/a.go", own("node"), 1},
		{"discovery/a.go", "golang.org/x/sync/errgroup", 1},
		{"node/a.go", own("store"), 0},
		{"node/a.go", own("cmd/peerdex"), 1},
		{"node/a.go", "github.com/mattn/go-sqlite3", 1},
		{"node/a.go", "github.com/libp2p/zeroconf/v2", 1},
		{"node/a.go", "github.com/libp2p/go-libp2p-pubsub", 1},
		{"protocols/notice/a.go", "github.com/libp2p/go-libp2p-pubsub/pb", 0},
		{"node/a.go", "github.com/spf13/cobra", 1},
		{"node/a.go", "github.com/jedib0t/go-pretty/v6/table", 1},
		{"node/a.go", own("test/harness"), 1},
		{"node/syncer/a.go", own("store"), 1},
		{"node/syncer/a.go", "github.com/libp2p/go-libp2p/core/peer", 1},
		{"node/scrub/a.go", own("index"), 0},
		{"node/scrub/a.go", own("store"), 1},
		{"node/api/a.go", own("store"), 1},
		{"node/api/client/a.go", own("discovery"), 1},
		{"cmd/peerdex/a.go", "github.com/spf13/cobra", 0},
		{"cmd/peerdex/a.go", "github.com/mattn/go-sqlite3", 1},
		{"test/harness/a.go", own("node"), 0},
		{"test/harness/a.go", "github.com/mattn/go-sqlite3", 0},
		{"test/bench/a.go", "github.com/mattn/go-sqlite3", 0},
		{"test/bench/entryset/a.go", own("index"), 0},
		{"test/bench/entryset/a.go", own("store"), 1},
		{"test/bench/entryset/a.go", "github.com/mattn/go-sqlite3", 1},
	}
	used := map[string]bool{}
	for _, tt := range tests {
		t.Run(tt.file+" "+tt.imports, func(t *testing.T) {
			found := Imports(parse(t, tt.file, importing(tt.imports)), ImportRules())
			if len(found) != tt.broken {
				t.Errorf("%d findings, want %d: %v", len(found), tt.broken, found)
			}
			for _, f := range found {
				used[f.Why] = true
				if f.Line != 2 {
					t.Errorf("line %d, want 2", f.Line)
				}
			}
		})
	}
	for _, r := range ImportRules() {
		if !used[r.Why] {
			t.Errorf("no case breaks the rule %q", r.Why)
		}
	}
}

func TestModulesFail(t *testing.T) {
	allowed := []Dependency{{"example.org/a", false, "x"}, {"example.org/test/v2", true, "y"}}
	goMod := "module m\n\nrequire (\n\texample.org/a v1.0.0\n\texample.org/other v1 // indirect\n)\n\nrequire example.org/test/v2 v2.0.0\n"
	tests := []struct {
		name, file, imports, goMod string
		want                       string // part of the only finding; "" = none
	}{
		{"allowed", "node/a.go", "example.org/a/sub", goMod, ""},
		{"std", "node/a.go", "net/http", goMod, ""},
		{"own", "node/a.go", Module + "/store", goMod, ""},
		{"unknown", "node/a.go", "example.org/b", goMod, "imports example.org/b"},
		{"unknown in a test", "node/a_test.go", "example.org/b", goMod, "imports example.org/b"},
		{"not by prefix", "node/a.go", "example.org/ab", goMod, "imports example.org/ab"},
		{"test only", "node/a.go", "example.org/test/v2", goMod, "outside tests"},
		{"test only, in a test", "node/a_test.go", "example.org/test/v2", goMod, ""},
		{"test only, in test", "test/harness/a.go", "example.org/test/v2", goMod, ""},
		{"required, not allowed", "node/a.go", "net", goMod + "require example.org/c v1\n", "requires example.org/c"},
		{"allowed, not required", "node/a.go", "net", strings.Replace(goMod, "a v1.0.0", "a v1.0.0 // indirect", 1), "does not require example.org/a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			only(t, Modules(parse(t, tt.file, importing(tt.imports)), tt.goMod, allowed), tt.want)
		})
	}
}

// only checks that there is one finding that holds want, or none if want is "".
func only(t *testing.T, found []Finding, want string) {
	t.Helper()
	switch {
	case want == "" && len(found) > 0:
		t.Errorf("found %v, want nothing", found)
	case want != "" && (len(found) != 1 || !strings.Contains(found[0].String(), want)):
		t.Errorf("found %v, want one finding with %q", found, want)
	}
}

func TestCallRulesFail(t *testing.T) {
	tests := []struct{ name, file, src, want string }{
		{"exit", "node/a.go", `import "os"; func f() { os.Exit(1) }`, "uses os.Exit"},
		{"exit by alias", "node/a.go", `import o "os"; func f() { o.Exit(1) }`, "uses os.Exit"},
		{"exit as a value", "node/a.go", `import "os"; var f = os.Exit`, "uses os.Exit"},
		{"exit in cmd", "cmd/peerdex/a.go", `import "os"; func f() { os.Exit(1) }`, ""},
		{"exit in a program of test", "test/bench/a.go", `import "os"; func f() { os.Exit(1) }`, ""},
		{"exit beside it", "test/bench/entryset/a.go", `import "os"; func f() { os.Exit(1) }`, "uses os.Exit"},
		{"exit in a test", "node/a_test.go", `import "os"; func f() { os.Exit(1) }`, ""},
		{"fatal", "store/a.go", `import "log"; func f() { log.Fatalf("x") }`, "uses log.Fatalf"},
		{"print", "store/a.go", `import "log"; func f() { log.Println("x") }`, "uses log.Println"},
		{"default logger", "node/a.go", `import "log/slog"; var l = slog.Default()`, "uses log/slog.Default"},
		{"set default logger", "node/a.go", `import "log/slog"; func f() { slog.SetDefault(nil) }`, "uses log/slog.SetDefault"},
		{"log by default logger", "node/a.go", `import "log/slog"; func f() { slog.InfoContext(nil, "x") }`, "uses log/slog.InfoContext"},
		{"own logger", "node/a.go", `import "log/slog"; func f(l *slog.Logger) { l.Info("x", slog.String("a", "b")) }`, ""},
		{"shadowed", "node/a.go", `import "log/slog"; func f(slog T) { slog.Info("x") }`, ""},
		{"environment", "node/a.go", `import "os"; var e = os.Getenv("X")`, "uses os.Getenv"},
		{"init", "node/a.go", `func init() {}`, "declares func init"},
		{"init in cmd", "cmd/peerdex/a.go", `func init() {}`, ""},
		{"init method", "node/a.go", `func (t T) init() {}`, ""},
		{"dot import", "node/a.go", `import . "os"; func f() { Exit(1) }`, "dot import"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			only(t, Calls(parse(t, tt.file, "package p; "+tt.src), CallRules()), tt.want)
		})
	}
}

func TestGlobalsFail(t *testing.T) {
	tests := []struct{ name, src, want string }{
		{"assigned", `var n int; func f() { n = 1 }`, "package variable n"},
		{"counted", `var n int; func f() { n++ }`, "package variable n"},
		{"map entry", `var m = map[string]int{}; func f() { m["a"] = 1 }`, "package variable m"},
		{"field", `var v struct{ x [2]int }; func f() { v.x[1] = 1 }`, "package variable v"},
		{"in the other file", `func f() { other = 1 }`, "package variable other"},
		{"nothing", `var _ I = T{}; func f() { _ = g() }`, ""},
		{"sentinel", `var ErrX = errors.New("x"); func f() error { return ErrX }`, ""},
		{"shadowed by a variable", `var n int; func f() { n := 0; n = 1 }`, ""},
		{"shadowed by a parameter", `func f(other int) { other = 1 }`, ""},
		{"field of the same name", `var n int; func (t *T) f() { t.n = 1 }`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			only(t, Globals(parse(t, "node/a.go", "package p; "+tt.src, "node/b.go", "package p; var other int")), tt.want)
		})
	}
}

func TestSizesFail(t *testing.T) {
	fn := func(lines int) string { return "package p\nfunc f() {" + strings.Repeat("\n", lines-1) + "}\n" }
	file := func(lines int) string { return "package p" + strings.Repeat("\n", lines) }
	only(t, Sizes(parse(t, "node/a.go", fn(MaxFuncLines))), "")
	only(t, Sizes(parse(t, "node/a.go", fn(MaxFuncLines+1))), "f has 101 lines")
	only(t, Sizes(parse(t, "node/a_test.go", fn(MaxFuncLines+1))), "")
	only(t, Sizes(parse(t, "node/a.go", file(MaxFileLines))), "")
	only(t, Sizes(parse(t, "node/a.go", file(MaxFileLines+1))), "file of 801 lines")
}

func TestPackageCommentsFail(t *testing.T) {
	const doc = "// Package p does.\npackage p\n"
	tests := []struct {
		name  string
		files []string
		want  string
	}{
		{"one", []string{"p/a.go", doc, "p/b.go", "package p"}, ""},
		{"none", []string{"p/a.go", "package p", "p/a_test.go", doc}, "has 0 package comments"},
		{"two", []string{"p/a.go", doc, "p/b.go", doc}, "has 2 package comments"},
		{"not attached", []string{"p/a.go", "// Package p does.\n\npackage p"}, "has 0 package comments"},
		{"wrong words", []string{"p/a.go", "// This does.\npackage p"}, `"Package p "`},
		{"program", []string{"cmd/x/a.go", "// Command x does.\npackage main"}, ""},
		{"program, wrong words", []string{"cmd/x/a.go", "// Package main does.\npackage main"}, `"Command x "`},
		{"only tests", []string{"p/a_test.go", "// Package p does.\npackage p_test"}, ""},
		{"only tests, none", []string{"p/a_test.go", "package p"}, "has 0 package comments"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) { only(t, PackageComments(parse(t, tt.files...)), tt.want) })
	}
}

func TestLeftoversFail(t *testing.T) {
	for _, mark := range []string{"TO" + "DO", "FIX" + "ME", "XX" + "X"} {
		only(t, Leftovers("a.md", "fine\n// "+mark+": later\n"), "a.md:2: holds "+mark)
		only(t, Leftovers("a.md", "h1:a"+mark+"b="), "")
	}
}

func TestLoad(t *testing.T) {
	src := &fstest.MapFile{Data: []byte("package p")}
	files, err := Load(fstest.MapFS{
		"a.go": src, "x/y/b_test.go": src, "x/testdata/c.go": src, ".git/d.go": src, "bin/e.go": src, "x/readme.md": src,
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Path)
	}
	if want := []string{"a.go", "x/y/b_test.go"}; !slices.Equal(names, want) {
		t.Errorf("loaded %v, want %v", names, want)
	}
	if _, err := Load(fstest.MapFS{"a.go": &fstest.MapFile{Data: []byte("package")}}); err == nil {
		t.Error("a file that is not Go is no error")
	}
}
