package query

import (
	"crypto/sha256"
	"fmt"
	"math"

	"github.com/libp2p/go-libp2p/core/protocol"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
)

// ID is the protocol's ID.
const ID protocol.ID = "/peerdex/query/1"

// Limits of questions and answers.
const (
	// MaxText bounds the text of a search. Bytes.
	MaxText = 4 << 10
	// MaxAskPath bounds the path of a folder or entry that is asked for. Bytes.
	MaxAskPath = 32 << 10
	// DefaultLimit is how many entries are answered unless the asker wants another number.
	DefaultLimit = 1000

	// maxBody bounds the body of an answer, so that its frame fits even if no codec makes it smaller. Bytes.
	maxBody = 768 << 10
	// maxPath bounds a path in an answer: what is deeper than any folder may be. Bytes.
	maxPath = 256 << 10
)

const (
	version = 1

	kindRequest   = 1
	requestFields = 14
	kindAnswer    = 2
	answerFields  = 4
)

// Op says what is asked.
type Op uint8

// What can be asked.
const (
	OpList   Op = 1 + iota // the entries of a folder, by raw name; equal names by id
	OpEntry                // one entry
	OpSearch               // entries that a text in the language of package store/query finds
	OpTotals               // what lies below a folder, added up
)

// Order is the order of what a search finds.
type Order struct {
	By         By
	Descending bool // of what is equal, the order by id stays
}

// By is what a search's answer is ordered by.
type By uint8

// The orders. What is equal comes by id.
const (
	ByID By = iota
	ByName
	BySize
	ByTime
)

// Mark is a place in a list of entries: behind the entry with this id, which need not be there any more.
type Mark struct {
	ID     int64
	Number int64  // its size or time, in a search ordered by that
	Text   string // its name, in a folder, and in a search ordered by name
}

// Request is a question about one location.
type Request struct {
	Location index.Location
	Op       Op
	Entry    int64  // id of the folder or entry asked about; 0 = see Path
	Path     string // of the folder or entry, relative to the root, "" for the root itself
	Text     string // of a search
	Order    Order  // of a search
	After    *Mark  // go on behind; nil = begin. For lists and searches
	Limit    int    // entries wanted, at most [wire.MaxRows]; 0 = [DefaultLimit]. For lists and searches
	// Known is the digest of the answer that the asker has, zero if none: see [Digest].
	Known  index.Hash
	Codecs wire.CodecSet // that the answer may be packed with, beside none
}

// Digest names the body of an answer.
func Digest(body []byte) index.Hash { return sha256.Sum256(body) }

// Question is the SHA-256 of what is asked. Two requests with one question have one answer at any state of the location.
func (r *Request) Question() index.Hash {
	q := *r
	q.Known, q.Codecs = index.Hash{}, 0
	e := wire.NewEncoder()
	q.fields(e)
	return sha256.Sum256(e.Payload())
}

// Check reports why a request can't be sent, or nil.
func (r *Request) Check() error {
	switch {
	case r.Op < OpList || r.Op > OpTotals:
		return fmt.Errorf("operation %d: %w", r.Op, index.ErrInvalid)
	case r.Entry < 0 || r.Entry > index.MaxID || r.Entry > 0 && r.Path != "":
		return fmt.Errorf("entry %d with a path of %d bytes: %w", r.Entry, len(r.Path), index.ErrInvalid)
	case len(r.Path) > MaxAskPath:
		return fmt.Errorf("path of %d bytes, the limit is %d: %w", len(r.Path), MaxAskPath, index.ErrInvalid)
	case len(r.Text) > MaxText || (r.Op == OpSearch) != (r.Text != ""):
		return fmt.Errorf("text of %d bytes: %w", len(r.Text), index.ErrInvalid)
	case r.Order.By > ByTime || r.Op != OpSearch && r.Order != (Order{}):
		return fmt.Errorf("order %v: %w", r.Order, index.ErrInvalid)
	case r.Limit < 0 || r.Limit > wire.MaxRows:
		return fmt.Errorf("limit %d: %w", r.Limit, index.ErrInvalid)
	}
	return r.checkAfter()
}

func (r *Request) checkAfter() error {
	switch {
	case r.After != nil && (r.After.ID < 1 || r.After.ID > index.MaxID || len(r.After.Text) > index.MaxNameLen):
		return fmt.Errorf("after %+v: %w", *r.After, index.ErrInvalid)
	case r.After != nil && r.Op != OpList && r.Op != OpSearch:
		return fmt.Errorf("operation %d has no pages: %w", r.Op, index.ErrInvalid)
	}
	return nil
}

// limit is how many entries the answer may have.
func (r *Request) limit() int {
	if r.Limit == 0 {
		return DefaultLimit
	}
	return r.Limit
}

func (r *Request) encode(c *wire.Conn) { r.fields(c.Begin(kindRequest, requestFields)) }

func (r *Request) fields(e *wire.Encoder) {
	order := int64(r.Order.By) * 2
	if r.Order.Descending {
		order++
	}
	var after Mark
	if r.After != nil {
		after = *r.After
	}
	e.Int(version)
	e.Bytes(r.Location.Owner[:])
	e.Bytes(r.Location.ID[:])
	e.Int(int64(r.Op))
	e.Int(r.Entry)
	e.String(r.Path)
	e.String(r.Text)
	e.Int(order)
	e.Int(after.ID)
	e.Int(after.Number)
	e.String(after.Text)
	e.Int(int64(r.Limit))
	if r.Known.IsZero() {
		e.Bytes(nil)
	} else {
		e.Bytes(r.Known[:])
	}
	e.Int(int64(r.Codecs))
}

func decodeRequest(d *wire.Decoder) (*Request, error) {
	var r Request
	if v := d.Int(0, math.MaxInt32); d.Err() == nil && v != version {
		return nil, fmt.Errorf("request of version %d: %w", v, wire.ErrVersion)
	}
	d.Fixed(r.Location.Owner[:])
	d.Fixed(r.Location.ID[:])
	r.Op = Op(d.Int(int64(OpList), int64(OpTotals)))
	r.Entry = d.Int(0, index.MaxID)
	r.Path = d.String(MaxAskPath)
	r.Text = d.String(MaxText)
	order := d.Int(0, int64(ByTime)*2+1)
	r.Order = Order{By: By(order / 2), Descending: order%2 == 1}
	after := Mark{ID: d.Int(0, index.MaxID), Number: d.Int(math.MinInt64, math.MaxInt64), Text: d.String(index.MaxNameLen)}
	switch {
	case after.ID > 0:
		r.After = &after
	case after != Mark{}:
		d.Fail(fmt.Errorf("a place without an entry"))
	}
	r.Limit = int(d.Int(0, wire.MaxRows))
	switch known := d.Bytes(index.HashSize); len(known) {
	case 0:
	case index.HashSize:
		r.Known = index.Hash(known)
	default:
		d.Fail(fmt.Errorf("digest of %d bytes", len(known)))
	}
	r.Codecs = wire.CodecSet(d.Int(0, math.MaxUint8))
	if err := d.Close(); err != nil {
		return nil, err
	}
	if err := r.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", wire.ErrMalformed, err)
	}
	return &r, nil
}

// State is what a location held when it was read.
type State struct {
	Head   index.SignedHead
	Record []byte // of that head, canonical bytes
}

// outcome says what kind an answer is.
type outcome int64

const (
	absent outcome = iota // there is no such entry
	given                 // the body has it
	same                  // it is the one that the asker has
)

// message is an answer as it travels.
type message struct {
	State
	outcome outcome
	body    []byte // empty unless given
}

func (m *message) encode(c *wire.Conn) {
	e := c.Begin(kindAnswer, answerFields)
	e.Head(&m.Head)
	e.Bytes(m.Record)
	e.Int(int64(m.outcome))
	e.Bytes(m.body)
}

func decodeAnswer(d *wire.Decoder) (message, error) {
	var m message
	h := d.Head()
	if h == nil {
		d.Fail(fmt.Errorf("answer without a head"))
	} else {
		m.Head = *h
	}
	m.Record = d.Bytes(index.MaxRecordLen)
	m.outcome = outcome(d.Int(int64(absent), int64(same)))
	m.body = d.Bytes(maxBody)
	if (m.outcome == given) != (len(m.body) > 0) {
		d.Fail(fmt.Errorf("answer of kind %d with a body of %d bytes", m.outcome, len(m.body)))
	}
	return m, d.Close()
}
