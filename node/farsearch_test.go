package node_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/peerdex/peerdex/node"
	"github.com/peerdex/peerdex/node/api"
)

// TestLazySearch searches locations here and far away together, in every order and page by page, and compares with a
// device that holds everything.
func TestLazySearch(t *testing.T) {
	nas, desk, laptop := newDevice(t, "nas"), newDevice(t, "desk"), newDevice(t, "laptop")
	nas.pairWith(laptop)
	nas.pairWith(desk)
	root := tree(t, "tank/docs/report-2.pdf", "tank/docs/report-1.pdf", "tank/report.txt", "work/report-1.pdf", "work/other.txt", "home/report-10.pdf", "home/x/report-2.pdf")
	laptop.policy("nas", "lazy")
	eventually(t, "laptop hears of the desk", func() bool {
		all, err := laptop.Devices(t.Context())
		return err == nil && slices.ContainsFunc(all, func(d node.Device) bool { return d.Name == "desk" })
	})
	laptop.policy("desk", "lazy")
	tank, work := nas.add(root+"/tank"), desk.add(root+"/work")
	home := laptop.add(root + "/home")
	laptop.hears(nas, tank, api.StateLazy)
	eventually(t, "laptop hears of the desk", func() bool { return laptop.sees(work) != nil && laptop.sees(work).State == api.StateLazy })
	nas.holds(laptop, home)
	nas.holds(desk, work)
	laptop.hears(desk, work, api.StateLazy)
	for _, text := range []string{"report", "docs/*.pdf", "size:>0 on:nas,laptop ext:pdf,txt modified:<1d", "location:work r", "-on:nas report"} {
		for _, sort := range []string{"", "name", "size-"} {
			q := node.Query{Text: text, Sort: sort}
			var all, want []string
			eventually(t, "everything is searched", func() bool {
				got, err := tryToFind(laptop, q)
				all = got
				return err == nil
			})
			want, err := tryToFind(nas, q)
			if err != nil {
				t.Fatal(err)
			}
			a, b := slices.Sorted(slices.Values(all)), slices.Sorted(slices.Values(want))
			if !slices.Equal(a, b) {
				t.Errorf("%q by %q: %q, the nas finds %q", text, sort, all, want)
			}
			var paged []string
			for q.Limit, q.After = 2, ""; ; {
				page, next := laptop.searched(q, "")
				paged = append(paged, page...)
				if q.After = next; next == "" {
					break
				}
			}
			if !slices.Equal(paged, all) {
				t.Errorf("%q by %q, page by page: %q, want %q", text, sort, paged, all)
			}
		}
	}
	sorted, _ := laptop.searched(node.Query{Text: "report", Sort: "name"}, root)
	if want := []string{"report-1.pdf", "report-1.pdf", "report-10.pdf", "report-2.pdf", "report-2.pdf", "report.txt"}; !slices.EqualFunc(sorted, want, func(s, w string) bool { return strings.HasSuffix(s, "/"+w) }) {
		t.Errorf("sorted: %q", sorted)
	}
}

func tryToFind(d *device, q node.Query) (out []string, err error) {
	for h, err := range d.Search(d.t.Context(), q) {
		if err != nil {
			return out, err
		}
		out = append(out, h.Device+":"+h.Path)
	}
	return out, nil
}
