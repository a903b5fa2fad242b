package notice

import (
	"errors"
	"testing"
	"time"

	pubsub "github.com/libp2p/go-libp2p-pubsub"
	pb "github.com/libp2p/go-libp2p-pubsub/pb"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
)

// TestWhatIsNotTaken has a member send what it shouldn't. None of it is taken or passed on; a good notice after it is.
func TestWhatIsNotTaken(t *testing.T) {
	var c club
	lib := mustChannel(t, testLibrary())
	near, far := newDevice(t, "near", &c), newDevice(t, "far", &c)
	p := newPuppet(t, "puppet", lib.topic)
	c.set(p.host.ID(), true)
	near.connect(far.host, far)
	near.connect(p.host, nil)
	p.sees(t, near.host.ID())
	near.sees(far.host.ID())
	other := mustChannel(t, Library{ID: index.LibraryID{8}, Secret: testLibrary().Secret})
	seal := func(by *channel, h index.SignedHead) []byte { return by.seal(&BulkIndexComplete{Head: h}) }
	good := func(n byte, seq int64) []byte { return seal(lib, headOf(t, p.key, n, seq)) }
	forged := headOf(t, p.key, 1, 5)
	forged.Signature[0] ^= 1
	known := headOf(t, p.key, 6, 10)
	near.known[known.Location], far.known[known.Location] = known, known
	twice := good(7, 3)
	for _, x := range []struct {
		name string
		data []byte
		want error
	}{
		{"too long", append(good(1, 1), 0), wire.ErrMalformed},
		{"too short", good(1, 1)[1:], wire.ErrMalformed},
		{"much too long", make([]byte, 20_000), wire.ErrMalformed},
		{"noise", make([]byte, SealedSize), wire.ErrMalformed},
		{"forged head", seal(lib, forged), wire.ErrMalformed},
		{"head of another", seal(lib, headOf(t, testKey("near"), 1, 1)), wire.ErrMalformed},
		{"for another library", seal(other, headOf(t, p.key, 1, 1)), wire.ErrMalformed},
		{"older than known", good(6, 9), errOld},
		{"good", twice, nil},
		{"again", twice, errOld},
		{"older than told", good(7, 2), errOld},
		{"known, but not told yet", seal(lib, known), nil},
	} {
		p.send(t, x.data)
		e := near.event()
		if !errors.Is(e.Err, x.want) || (x.want == nil) != (e.Err == nil) || e.Author != p.host.ID() {
			t.Errorf("%s: %+v, want %v", x.name, e, x.want)
		}
	}
	for _, want := range []byte{7, 6} {
		if got := near.hears(); got.Location().ID[0] != want || got.Device() != deviceOf(p.key) {
			t.Errorf("heard %v, want location %d", got.Head, want)
		}
	}
	c.set(p.host.ID(), false) // removed: what it says counts no more
	p.send(t, good(8, 1))
	if e := near.event(); !errors.Is(e.Err, errStranger) {
		t.Errorf("removed author: %+v", e)
	}
	near.commit(1, 1)
	for {
		got := far.hears()
		if got.Device() == deviceOf(near.key) {
			break
		}
		if n := got.Location().ID[0]; n != 7 && n != 6 { // they are passed on if the mesh stands already
			t.Errorf("passed on: %v", got.Head)
		}
	}
	if len(near.heard) > 0 {
		t.Error("more was heard")
	}
}

// TestAnAuthorWhoIsNoMember has a member pass on what one who is none has signed.
func TestAnAuthorWhoIsNoMember(t *testing.T) {
	var c club
	lib := mustChannel(t, testLibrary())
	near := newDevice(t, "near", &c)
	relay, gone := newPuppet(t, "relay", lib.topic), newPuppet(t, "gone", lib.topic)
	c.set(relay.host.ID(), true)
	near.connect(relay.host, nil)
	connectOnly(t, relay.host, gone.host)
	relay.sees(t, near.host.ID())
	gone.sees(t, relay.host.ID())
	e := primed(t, near.events, func(n int64) { gone.send(t, lib.seal(&BulkIndexComplete{Head: headOf(t, gone.key, 1, n)})) })
	if !errors.Is(e.Err, errStranger) || e.From != relay.host.ID() || e.Author != gone.host.ID() {
		t.Errorf("%+v", e)
	}
	relay.send(t, lib.seal(&BulkIndexComplete{Head: headOf(t, relay.key, 1, 1)}))
	if got := near.hears(); got.Device() != deviceOf(relay.key) {
		t.Errorf("heard %+v", got)
	}
}

// TestOneAuthorCannotFlood sends more than an author may, and checks that others are heard nevertheless.
func TestOneAuthorCannotFlood(t *testing.T) {
	var c club
	lib := mustChannel(t, testLibrary())
	near, other := newDevice(t, "near", &c), newDevice(t, "other", &c)
	p := newPuppet(t, "puppet", lib.topic)
	c.set(p.host.ID(), true)
	near.connect(p.host, nil)
	near.connect(other.host, other)
	p.sees(t, near.host.ID())
	other.sees(near.host.ID())
	start := time.Now()
	taken := 0
	const sent = 400
	for n := range sent {
		p.send(t, lib.seal(&BulkIndexComplete{Head: headOf(t, p.key, 1, int64(n+1))}))
		switch e := near.event(); {
		case e.Err == nil:
			taken++
		case !errors.Is(e.Err, errFlood):
			t.Fatalf("%+v", e)
		}
	}
	r := authorRate()
	if most := int(r.Burst + time.Since(start).Seconds()*r.Second + 1); taken > most || taken < int(r.Burst) {
		t.Errorf("%d of %d taken in %v, want %v to %d", taken, sent, time.Since(start), r.Burst, most)
	}
	other.commit(1, 1)
	for got := near.hears(); got.Device() != deviceOf(other.key); got = near.hears() {
		if taken--; taken < 0 {
			t.Fatal("more was heard than taken")
		}
	}
}

// TestStrangers subscribes to the topic as one who knows its name and the secret, but is no member.
func TestStrangers(t *testing.T) {
	var c club
	lib := mustChannel(t, testLibrary())
	a, b := newDevice(t, "a", &c), newDevice(t, "b", &c)
	stranger := newPuppet(t, "stranger", lib.topic)
	a.connect(b.host, b)
	a.connect(stranger.host, nil)
	a.sees(b.host.ID())
	stranger.sees(t, a.host.ID()) // this host lets it: a device's own doesn't
	stranger.send(t, lib.seal(&BulkIndexComplete{Head: headOf(t, stranger.key, 1, 1)}))
	if e := a.event(); !errors.Is(e.Err, errStranger) || e.From != stranger.host.ID() {
		t.Errorf("%+v", e)
	}
	for n := int64(1); n <= 3; n++ {
		a.commit(1, n)
		b.hears()
	}
	// Once it is a member and connects anew, it hears, but nothing of what was before.
	c.set(stranger.host.ID(), true)
	if err := a.host.Network().ClosePeer(stranger.host.ID()); err != nil {
		t.Fatal(err)
	}
	a.connect(stranger.host, nil)
	a.sees(stranger.host.ID())
	fourth := a.commit(1, 4)
	for {
		m, err := stranger.sub.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if m.GetFrom() == stranger.host.ID() {
			continue
		}
		if got, err := lib.open(deviceOf(a.key), m.GetData()); err != nil || got.Head != fourth {
			t.Errorf("the stranger heard %+v, %v", got, err)
		}
		break
	}
	if len(a.heard) > 0 {
		t.Error("what the stranger said was heard")
	}
}

// TestUnknownFieldsAreNotPassedOn calls the first check with messages that gossipsub itself would take.
func TestUnknownFieldsAreNotPassedOn(t *testing.T) {
	var c club
	d := newDevice(t, "a", &c)
	good := func() *pb.Message {
		topic := d.channel.Load().topic
		return &pb.Message{From: []byte(d.host.ID()), Data: make([]byte, SealedSize), Seqno: make([]byte, 8), Topic: &topic}
	}
	bad := []*pb.Message{good(), good(), good(), good(), good()}
	bad[0].ProtoReflect().SetUnknown([]byte{0x7a, 1, 1}) // field 15, bytes
	bad[1].Key = []byte{1}
	bad[2].Seqno = nil
	bad[3].Topic = nil
	bad[4].From = nil
	rpc := &pubsub.RPC{RPC: pb.RPC{Publish: append(bad, good())}}
	if err := d.inspect(d.host.ID(), rpc); err != nil || len(rpc.Publish) != 1 {
		t.Errorf("%d messages kept, %v", len(rpc.Publish), err)
	}
	if err := d.inspect("stranger", rpc); !errors.Is(err, errStranger) {
		t.Errorf("from a stranger: %v", err)
	}
}
