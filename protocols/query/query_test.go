package query

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

// TestAsk asks everything that can be asked, and compares with what the place holds.
func TestAsk(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 20)
	loc := p.st.Head.Location
	for name, c := range map[string]struct {
		r    Request
		want func(*Answer) any // what is compared
		is   any
	}{
		"list the root": {Request{Op: OpList}, func(a *Answer) any { return names(a.Listing.Entries) }, []string{"a.txt", "docs"}},
		"list by path":  {Request{Op: OpList, Path: "docs", Limit: 2}, func(a *Answer) any { return names(a.Listing.Entries) }, []string{"file-0000", "file-0001"}},
		"list by id":    {Request{Op: OpList, Entry: 2, Limit: 2}, func(a *Answer) any { return a.Listing.More }, true},
		"a full page":   {Request{Op: OpList, Entry: 2, Limit: 20}, func(a *Answer) any { return a.Listing.More }, false},
		"the next page": {Request{Op: OpList, Path: "docs", Limit: 2, After: &Mark{ID: 22, Text: "file-0018"}}, func(a *Answer) any { return names(a.Listing.Entries) }, []string{"file-0019"}},
		"list a file":   {Request{Op: OpList, Path: "a.txt"}, func(a *Answer) any { return a.Listing }, &Listing{Folder: p.rows[2]}},
		"no such path":  {Request{Op: OpList, Path: "docs/none"}, func(a *Answer) any { return a.Found }, false},
		"no such entry": {Request{Op: OpEntry, Entry: 999}, func(a *Answer) any { return a.Found }, false},
		"entry by path": {Request{Op: OpEntry, Path: "docs/file-0003"}, func(a *Answer) any { return a.Entry }, &Found{Entry: p.rows[6], Path: "docs/file-0003"}},
		"entry by id":   {Request{Op: OpEntry, Entry: 2}, func(a *Answer) any { return a.Entry }, &Found{Entry: p.rows[1], Path: "docs", Children: 20}},
		"the root":      {Request{Op: OpEntry}, func(a *Answer) any { return a.Entry }, &Found{Entry: p.rows[0], Children: 2}},
		"totals":        {Request{Op: OpTotals, Path: "docs"}, func(a *Answer) any { return a.Totals }, &Totals{Folder: p.rows[1], Entries: 20, Bytes: 210}},
		"totals of all": {Request{Op: OpTotals}, func(a *Answer) any { return a.Totals }, &Totals{Folder: p.rows[0], Entries: 22, Folders: 1, Bytes: 215}},
		"search":        {Request{Op: OpSearch, Text: "-000", Limit: 3}, func(a *Answer) any { return hitNames(a.Hits) }, []string{"docs/file-0000", "docs/file-0001", "docs/file-0002"}},
		"by size":       {Request{Op: OpSearch, Text: "-", Order: Order{BySize, false}, Limit: 2}, func(a *Answer) any { return hitNames(a.Hits) }, []string{"docs/file-0019", "docs/file-0018"}},
		"largest first": {Request{Op: OpSearch, Text: "-", Order: Order{BySize, true}, Limit: 1}, func(a *Answer) any { return hitNames(a.Hits) }, []string{"docs/file-0000"}},
		"by name, on":   {Request{Op: OpSearch, Text: "-", Order: Order{ByName, true}, After: &Mark{ID: 5, Text: "file-0001"}}, func(a *Answer) any { return hitNames(a.Hits) }, []string{"docs/file-0000"}},
		"by time, on":   {Request{Op: OpSearch, Text: "-", Order: Order{ByTime, false}, After: &Mark{ID: 21, Number: 2}}, func(a *Answer) any { return hitNames(a.Hits) }, []string{}},
		"nothing found": {Request{Op: OpSearch, Text: "none"}, func(a *Answer) any { return a.Found && len(a.Hits.Hits) == 0 && !a.Hits.More }, true},
	} {
		c.r.Location = loc
		for _, codecs := range []wire.CodecSet{0, wire.AllCodecs, 1 << wire.CodecGzip} {
			c.r.Codecs = codecs
			got, err := askServer(t, newServer(t, ServerConfig{Source: p}), c.r)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			if d := cmp.Diff(c.is, c.want(&got)); d != "" {
				t.Errorf("%s (-want +got):\n%s", name, d)
			}
			if d := cmp.Diff(p.st, got.State); d != "" {
				t.Errorf("%s: state (-want +got):\n%s", name, d)
			}
			again, err := c.r.Read(got.State, got.Found, got.Body)
			if d := cmp.Diff(got, again); d != "" || err != nil {
				t.Errorf("%s: read again: %v\n%s", name, err, d)
			}
		}
	}
}

func names(es []index.Entry) []string {
	out := []string{}
	for _, e := range es {
		out = append(out, e.Name)
	}
	return out
}

func hitNames(h *Hits) []string {
	out := []string{}
	for _, x := range h.Hits {
		out = append(out, x.Path)
	}
	return out
}

// TestKnown asks again with the digest of the answer: it comes back without a body, until something changes.
func TestKnown(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 500)
	srv := newServer(t, ServerConfig{Source: p})
	r := Request{Location: p.st.Head.Location, Op: OpList, Path: "docs", Codecs: wire.AllCodecs}
	first, err := askServer(t, srv, r)
	if err != nil || first.Same {
		t.Fatal(first.Same, err)
	}
	p.rows[2].Size++ // another folder
	p.rows[2].Seq++
	p.sign(t, testLibrary, 2)
	r.Known = Digest(first.Body)
	again, err := askServer(t, srv, r)
	if err != nil || !again.Same || !again.Found || again.Head != p.st.Head || len(again.Body) > 0 {
		t.Errorf("unchanged: %+v, %v", again, err)
	}
	p.rows[10].Size++
	again, err = askServer(t, srv, r)
	if err != nil || again.Same || len(again.Listing.Entries) != 500 {
		t.Errorf("changed: same %v, %v", again.Same, err)
	}
}

// TestQuestion checks that two questions have one name exactly if they have one answer.
func TestQuestion(t *testing.T) {
	t.Parallel()
	base := Request{Op: OpList, Path: "a", Limit: 5}
	same := base
	same.Known, same.Codecs = index.Hash{1}, wire.AllCodecs
	if base.Question() != same.Question() {
		t.Error("what is known makes it another question")
	}
	seen := map[index.Hash]Request{}
	for _, r := range []Request{
		base,
		{Op: OpList, Path: "b", Limit: 5},
		{Op: OpList, Path: "a", Limit: 6},
		{Op: OpEntry, Path: "a", Limit: 5},
		{Op: OpList, Path: "a", Limit: 5, Location: index.Location{ID: index.LocationID{1}}},
		{Op: OpList, Path: "a", Limit: 5, After: &Mark{ID: 1}},
		{Op: OpSearch, Text: "a", Limit: 5},
		{Op: OpSearch, Text: "a", Limit: 5, Order: Order{ByName, false}},
		{Op: OpSearch, Text: "a", Limit: 5, Order: Order{ByName, true}},
	} {
		if other, ok := seen[r.Question()]; ok {
			t.Errorf("%+v and %+v are one question", r, other)
		}
		seen[r.Question()] = r
	}
}

// TestLargeAnswersAreCut asks for more than fits a frame: the pages together have everything once.
func TestLargeAnswersAreCut(t *testing.T) {
	t.Parallel()
	p := newPlace(t, 2000)
	for i := range p.rows[3:] {
		e := &p.rows[3+i]
		e.Name = fmt.Sprintf("%s-%s", e.Name, strings.Repeat("x", 200))
		e.Attrs = make([]byte, index.MaxAttrsLen)
	}
	srv := newServer(t, ServerConfig{Source: p})
	for _, r := range []Request{{Op: OpList, Path: "docs"}, {Op: OpSearch, Text: "file"}} {
		r.Location, r.Limit = p.st.Head.Location, wire.MaxRows
		pages, ids := 0, []int64{}
		for more := true; more; pages++ {
			got, err := askServer(t, srv, r)
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Body) > maxBody {
				t.Fatalf("body of %d bytes", len(got.Body))
			}
			if r.Op == OpList {
				for _, e := range got.Listing.Entries {
					ids = append(ids, e.ID)
				}
				last := &got.Listing.Entries[len(got.Listing.Entries)-1]
				more, r.After = got.Listing.More, &Mark{ID: last.ID, Text: last.Name}
				continue
			}
			for _, h := range got.Hits.Hits {
				ids = append(ids, h.Entry.ID)
			}
			m := r.Order.Mark(&got.Hits.Hits[len(got.Hits.Hits)-1].Entry)
			more, r.After = got.Hits.More, &m
		}
		slices.Sort(ids)
		if pages < 3 || len(slices.Compact(ids)) != 2000 || len(ids) != 2000 {
			t.Errorf("%d pages, %d entries", pages, len(ids))
		}
	}
}

// TestRefusals checks what a source's errors and the server's limits look like on the other side.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err  error
		want error
	}{
		"no replica":   {wire.ErrNoReplica, wire.ErrNoReplica},
		"disk on fire": {errors.New("disk on fire"), wire.ErrFailed},
		"wrapped":      {fmt.Errorf("x: %w", wire.ErrNoReplica), wire.ErrNoReplica},
	} {
		p := newPlace(t, 1)
		p.err = c.err
		if _, err := askServer(t, newServer(t, ServerConfig{Source: p}), Request{Location: p.st.Head.Location, Op: OpList}); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	p := newPlace(t, 1)
	for name, r := range map[string]Request{
		"no operation":   {},
		"id and path":    {Op: OpList, Entry: 2, Path: "docs"},
		"long path":      {Op: OpList, Path: strings.Repeat("x", MaxAskPath+1)},
		"long text":      {Op: OpSearch, Text: strings.Repeat("x", MaxText+1)},
		"no text":        {Op: OpSearch},
		"text of a list": {Op: OpList, Text: "x"},
		"order of a list": {
			Op: OpList, Order: Order{ByName, false},
		},
		"limit":        {Op: OpList, Limit: wire.MaxRows + 1},
		"after no id":  {Op: OpList, After: &Mark{Text: "x"}},
		"page of one":  {Op: OpEntry, After: &Mark{ID: 1}},
		"long mark":    {Op: OpList, After: &Mark{ID: 1, Text: strings.Repeat("x", 256)}},
		"negative ids": {Op: OpEntry, Entry: -1},
	} {
		r.Location = p.st.Head.Location
		a, b := wiretest.Pipe(1 << 20)
		if _, err := Ask(t.Context(), b, &r, Options{Library: testLibrary}); !errors.Is(err, index.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := a.Read(make([]byte, 1)); !errors.Is(err, wiretest.ErrReset) {
			t.Errorf("%s: the stream is still open: %v", name, err)
		}
	}
	if p.asked.Load() != 0 {
		t.Error("a request that makes no sense was sent")
	}
}

// TestServerLimits fills the server's places, and spends a peer's questions.
func TestServerLimits(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, 1)
		p.block = make(chan struct{})
		srv := NewServer(ServerConfig{Source: p, MaxStreams: 3, MaxPerPeer: 2, Rate: 1, Burst: 30})
		open := func(from peer.ID, op Op) <-chan error {
			a, b := wiretest.Pipe(1 << 20)
			go srv.Serve(a, from)
			out := make(chan error, 1)
			go func() {
				_, err := Ask(context.Background(), b, &Request{Location: p.st.Head.Location, Op: op, Text: map[Op]string{OpSearch: "x"}[op]}, Options{Library: testLibrary})
				out <- err
			}()
			synctest.Wait()
			return out
		}
		first, second := open("a", OpList), open("a", OpList)
		if err := <-open("a", OpList); !errors.Is(err, wire.ErrBusy) {
			t.Errorf("third of one peer: %v", err)
		}
		third := open("b", OpList)
		if err := <-open("c", OpList); !errors.Is(err, wire.ErrBusy) {
			t.Errorf("fourth of all: %v", err)
		}
		close(p.block)
		for _, c := range []<-chan error{first, second, third} {
			if err := <-c; err != nil {
				t.Error(err)
			}
		}
		// 28 questions are left: two searches, and eight others.
		for i, want := range []error{nil, nil, wire.ErrBusy} {
			if err := <-open("a", OpSearch); !errors.Is(err, want) {
				t.Errorf("search %d: %v, want %v", i, err, want)
			}
		}
		for range 8 {
			if err := <-open("a", OpList); err != nil {
				t.Error(err)
			}
		}
		err := <-open("a", OpList)
		if st, ok := errors.AsType[wire.Status](err); !ok || st.Code != wire.CodeBusy || st.RetryAfter != 2*time.Second {
			t.Errorf("one too many: %v", err)
		}
		if err := <-open("b", OpList); err != nil {
			t.Errorf("another peer: %v", err)
		}
		time.Sleep(3 * time.Second)
		if err := <-open("a", OpList); err != nil {
			t.Errorf("later: %v", err)
		}
		time.Sleep(time.Minute)
		if err := <-open("d", OpList); err != nil || len(srv.active) != 1 {
			t.Errorf("%d peers are remembered: %v", len(srv.active), err)
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
}

// TestSlowAnswer lets an answer take longer than it may: the asker hears so.
func TestSlowAnswer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPlace(t, 1)
		p.block = make(chan struct{})
		srv := NewServer(ServerConfig{Source: p})
		begun := time.Now()
		_, err := askServer(t, srv, Request{Location: p.st.Head.Location, Op: OpList})
		if took := time.Since(begun); !errors.Is(err, wire.ErrBusy) || took != 10*time.Second {
			t.Errorf("after %v: %v", took, err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		a, b := wiretest.Pipe(1 << 20)
		go srv.Serve(a, "x")
		if _, err := Ask(ctx, b, &Request{Location: p.st.Head.Location, Op: OpList}, Options{Library: testLibrary}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("asker that is in a hurry: %v", err)
		}
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
}
