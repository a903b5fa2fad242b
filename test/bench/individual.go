package main

import (
	"bufio"
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	libp2ptls "github.com/libp2p/go-libp2p/p2p/security/tls"
	ma "github.com/multiformats/go-multiaddr"
	"github.com/vmihailenco/msgpack/v5"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/test/harness/dump"
)

// The baseline: one message an entry. The receiver commits each by itself, in a plain SQLite database with the same table
// and indexes (WAL, synchronous=NORMAL), and says so by one byte; then the next is sent. Nothing is signed, hashed or packed,
// and nothing of package node takes part.
const (
	individualChild = "sync-individual"
	individualID    = "/peerdex/bench-individual/1"
	individualFile  = "entries.db"
	maxIndividual   = 64 << 10
)

// individual is the message, as a program would send it that sends one for each change: with the names of fields.
type individual struct {
	Device   string `msgpack:"device_id"`
	Location string `msgpack:"location_id"`
	ID       int64  `msgpack:"id"`
	Parent   int64  `msgpack:"parent_id"`
	Name     string `msgpack:"name"`
	Kind     int64  `msgpack:"kind"`
	Size     int64  `msgpack:"size"`
	MTime    int64  `msgpack:"modified_at"`
	Mode     int64  `msgpack:"mode"`
	Seq      int64  `msgpack:"seq"`
}

// individualNode is a libp2p host and a database.
type individualNode struct {
	host    host.Host
	file    string // what the provider sends, and the receiver makes
	like    string // file whose schema the receiver takes
	peer    string
	traffic traffic
	begun   mark // when it was ready
}

func runIndividualChild(ctx context.Context, args []string, out, _ io.Writer) (err error) {
	fs := flag.NewFlagSet(individualChild, flag.ContinueOnError)
	n := &individualNode{}
	fs.StringVar(&n.file, "file", "", "database to send or to make")
	fs.StringVar(&n.like, "like", "", "database with the schema of the one to make")
	fs.StringVar(&n.peer, "peer", "", "address to receive from")
	if err := fs.Parse(args); err != nil {
		return err
	}
	n.host, err = libp2p.New(libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.Security(libp2ptls.ID, libp2ptls.New),
		libp2p.DisableRelay(), libp2p.DisableMetrics(), libp2p.BandwidthReporter(&n.traffic))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.host.Close()) }()
	n.host.SetStreamHandler(individualID, func(s network.Stream) {
		if err := n.send(ctx, s); err != nil {
			_ = s.Reset() // the receiver then says that it failed
		}
	})
	n.begun = start()
	return serveOrders(ctx, os.Stdin, out, n.do)
}

func (n *individualNode) do(ctx context.Context, o *order) (answer, error) {
	switch o.Do {
	case "hello":
		return answer{Addr: fmt.Sprintf("%s/p2p/%s", n.host.Addrs()[0], n.host.ID())}, nil
	case "wait":
		return n.receive(ctx)
	case "usage":
		peak, err := peakRSS()
		wire, _ := n.traffic.ours()
		return answer{Usage: usage{CPU: n.begun.cost().cpuSeconds(), Peak: peak, Wire: wire}}, err
	}
	return answer{}, fmt.Errorf("there is no order %q", o.Do)
}

// send sends every row of the file, and waits for the answer to each.
func (n *individualNode) send(ctx context.Context, s network.Stream) (err error) {
	db, err := sql.Open("sqlite3", fileURI(n.file, "mode=ro"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	rows, err := db.QueryContext(ctx, "SELECT id, parent, name, kind, size, mtime, mode, seq FROM entries ORDER BY id")
	if err != nil {
		return err
	}
	defer rows.Close()
	m := individual{Device: s.Conn().LocalPeer().String(), Location: "00000000-0000-0000-0000-000000000000"}
	ack := make([]byte, 1)
	for rows.Next() {
		if err := rows.Scan(&m.ID, &m.Parent, &m.Name, &m.Kind, &m.Size, &m.MTime, &m.Mode, &m.Seq); err != nil {
			return err
		}
		b, err := msgpack.Marshal(&m)
		if err != nil {
			return err
		}
		if _, err := s.Write(append(binary.AppendUvarint(nil, uint64(len(b))), b...)); err != nil {
			return err
		}
		if _, err := io.ReadFull(s, ack); err != nil {
			return err
		}
	}
	return errors.Join(rows.Err(), s.CloseWrite())
}

// receive asks for all rows, and commits one after the other.
func (n *individualNode) receive(ctx context.Context) (a answer, err error) {
	db, err := n.makeFile(ctx)
	if err != nil {
		return a, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	addr, err := ma.NewMultiaddr(n.peer)
	if err != nil {
		return a, err
	}
	info, err := peer.AddrInfoFromP2pAddr(addr)
	if err != nil {
		return a, err
	}
	if err := n.host.Connect(ctx, *info); err != nil {
		return a, err
	}
	a.Begin = time.Now()
	s, err := n.host.NewStream(ctx, info.ID, individualID)
	if err != nil {
		return a, err
	}
	defer s.Close()
	insert, err := db.PrepareContext(ctx, "INSERT INTO entries (id, parent, name, kind, size, mtime, mode, seq) VALUES (?, ?, ?, ?, ?, ?, ?, ?)")
	if err != nil {
		return a, err
	}
	defer insert.Close()
	if _, err := s.Write(nil); err != nil { // opens the stream: libp2p waits for the first use of it
		return a, err
	}
	for r := bufio.NewReader(s); ; {
		m, err := readIndividual(r)
		if errors.Is(err, io.EOF) {
			a.At = time.Now()
			return a, nil
		}
		if err == nil {
			_, err = insert.ExecContext(ctx, m.ID, m.Parent, m.Name, m.Kind, m.Size, m.MTime, m.Mode, m.Seq)
		}
		if err == nil {
			_, err = s.Write([]byte{1})
		}
		if err != nil {
			return a, err
		}
	}
}

// readIndividual reads one message; the other side is this program. It returns io.EOF at the end.
func readIndividual(r *bufio.Reader) (m individual, err error) {
	size, err := binary.ReadUvarint(r)
	if err != nil {
		return m, err
	}
	if size > maxIndividual {
		return m, fmt.Errorf("a message of %d bytes: %w", size, index.ErrInvalid)
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return m, errors.Join(io.ErrUnexpectedEOF, err)
	}
	return m, msgpack.Unmarshal(b, &m)
}

// makeFile makes the receiver's database.
func (n *individualNode) makeFile(ctx context.Context) (*sql.DB, error) {
	schema, err := entriesSchema(ctx, n.like)
	if err != nil {
		return nil, err
	}
	db, err := sql.Open("sqlite3", fileURI(n.file, "_journal_mode=WAL&_synchronous=NORMAL"))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	for _, text := range schema {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return nil, errors.Join(err, db.Close())
		}
	}
	return db, nil
}

// individualSync sends every entry by itself.
func individualSync(ctx context.Context, b *syncBench, dir string) (s syncSample, err error) {
	file, err := locationFile(ctx, b.owner, b.loc)
	if err != nil {
		return s, err
	}
	p := &pair{}
	defer func() { err = errors.Join(err, p.stop()) }()
	if p.provider, err = startProcess(ctx, b.notes, "provider", individualChild, "-file", file); err != nil {
		return s, err
	}
	p.receiver, err = startProcess(ctx, b.notes, "receiver", individualChild,
		"-file", filepath.Join(dir, individualFile), "-like", file, "-peer", p.provider.addr)
	if err != nil {
		return s, err
	}
	a, err := p.receiver.ask(order{Do: "wait"})
	if err != nil {
		return s, err
	}
	s.took.wall = a.At.Sub(a.Begin)
	s.provider, s.receiver, err = p.usage()
	return s, err
}

// verifyIndividual compares the entries; there is nothing signed that could be checked.
func verifyIndividual(ctx context.Context, b *syncBench, dir string) error {
	file, err := locationFile(ctx, b.owner, b.loc)
	if err != nil {
		return err
	}
	_, first, err := dump.CompareEntries(ctx, file, filepath.Join(dir, individualFile))
	if err == nil && first != "" {
		err = fmt.Errorf("the receiver has something else: %s", first)
	}
	return err
}
