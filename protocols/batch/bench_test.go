package batch

import (
	"context"
	"fmt"
	"testing"

	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
)

// sliceSource serves rows whose ids and seqs are their places in the slice, from 1.
type sliceSource struct {
	head   index.SignedHead
	record []byte
	rows   []index.Entry
}

func (s *sliceSource) Page(_ context.Context, r PageRequest) (index.Page, error) {
	p := index.Page{Head: s.head, Record: s.record, LeftRows: int64(len(s.rows)), LeftDead: 0, UpTo: r.Position}
	if r.Mode == index.ModeDelta {
		p.LeftRows, p.UpTo, p.Exhausted = 0, s.head.Seq, true
		return p, nil
	}
	end := min(int(r.Position)+r.Limit, len(s.rows))
	p.Rows, p.UpTo, p.Exhausted = s.rows[r.Position:end], int64(end), end == len(s.rows)
	return p, nil
}

type nullSink struct{ bytes int64 }

func (n *nullSink) Put(_ context.Context, _ *index.Page, _ index.Token, _ bool, at Progress) error {
	n.bytes = at.Bytes
	return nil
}

// BenchmarkPull moves rows through Server and Pull over a real connection on this machine, without a store on either
// side. ns/op is for one row.
func BenchmarkPull(b *testing.B) {
	o := newOwner(b)
	rows := []index.Entry{o.now.rows[1]}
	for i := int64(2); i <= 100_000; i++ {
		rows = append(rows, index.Entry{ID: i, Parent: i/20 + 1, Name: fmt.Sprintf("document-%d-%x.txt", i%977, i*2654435761%65537), Kind: index.KindFile,
			Size: i * 7919 % 1_000_003, MTime: 1_700_000_000_000_000_000 + i*i*1_000_003, Mode: 0o644, Seq: i})
	}
	o.now.head.Seq, o.now.head.NextID = int64(len(rows)), int64(len(rows))+1
	for i := range rows {
		o.now.rows[rows[i].ID] = rows[i]
	}
	s := o.commit()
	srv := NewServer(ServerConfig{Source: &sliceSource{head: s.head, record: s.record, rows: rows}})
	defer func() { _ = srv.Close() }()
	server, client := newHost(b), newHost(b)
	server.SetStreamHandler(ID, srv.Handle)
	if err := client.Connect(b.Context(), peer.AddrInfo{ID: server.ID(), Addrs: server.Addrs()}); err != nil {
		b.Fatal(err)
	}
	for name, codecs := range map[string]wire.CodecSet{"zstd": wire.AllCodecs, "s2": 1 << wire.CodecS2, "none": wire.Plain} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			var sink nullSink
			for n := 0; n < b.N; n += len(rows) {
				stream, err := client.NewStream(b.Context(), server.ID(), ID)
				if err != nil {
					b.Fatal(err)
				}
				tok := index.NewFull(s.head.Location, s.head.Epoch)
				if _, err := Pull(b.Context(), stream, tok, &sink, Options{Library: testLibrary, Codecs: codecs}); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(sink.bytes)/float64(len(rows)), "wire-B/row")
		})
	}
}
