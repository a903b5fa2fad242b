package node_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
)

// searched returns the paths that a search finds, without what all begin with, and the place to go on from.
func (d *device) searched(q node.Query, root string) (paths []string, next string) {
	d.t.Helper()
	for h, err := range d.Search(d.t.Context(), q) {
		if err != nil {
			d.t.Fatal(err)
		}
		paths, next = append(paths, h.Device+":"+strings.TrimPrefix(h.Path, root)), h.Next
	}
	return paths, next
}

// TestSearchOrderAndPages searches two devices' locations by path, in every order and page by page.
func TestSearchOrderAndPages(t *testing.T) {
	nas, laptop := newDevice(t, "nas"), newDevice(t, "laptop")
	root := tree(t, "tank/docs/2026/invoice-2.pdf", "tank/docs/invoice-1.pdf", "tank/photos/invoice.jpg", "home/invoice-10.pdf", "home/other.txt")
	tank, home := nas.add(root+"/tank"), laptop.add(root+"/home")
	nas.pairWith(laptop)
	laptop.holds(nas, tank)
	for _, c := range []struct {
		q    node.Query
		want []string
	}{
		{node.Query{Text: "invoice"}, []string{"laptop:/home/invoice-10.pdf", "nas:/tank/docs/invoice-1.pdf", "nas:/tank/photos/invoice.jpg", "nas:/tank/docs/2026/invoice-2.pdf"}},
		{node.Query{Text: "invoice", Sort: "name"}, []string{
			"nas:/tank/docs/invoice-1.pdf", "laptop:/home/invoice-10.pdf", "nas:/tank/docs/2026/invoice-2.pdf", "nas:/tank/photos/invoice.jpg",
		}},
		{node.Query{Text: "invoice", Sort: "size-"}, []string{
			"nas:/tank/docs/2026/invoice-2.pdf", "nas:/tank/docs/invoice-1.pdf", "nas:/tank/photos/invoice.jpg", "laptop:/home/invoice-10.pdf",
		}},
		{node.Query{Text: "docs/**/*.pdf", Sort: "name-"}, []string{"nas:/tank/docs/2026/invoice-2.pdf", "nas:/tank/docs/invoice-1.pdf"}},
		{node.Query{Path: []string{root + "/tank/docs"}, Type: []string{"f"}}, []string{"nas:/tank/docs/invoice-1.pdf", "nas:/tank/docs/2026/invoice-2.pdf"}},
		{node.Query{Kind: []string{"image"}}, []string{"nas:/tank/photos/invoice.jpg"}},
		{node.Query{Name: []string{"other", "photos"}}, []string{"laptop:/home/other.txt", "nas:/tank/photos"}},
		{node.Query{Text: "invoice", Location: []string{"HOME"}}, []string{"laptop:/home/invoice-10.pdf"}},
		{node.Query{Text: "invoice", On: []string{"nas"}, Location: []string{"home"}}, nil},
	} {
		all, next := laptop.searched(c.q, root)
		if !slices.Equal(all, c.want) || next != "" {
			t.Errorf("%+v: %q (next %q), want %q", c.q, all, next, c.want)
		}
		var paged []string
		for c.q.Limit = 1; ; {
			page, next := laptop.searched(c.q, root)
			if paged = append(paged, page...); next == "" {
				break
			}
			c.q.After = next
		}
		if !slices.Equal(paged, c.want) {
			t.Errorf("%+v: pages %q, want %q", c.q, paged, c.want)
		}
	}

	// A page goes on behind a place that is gone.
	q := node.Query{Text: "invoice", Limit: 1}
	_, q.After = laptop.searched(q, root)
	if _, err := laptop.RemoveLocation(t.Context(), node.RemoveRequest{Location: home.Name}); err != nil {
		t.Fatal(err)
	}
	if got, _ := laptop.searched(q, root); !slices.Equal(got, []string{"nas:/tank/docs/invoice-1.pdf"}) {
		t.Errorf("behind a removed location: %q", got)
	}
	for _, bad := range []node.Query{{Text: "a", Sort: "colour"}, {Text: "a", After: "x"}, {Text: "a", After: q.After, Sort: "size"}, {Text: "a", Limit: -1}} {
		for _, err := range laptop.Search(t.Context(), bad) {
			if e := (*node.Error)(nil); !errors.As(err, &e) || e.Code != api.CodeUsage {
				t.Errorf("%+v: %v", bad, err)
			}
		}
	}
}

// TestEntry gets entries by path and by id.
func TestEntry(t *testing.T) {
	nas := newDevice(t, "nas")
	root := tree(t, "docs/a.pdf", "docs/b/c.txt")
	l := nas.add(root)
	folder, err := nas.Entry(t.Context(), node.EntryRequest{Device: "nas", Path: root + "/docs/"})
	if err != nil || folder.Hit.Kind != index.KindDir || folder.Children != 2 || folder.LocationName != l.Name || folder.Hit.AsOf.IsZero() {
		t.Errorf("folder %+v, %v", folder, err)
	}
	file, err := nas.Entry(t.Context(), node.EntryRequest{Device: "nas", Path: root + "/docs/a.pdf"})
	if err != nil || file.Hit.Path != root+"/docs/a.pdf" || file.Seq == 0 || file.Children != 0 {
		t.Errorf("file %+v, %v", file, err)
	}
	byID, err := nas.Entry(t.Context(), node.EntryRequest{Owner: file.Hit.Owner, Location: file.Hit.Location, EntryID: file.Hit.EntryID})
	if err != nil || byID.Hit != file.Hit {
		t.Errorf("by id %+v, %v", byID, err)
	}
	if top, err := nas.Entry(t.Context(), node.EntryRequest{Device: "n", Path: root}); err != nil || top.Hit.EntryID != index.RootID || top.Hit.Path != root {
		t.Errorf("root %+v, %v", top, err)
	}
	for _, r := range []node.EntryRequest{
		{Device: "nas", Path: root + "/nothing"}, {Device: "nas", Path: "/"}, {Device: "nobody", Path: root},
		{Owner: file.Hit.Owner, Location: file.Hit.Location, EntryID: 1 << 30}, {Owner: index.DeviceID{1}, Location: file.Hit.Location, EntryID: 1},
	} {
		if e := (*node.Error)(nil); !errors.As(second(nas.Entry(t.Context(), r)), &e) || e.Code != api.CodeNotFound {
			t.Errorf("%+v: %v", r, e)
		}
	}
}

func second[T any](_ T, err error) error { return err }

// TestListPages lists a folder page by page.
func TestListPages(t *testing.T) {
	nas := newDevice(t, "nas")
	root := tree(t, "a", "b", "c", "d", "e")
	nas.add(root)
	var names []string
	for r := (node.ListRequest{Device: "nas", Path: root, Limit: 2}); ; {
		page, err := nas.List(t.Context(), r)
		if err != nil || len(page.Entries) > 2 {
			t.Fatalf("%+v, %v", page, err)
		}
		for _, h := range page.Entries {
			names = append(names, strings.TrimPrefix(h.Path, root))
		}
		if r.After = page.Next; r.After == "" {
			break
		}
	}
	if want := []string{"/a", "/b", "/c", "/d", "/e"}; !slices.Equal(names, want) {
		t.Errorf("%q, want %q", names, want)
	}
	if e := (*node.Error)(nil); !errors.As(second(nas.List(t.Context(), node.ListRequest{Device: "nas", Path: root, After: "a/b"})), &e) || e.Code != api.CodeUsage {
		t.Errorf("a place that is none: %v", e)
	}
}
