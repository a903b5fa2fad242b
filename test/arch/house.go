package arch

import (
	"fmt"
	"go/ast"
	"go/token"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Hard limits of size, for files that are not tests. Half of them is what to aim for.
const (
	MaxFuncLines = 100
	MaxFileLines = 800
)

// CallRule names functions that may be used in some folders only.
type CallRule struct {
	Package string   // import path
	Names   []string // exported names; a trailing "*" matches any ending
	Allowed []string // folders where they may be used
	Why     string
}

// CallRules are the functions that are not for every package. They hold for files that are not tests.
func CallRules() []CallRule {
	const guest = "the node is a guest in its process: "
	return []CallRule{
		{"os", []string{"Exit"}, []string{"cmd/...", "test/bench"}, guest + "it returns errors"},
		{"log", []string{"Fatal*", "Panic*", "Print*", "Default", "Set*"}, []string{"cmd/..."}, guest + "a logger comes in the Config"},
		{
			"log/slog", []string{"Default", "SetDefault", "SetLogLoggerLevel", "Debug*", "Info*", "Warn*", "Error*", "Log", "LogAttrs", "With"},
			[]string{"cmd/..."}, guest + "a logger comes in the Config",
		},
		{
			"os", []string{"Getenv", "LookupEnv", "Environ", "ExpandEnv", "Setenv", "Unsetenv", "Chdir"}, []string{"cmd/...", "test/..."},
			guest + "settings come in the Config",
		},
	}
}

// Calls checks every file that is not a test: forbidden functions, dot imports (which would hide them), and init
// functions outside cmd.
func Calls(files []*File, rules []CallRule) []Finding {
	var out []Finding
	for _, f := range files {
		if f.Test {
			continue
		}
		for _, im := range f.Imports {
			if im.Name == "." {
				out = append(out, Finding{f.Path, im.Line, "dot import of " + im.Path, "names must say where they come from"})
			}
		}
		for _, d := range f.AST.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if ok && fn.Recv == nil && fn.Name.Name == "init" && !match("cmd/...", f.Dir) {
				out = append(out, Finding{f.Path, f.line(fn.Pos()), "declares func init", "importing a package must do nothing"})
			}
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			if sel, ok := n.(*ast.SelectorExpr); ok {
				out = append(out, f.checkSelector(sel, rules)...)
			}
			return true
		})
	}
	return out
}

func (f *File) checkSelector(sel *ast.SelectorExpr, rules []CallRule) []Finding {
	x, ok := sel.X.(*ast.Ident)
	if !ok || x.Obj != nil { // a resolved name is a variable that shadows the package
		return nil
	}
	i := slices.IndexFunc(f.Imports, func(im Import) bool { return im.Name == x.Name })
	if i < 0 {
		return nil
	}
	var out []Finding
	for _, r := range rules {
		if r.Package == f.Imports[i].Path && !matchAny(r.Allowed, f.Dir) && slices.ContainsFunc(r.Names, func(n string) bool {
			stem, any := strings.CutSuffix(n, "*")
			return n == sel.Sel.Name || any && strings.HasPrefix(sel.Sel.Name, stem)
		}) {
			out = append(out, Finding{f.Path, f.line(sel.Pos()), "uses " + r.Package + "." + sel.Sel.Name, r.Why})
		}
	}
	return out
}

// Globals finds package variables that code writes to after their declaration, outside tests. Constants, sentinel
// errors and tables that are filled where they are declared pass.
func Globals(files []*File) []Finding {
	vars := map[string]map[string]bool{} // folder -> names
	for _, f := range files {
		if f.Test {
			continue
		}
		if vars[f.Dir] == nil {
			vars[f.Dir] = map[string]bool{}
		}
		for _, d := range f.AST.Decls {
			g, ok := d.(*ast.GenDecl)
			if !ok || g.Tok != token.VAR {
				continue
			}
			for _, spec := range g.Specs {
				for _, id := range spec.(*ast.ValueSpec).Names {
					vars[f.Dir][id.Name] = id.Name != "_"
				}
			}
		}
	}
	var out []Finding
	for _, f := range files {
		if f.Test {
			continue
		}
		ast.Inspect(f.AST, func(n ast.Node) bool {
			for _, target := range writeTargets(n) {
				id := rootIdent(target)
				if id != nil && vars[f.Dir][id.Name] && f.isPackageLevel(id) {
					out = append(out, Finding{
						f.Path, f.line(n.Pos()), "writes to package variable " + id.Name,
						"two nodes in one process must not share state",
					})
				}
			}
			return true
		})
	}
	return out
}

// writeTargets returns what a statement assigns to.
func writeTargets(n ast.Node) []ast.Expr {
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE {
			return n.Lhs
		}
	case *ast.IncDecStmt:
		return []ast.Expr{n.X}
	}
	return nil
}

// rootIdent returns the variable that an assignable expression starts from: a in a, a.b, a[i] and *a.
func rootIdent(e ast.Expr) *ast.Ident {
	for {
		switch x := e.(type) {
		case *ast.Ident:
			return x
		case *ast.SelectorExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.StarExpr:
			e = x.X
		case *ast.ParenExpr:
			e = x.X
		default:
			return nil
		}
	}
}

// isPackageLevel reports whether id refers to a package-level name: resolved to one in this file, or to none in it.
func (f *File) isPackageLevel(id *ast.Ident) bool {
	return id.Obj == nil || f.AST.Scope.Lookup(id.Name) == id.Obj
}

// Sizes checks the lengths of functions and files that are not tests.
func Sizes(files []*File) []Finding {
	const why = "what doesn't fit on a few screens is not reviewed"
	var out []Finding
	for _, f := range files {
		if f.Test {
			continue
		}
		if f.Lines > MaxFileLines {
			out = append(out, Finding{f.Path, 0, fmt.Sprintf("file of %d lines, limit %d", f.Lines, MaxFileLines), why})
		}
		for _, d := range f.AST.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			if n := f.line(fn.End()) - f.line(fn.Pos()) + 1; n > MaxFuncLines {
				out = append(out, Finding{f.Path, f.line(fn.Pos()), fmt.Sprintf("%s has %d lines, limit %d", fn.Name.Name, n, MaxFuncLines), why})
			}
		}
	}
	return out
}

// PackageComments checks that every package has exactly one package comment, in a file that is not a test unless
// it has tests only, and that it starts as godoc wants: "Package name", or "Command name" for a program.
func PackageComments(files []*File) []Finding {
	const why = "the package comment is the package's manual: one, in one place"
	byDir := map[string][]*File{}
	for _, f := range files {
		if !f.Test {
			byDir[f.Dir] = append(byDir[f.Dir], f)
		}
	}
	for _, f := range files {
		onlyTests := !slices.ContainsFunc(byDir[f.Dir], func(o *File) bool { return !o.Test })
		if f.Test && onlyTests {
			byDir[f.Dir] = append(byDir[f.Dir], f)
		}
	}
	var out []Finding
	for dir, group := range byDir {
		var docs []string
		for _, f := range group {
			if f.AST.Doc == nil {
				continue
			}
			docs = append(docs, path.Base(f.Path))
			start := "Package " + strings.TrimSuffix(f.AST.Name.Name, "_test") + " "
			if f.AST.Name.Name == "main" {
				start = "Command " + path.Base(dir) + " "
			}
			if text := f.AST.Doc.Text(); !strings.HasPrefix(text, start) {
				out = append(out, Finding{f.Path, 1, fmt.Sprintf("package comment does not start with %q", start), why})
			}
		}
		if len(docs) != 1 {
			out = append(out, Finding{dir, 0, fmt.Sprintf("has %d package comments %v", len(docs), docs), why})
		}
	}
	slices.SortFunc(out, func(a, b Finding) int { return strings.Compare(a.Path, b.Path) })
	return out
}

// Leftovers finds the usual marks of unfinished work in a text file.
func Leftovers(name, text string) []Finding {
	// Put together here, so that this file does not hold what it looks for.
	marks := regexp.MustCompile(`\b(` + strings.Join([]string{"TO" + "DO", "FIX" + "ME", "XX" + "X"}, "|") + `)\b`)
	var out []Finding
	n := 0
	for line := range strings.Lines(text) {
		n++
		if m := marks.FindString(line); m != "" {
			out = append(out, Finding{name, n, "holds " + m, "what is not done is an issue, not a remark in the code"})
		}
	}
	return out
}
