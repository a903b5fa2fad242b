package arch

import (
	"io/fs"
	"os"
	"path"
	"strings"
	"sync"
	"testing"
)

// root is the module's root as this folder sees it.
const root = "../.."

// load parses the tree once for all tests, which only read it.
var load = sync.OnceValues(func() ([]*File, error) { return Load(os.DirFS(root)) })

func tree(t *testing.T) []*File {
	t.Helper()
	files, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if len(files) < 10 {
		t.Fatalf("only %d Go files below %s: is this the module's root?", len(files), root)
	}
	return files
}

func report(t *testing.T, found []Finding) {
	t.Helper()
	for _, f := range found {
		t.Error(f)
	}
}

func TestImports(t *testing.T) { report(t, Imports(tree(t), ImportRules())) }

func TestModules(t *testing.T) {
	goMod, err := os.ReadFile(root + "/go.mod")
	if err != nil {
		t.Fatal(err)
	}
	report(t, Modules(tree(t), string(goMod), Dependencies()))
}

func TestCalls(t *testing.T)           { report(t, Calls(tree(t), CallRules())) }
func TestGlobals(t *testing.T)         { report(t, Globals(tree(t))) }
func TestSizes(t *testing.T)           { report(t, Sizes(tree(t))) }
func TestPackageComments(t *testing.T) { report(t, PackageComments(tree(t))) }

func TestLeftovers(t *testing.T) {
	tree := os.DirFS(root)
	err := Walk(tree, func(name string) error {
		switch path.Ext(name) {
		case ".go", ".md", ".sql", ".sh", ".yml", ".yaml", ".txtar", ".html", ".css", ".js", "":
		default:
			return nil
		}
		text, err := fs.ReadFile(tree, name)
		if err != nil {
			return err
		}
		if !strings.ContainsRune(string(text), 0) { // a program without an extension is no text
			report(t, Leftovers(name, string(text)))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
