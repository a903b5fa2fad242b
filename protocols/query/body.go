package query

import (
	"cmp"
	"fmt"
	"math"
	"strings"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
)

// Listing is one page of a folder.
type Listing struct {
	Folder  index.Entry   // what was asked about; if it is no folder, it has no entries
	Entries []index.Entry // in order of (name, id)
	More    bool          // there are others behind the last one
}

// Found is an entry and where it is.
type Found struct {
	Entry    index.Entry
	Children int64  // entries in a folder, not counting those further below
	Path     string // relative to the root, "" for the root itself
}

// Hit is one entry that a search found.
type Hit struct {
	Entry index.Entry
	Path  string // relative to the root
}

// Hits is one page of what a search found.
type Hits struct {
	Hits []Hit
	More bool // there may be others behind the last one
}

// Totals is what lies below a folder, at any depth.
type Totals struct {
	Folder  index.Entry
	Entries int64 // not counting the folder itself
	Folders int64 // of these
	Bytes   int64 // sum of the sizes of the files
}

const (
	// rowRoom is what a row needs beside name, hash and attributes, at most. Bytes.
	rowRoom = 96
	// minHit is the least encoded size of a hit. Bytes.
	minHit = 3

	listingFields = 3
	foundFields   = 3
	hitsFields    = 2
	hitFields     = 2
	totalsFields  = 4
)

func room(e *index.Entry) int { return rowRoom + len(e.Name) + len(e.Hash) + len(e.Attrs) }

// body encodes an answer, and cuts off of a page what does not fit.
type body interface {
	append(e *wire.Encoder, limit int)
}

func (l *Listing) append(e *wire.Encoder, limit int) {
	n, size := 0, room(&l.Folder)+rowRoom
	for n < min(limit, len(l.Entries)) && size+room(&l.Entries[n]) <= maxBody {
		size += room(&l.Entries[n])
		n++
	}
	e.Array(listingFields)
	e.Row(&l.Folder)
	e.Array(n)
	for i := range l.Entries[:n] {
		e.Row(&l.Entries[i])
	}
	e.Bool(l.More || n < len(l.Entries))
}

func (f *Found) append(e *wire.Encoder, _ int) {
	e.Array(foundFields)
	e.Row(&f.Entry)
	e.Int(f.Children)
	e.String(f.Path)
}

func (h *Hits) append(e *wire.Encoder, limit int) {
	n, size := 0, rowRoom
	for n < min(limit, len(h.Hits)) {
		if size += room(&h.Hits[n].Entry) + len(h.Hits[n].Path); size > maxBody {
			break
		}
		n++
	}
	e.Array(hitsFields)
	e.Array(n)
	for i := range h.Hits[:n] {
		e.Array(hitFields)
		e.Row(&h.Hits[i].Entry)
		e.String(h.Hits[i].Path)
	}
	e.Bool(h.More || n < len(h.Hits))
}

func (t *Totals) append(e *wire.Encoder, _ int) {
	e.Array(totalsFields)
	e.Row(&t.Folder)
	e.Int(t.Entries)
	e.Int(t.Folders)
	e.Int(t.Bytes)
}

// Answer is what a provider answered. Of the last four fields, the one that was asked for is set if Found is.
type Answer struct {
	State
	Found bool   // false: there is no such entry
	Same  bool   // it is the answer that the asker has: nothing else is set
	Body  []byte // as it came, to be kept for [Request.Read]

	Listing *Listing
	Entry   *Found
	Hits    *Hits
	Totals  *Totals
}

// Read reads an answer to r that was kept, and checks it as [Ask] did when it came. The strings in it share memory with
// one copy of body.
func (r *Request) Read(st State, found bool, body []byte) (Answer, error) {
	a := Answer{State: st, Found: found, Body: body}
	if !found {
		return a, nil
	}
	d := wire.NewDecoder()
	d.Reset(body)
	var err error
	switch r.Op {
	case OpList:
		a.Listing, err = r.readListing(d, &st.Head)
	case OpEntry:
		a.Entry, err = r.readEntry(d, &st.Head)
	case OpSearch:
		a.Hits, err = r.readHits(d, &st.Head)
	case OpTotals:
		a.Totals, err = r.readTotals(d, &st.Head)
	default:
		err = fmt.Errorf("operation %d: %w", r.Op, index.ErrInvalid)
	}
	if err != nil {
		return Answer{}, fmt.Errorf("read answer: %w", err)
	}
	return a, nil
}

// row takes a row that can be one of the head's state.
func row(d *wire.Decoder, e *index.Entry, h *index.SignedHead) {
	d.Row(e)
	if d.Err() == nil && (e.ID >= h.NextID || e.Seq > h.Seq) {
		d.Fail(fmt.Errorf("row %d of seq %d at a head of seq %d", e.ID, e.Seq, h.Seq))
	}
}

// subject takes the row of what was asked about.
func (r *Request) subject(d *wire.Decoder, e *index.Entry, h *index.SignedHead) {
	row(d, e, h)
	if d.Err() != nil {
		return
	}
	isRoot := r.Entry == 0 && r.Path == "" || r.Entry == index.RootID
	_, name := split(r.Path)
	switch {
	case r.Entry != 0 && e.ID != r.Entry, isRoot != (e.ID == index.RootID), r.Entry == 0 && e.Name != name:
		d.Fail(fmt.Errorf("entry %d is not the one asked for", e.ID))
	}
}

func (r *Request) readListing(d *wire.Decoder, h *index.SignedHead) (*Listing, error) {
	var l Listing
	d.Array(listingFields)
	r.subject(d, &l.Folder, h)
	l.Entries = d.Rows(nil, r.limit())
	l.More = d.Bool()
	if err := d.Close(); err != nil {
		return nil, err
	}
	last := Mark{}
	if r.After != nil {
		last = *r.After
	}
	for i := range l.Entries {
		e := &l.Entries[i]
		if e.Parent != l.Folder.ID || e.ID >= h.NextID || e.Seq > h.Seq || cmp.Or(strings.Compare(e.Name, last.Text), cmp.Compare(e.ID, last.ID)) <= 0 {
			return nil, fmt.Errorf("%w: row %d is not the next of its folder", wire.ErrMalformed, e.ID)
		}
		last = Mark{ID: e.ID, Text: e.Name}
	}
	if len(l.Entries) > 0 && l.Folder.Kind != index.KindDir || l.More && len(l.Entries) == 0 {
		return nil, fmt.Errorf("%w: %d entries in a %v", wire.ErrMalformed, len(l.Entries), l.Folder.Kind)
	}
	return &l, nil
}

func (r *Request) readEntry(d *wire.Decoder, h *index.SignedHead) (*Found, error) {
	var f Found
	d.Array(foundFields)
	r.subject(d, &f.Entry, h)
	f.Children = d.Int(0, index.MaxID)
	f.Path = d.String(maxPath)
	if err := d.Close(); err != nil {
		return nil, err
	}
	if err := checkPath(f.Path, &f.Entry); err != nil {
		return nil, err
	}
	if r.Entry == 0 && f.Path != r.Path || f.Children >= h.Count || f.Children > 0 && f.Entry.Kind != index.KindDir {
		return nil, fmt.Errorf("%w: entry %d is not the one asked for", wire.ErrMalformed, f.Entry.ID)
	}
	return &f, nil
}

func (r *Request) readHits(d *wire.Decoder, h *index.SignedHead) (*Hits, error) {
	var out Hits
	d.Array(hitsFields)
	n := d.List(r.limit(), minHit)
	for ; n > 0 && d.Err() == nil; n-- {
		var x Hit
		d.Array(hitFields)
		row(d, &x.Entry, h)
		x.Path = d.String(maxPath)
		out.Hits = append(out.Hits, x)
	}
	out.More = d.Bool()
	if err := d.Close(); err != nil {
		return nil, err
	}
	last := r.After
	for i := range out.Hits {
		e := &out.Hits[i].Entry
		if err := checkPath(out.Hits[i].Path, e); err != nil {
			return nil, err
		}
		at := r.Order.Mark(e)
		if e.ID == index.RootID || last != nil && r.Order.compare(&at, last) <= 0 {
			return nil, fmt.Errorf("%w: entry %d is out of order", wire.ErrMalformed, e.ID)
		}
		last = &at
	}
	if out.More && len(out.Hits) == 0 {
		return nil, fmt.Errorf("%w: a page with nothing in it", wire.ErrMalformed)
	}
	return &out, nil
}

func (r *Request) readTotals(d *wire.Decoder, h *index.SignedHead) (*Totals, error) {
	var t Totals
	d.Array(totalsFields)
	r.subject(d, &t.Folder, h)
	t.Entries = d.Int(0, h.Count)
	t.Folders = d.Int(0, t.Entries)
	t.Bytes = d.Int(0, math.MaxInt64)
	if err := d.Close(); err != nil {
		return nil, err
	}
	return &t, nil
}

// Mark is the place of an entry in a list of this order.
func (o Order) Mark(e *index.Entry) Mark {
	m := Mark{ID: e.ID}
	switch o.By {
	case ByName:
		m.Text = e.Name
	case BySize:
		m.Number = e.Size
	case ByTime:
		m.Number = e.MTime
	}
	return m
}

func (o Order) compare(a, b *Mark) int {
	c := cmp.Or(cmp.Compare(a.Number, b.Number), strings.Compare(a.Text, b.Text))
	if o.Descending {
		c = -c
	}
	return cmp.Or(c, cmp.Compare(a.ID, b.ID))
}

// checkPath finds a path that can't be that of an entry.
func checkPath(path string, e *index.Entry) error {
	_, name := split(path)
	if name != e.Name || (path == "") != (e.ID == index.RootID) {
		return fmt.Errorf("%w: entry %d under another name", wire.ErrMalformed, e.ID)
	}
	depth := 0
	for part := range strings.SplitSeq(path, "/") {
		if depth++; path != "" && index.ValidName(part) != nil || depth > index.MaxDepth {
			return fmt.Errorf("%w: path of entry %d", wire.ErrMalformed, e.ID)
		}
	}
	return nil
}

func split(path string) (folder, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}
