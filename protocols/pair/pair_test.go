package pair

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"flag"
	"io"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/libp2p/go-libp2p"
	"github.com/libp2p/go-libp2p/core/crypto"
	"github.com/libp2p/go-libp2p/core/host"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/membership"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
	"github.com/peerdex/peerdex/test/harness"
)

var update = flag.Bool("update", false, "write the golden vectors anew")

func TestMain(m *testing.M) { os.Exit(harness.Main(m)) }

func testKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func deviceOf(key ed25519.PrivateKey) index.DeviceID {
	return index.DeviceID(key.Public().(ed25519.PublicKey))
}

func peerOf(t testing.TB, key ed25519.PrivateKey) peer.ID {
	t.Helper()
	p, err := wire.PeerOf(deviceOf(key))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// library is an inviter's: a genesis, and an ADD for whom it admits.
type library struct {
	key ed25519.PrivateKey

	mu       sync.Mutex
	records  []membership.Record
	admitted []index.DeviceID
	err      error                 // of Admit
	change   func(a *Admission)    // what a hostile inviter does; nil = nothing
	during   func(context.Context) // called in Admit; nil = nothing
}

func newLibrary(t testing.TB) *library {
	t.Helper()
	l := &library{key: testKey("inviter")}
	g, err := membership.NewGenesis(l.key, "nas", time.Unix(1_700_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	l.records = []membership.Record{g}
	return l
}

func (l *library) Admit(ctx context.Context, d index.DeviceID, h Hello) (Admission, error) {
	if l.during != nil {
		l.during(ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.admitted = append(l.admitted, d)
	if l.err != nil {
		return Admission{}, l.err
	}
	lib := l.records[0].LibraryID()
	add, err := membership.NewAdd(l.key, lib, l.records, d, h.Name, time.Unix(1_700_000_001, 0))
	if err != nil {
		return Admission{}, err
	}
	l.records = append(l.records, add)
	a := Admission{Library: lib, Secret: [32]byte{1, 2, 3}}
	for i := range l.records {
		b, _ := l.records[i].MarshalBinary()
		a.Records = append(a.Records, b)
	}
	if l.change != nil {
		l.change(&a)
	}
	return a, nil
}

// table is an inviter's window and its library.
type table struct {
	t      *testing.T
	lib    *library
	window *Window
}

func newTable(t *testing.T) *table {
	t.Helper()
	lib := newLibrary(t)
	tb := &table{t: t, lib: lib, window: NewWindow(WindowConfig{Self: deviceOf(lib.key), Admitter: lib})}
	t.Cleanup(func() { _ = tb.window.Close() })
	return tb
}

func (tb *table) open(ttl time.Duration) (Invite, Ticket) {
	tb.t.Helper()
	inv, err := tb.window.Open(ttl)
	if err != nil {
		tb.t.Fatal(err)
	}
	return inv, Ticket{Inviter: deviceOf(tb.lib.key), Secret: inv.Secret}
}

// join lets a device join by a ticket, over a stream of its own.
func (tb *table) join(key ed25519.PrivateKey, tk Ticket, accept func(Admission) error) error {
	a, b := wiretest.Pipe(1 << 20)
	served := make(chan struct{})
	go func() {
		defer close(served)
		tb.window.Serve(b, peerOf(tb.t, key))
	}()
	err := Join(tb.t.Context(), a, tk, deviceOf(key), Hello{Name: "laptop", Platform: "linux"}, accept, Options{})
	<-served
	return err
}

func (tb *table) outcome(id string) Outcome {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Hour)
	defer cancel()
	o, err := tb.window.Wait(ctx, id)
	if err != nil {
		tb.t.Fatal(err)
	}
	return o
}

func nothing(Admission) error { return nil }

func TestJoin(t *testing.T) {
	t.Parallel()
	tb := newTable(t)
	inv, tk := tb.open(0)
	if d := time.Until(inv.Expires); d < 9*time.Minute || d > DefaultTTL {
		t.Errorf("the invite is open for %v", d)
	}
	joiner := testKey("joiner")
	var got Admission
	if err := tb.join(joiner, tk, func(a Admission) error { got = a; return nil }); err != nil {
		t.Fatal(err)
	}
	want := Outcome{Joined: true, Device: deviceOf(joiner), Hello: Hello{Name: "laptop", Platform: "linux"}}
	if o := tb.outcome(inv.ID); o != want {
		t.Errorf("outcome %+v", o)
	}
	if got.Secret != [32]byte{1, 2, 3} || got.Library != tb.lib.records[0].LibraryID() || len(got.Records) != 2 {
		t.Errorf("admission %+v", got)
	}
	if tb.window.IsOpen() {
		t.Error("a used invite is open")
	}
	if err := tb.join(testKey("another"), tk, nothing); !errors.Is(err, wire.ErrWindowClosed) {
		t.Errorf("a used ticket: %v", err)
	}
	if len(tb.lib.admitted) != 1 {
		t.Errorf("admitted %v", tb.lib.admitted)
	}
}

// TestRefusalsAreAlike compares, byte by byte, what a stranger gets from a window that never had an invite, from one
// whose invite was used, and from one whose invite expired or was cancelled.
func TestRefusalsAreAlike(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		answers := map[string]string{}
		ask := func(name string, tb *table) {
			a, b := wiretest.Pipe(1 << 20)
			tb.window.Serve(b, peerOf(t, testKey("stranger")))
			raw, err := io.ReadAll(a)
			if err != nil {
				t.Fatal(err)
			}
			answers[name] = string(raw)
			if err := tb.window.Close(); err != nil {
				t.Fatal(err)
			}
		}
		ask("never", newTable(t))
		used := newTable(t)
		_, tk := used.open(0)
		if err := used.join(testKey("joiner"), tk, nothing); err != nil {
			t.Fatal(err)
		}
		ask("used", used)
		cancelled := newTable(t)
		inv, _ := cancelled.open(0)
		cancelled.window.Cancel(inv.ID)
		ask("cancelled", cancelled)
		expired := newTable(t)
		expired.open(time.Minute)
		time.Sleep(time.Minute)
		ask("expired", expired)
		for name, a := range answers {
			if a != answers["never"] || a == "" {
				t.Errorf("%s: %x, never: %x", name, a, answers["never"])
			}
		}
	})
}

func TestWrongTicket(t *testing.T) {
	t.Parallel()
	tb := newTable(t)
	inv, tk := tb.open(0)
	wrong := tk
	wrong.Secret[15] ^= 1
	for try := range 3 {
		if err := tb.join(testKey("stranger"), wrong, nothing); !errors.Is(err, ErrWrongTicket) {
			t.Errorf("try %d: %v", try, err)
		}
	}
	if err := tb.join(testKey("joiner"), tk, nothing); !errors.Is(err, wire.ErrWindowClosed) {
		t.Errorf("the right ticket after three wrong ones: %v", err)
	}
	if o := tb.outcome(inv.ID); o.Joined || o.Reason != ReasonTries {
		t.Errorf("outcome %+v", o)
	}
	if len(tb.lib.admitted) > 0 {
		t.Error("somebody was admitted")
	}

	tb = newTable(t)
	_, tk = tb.open(0)
	for range 2 {
		_ = tb.join(testKey("stranger"), wrong, nothing)
	}
	if err := tb.join(testKey("joiner"), tk, nothing); err != nil {
		t.Errorf("the right ticket after two wrong ones: %v", err)
	}
}

func TestSeveralInvites(t *testing.T) {
	t.Parallel()
	tb := newTable(t)
	var tickets []Ticket
	var invites []Invite
	for range maxInvites {
		inv, tk := tb.open(0)
		tickets, invites = append(tickets, tk), append(invites, inv)
	}
	if _, err := tb.window.Open(0); !errors.Is(err, ErrTooMany) {
		t.Errorf("one more: %v", err)
	}
	for _, i := range []int{3, 0, 5} {
		if err := tb.join(testKey("joiner"+string(rune('0'+i))), tickets[i], nothing); err != nil {
			t.Errorf("invite %d: %v", i, err)
		}
		if o := tb.outcome(invites[i].ID); !o.Joined || o.Device != deviceOf(testKey("joiner"+string(rune('0'+i)))) {
			t.Errorf("invite %d: %+v", i, o)
		}
	}
	tb.window.Cancel(invites[1].ID)
	tb.window.Cancel(invites[1].ID)
	tb.window.Cancel("never was")
	if o := tb.outcome(invites[1].ID); o.Reason != ReasonCancelled {
		t.Errorf("cancelled: %+v", o)
	}
	if _, err := tb.window.Wait(t.Context(), "never was"); !errors.Is(err, ErrNoInvite) {
		t.Errorf("an invite that never was: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := tb.window.Wait(ctx, invites[2].ID); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting no longer: %v", err)
	}
	if err := tb.window.Close(); err != nil {
		t.Fatal(err)
	}
	if o := tb.outcome(invites[2].ID); o.Reason != ReasonClosed {
		t.Errorf("closed: %+v", o)
	}
	if _, err := tb.window.Open(0); err == nil {
		t.Error("opened after Close")
	}
}

func TestExpiry(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tb := newTable(t)
		inv, tk := tb.open(10 * time.Minute)
		time.Sleep(10*time.Minute - time.Second)
		if !tb.window.IsOpen() {
			t.Error("closed too early")
		}
		time.Sleep(time.Second)
		if tb.window.IsOpen() {
			t.Error("open for too long")
		}
		if err := tb.join(testKey("joiner"), tk, nothing); !errors.Is(err, wire.ErrWindowClosed) {
			t.Errorf("an expired ticket: %v", err)
		}
		if o := tb.outcome(inv.ID); o.Joined || o.Reason != ReasonExpired {
			t.Errorf("outcome %+v", o)
		}
		start := time.Now()
		inv, _ = tb.open(time.Minute)
		if o := tb.outcome(inv.ID); o.Reason != ReasonExpired || time.Since(start) != time.Minute {
			t.Errorf("waited %v for %+v", time.Since(start), o)
		}
		// One who proved itself in time is not thrown out by the clock.
		tb.lib.during = func(context.Context) { time.Sleep(15 * time.Second) }
		inv, tk = tb.open(10 * time.Second)
		if err := tb.join(testKey("joiner"), tk, nothing); err != nil || !tb.outcome(inv.ID).Joined {
			t.Errorf("admitted across the expiry: %v, %+v", err, tb.outcome(inv.ID))
		}
		if err := tb.window.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestWallClock sets an invite's times as a machine that slept would find them.
func TestWallClock(t *testing.T) {
	t.Parallel()
	inv := &invite{Invite: Invite{Expires: time.Now().Add(time.Minute)}}
	slept := time.Now().Round(0).Add(2 * time.Minute) // no monotonic reading: only the wall moved
	if !inv.expired(slept) || inv.expired(time.Now()) {
		t.Error("time asleep doesn't count")
	}
}

func TestSilentStrangers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		tb := newTable(t)
		_, tk := tb.open(0)
		start := time.Now()
		var wg sync.WaitGroup
		for range maxStrangers {
			a, b := wiretest.Pipe(1 << 10)
			wg.Go(func() { tb.window.Serve(b, peerOf(t, testKey("silent"))) })
			wg.Go(func() { // says hello, then a byte now and then
				c := wire.NewConn(a, wire.Config{})
				_ = sendHello(c, [nonceSize]byte{}, Hello{Name: "x"})
				for {
					time.Sleep(5 * time.Second)
					if _, err := a.Write([]byte{0x81}); err != nil {
						return
					}
				}
			})
		}
		synctest.Wait()
		err := tb.join(testKey("joiner"), tk, nothing)
		if st, ok := errors.AsType[wire.Status](err); !errors.Is(err, wire.ErrBusy) || !ok || st.RetryAfter == 0 {
			t.Errorf("a fifth stranger: %v", err)
		}
		wg.Wait()
		if d := time.Since(start); d > handshake+5*time.Second {
			t.Errorf("strangers were borne for %v", d)
		}
		if err := tb.join(testKey("joiner"), tk, nothing); err != nil {
			t.Errorf("when they are gone: %v", err)
		}
		if err := tb.window.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

func TestFailures(t *testing.T) {
	t.Parallel()
	full := errors.New("the disk is full")
	t.Run("joiner can't store", func(t *testing.T) {
		t.Parallel()
		tb := newTable(t)
		inv, tk := tb.open(0)
		if err := tb.join(testKey("joiner"), tk, func(Admission) error { return full }); !errors.Is(err, full) {
			t.Errorf("join: %v", err)
		}
		if o := tb.outcome(inv.ID); o.Joined || o.Reason != ReasonLost {
			t.Errorf("outcome %+v", o)
		}
	})
	t.Run("inviter can't sign", func(t *testing.T) {
		t.Parallel()
		tb := newTable(t)
		tb.lib.err = full
		inv, tk := tb.open(0)
		if err := tb.join(testKey("joiner"), tk, nothing); !errors.Is(err, wire.ErrFailed) || errors.Is(err, full) {
			t.Errorf("join: %v", err)
		}
		if o := tb.outcome(inv.ID); o.Joined || o.Reason != ReasonFailed {
			t.Errorf("outcome %+v", o)
		}
	})
	t.Run("bad hello", func(t *testing.T) {
		t.Parallel()
		tb := newTable(t)
		_, tk := tb.open(0)
		a, _ := wiretest.Pipe(1)
		for _, h := range []Hello{{}, {Name: "a/b"}, {Name: "x", Platform: string(make([]byte, 33))}} {
			if err := Join(t.Context(), a, tk, deviceOf(testKey("joiner")), h, nothing, Options{}); err == nil {
				t.Errorf("%+v was sent", h)
			}
		}
	})
	t.Run("cancelled in the middle", func(t *testing.T) {
		t.Parallel()
		tb := newTable(t)
		inv, tk := tb.open(0)
		tb.lib.during = func(context.Context) { tb.window.Cancel(inv.ID) }
		if err := tb.join(testKey("joiner"), tk, nothing); err != nil || !tb.outcome(inv.ID).Joined {
			t.Errorf("%v, %+v", err, tb.outcome(inv.ID))
		}
	})
	t.Run("taken by another in the middle", func(t *testing.T) {
		t.Parallel()
		tb := newTable(t)
		inv, tk := tb.open(0)
		var second error
		tb.lib.during = func(context.Context) { second = tb.join(testKey("second"), tk, nothing) }
		if err := tb.join(testKey("joiner"), tk, nothing); err != nil || tb.outcome(inv.ID).Device != deviceOf(testKey("joiner")) {
			t.Errorf("%v, %+v", err, tb.outcome(inv.ID))
		}
		if !errors.Is(second, wire.ErrWindowClosed) || len(tb.lib.admitted) != 1 {
			t.Errorf("second: %v; admitted %d", second, len(tb.lib.admitted))
		}
	})
}

// TestLargestLibrary pairs with a library of as many records as there can be.
func TestLargestLibrary(t *testing.T) {
	t.Parallel()
	tb := newTable(t)
	lib := tb.lib.records[0].LibraryID()
	key := testKey("inviter")
	long := string(bytes.Repeat([]byte("n"), membership.MaxNameLen))
	for i := len(tb.lib.records); i < membership.MaxRecords-1; i++ {
		r, err := membership.NewAdd(key, lib, nil, index.DeviceID{byte(i >> 8), byte(i), 1}, long, time.Unix(1, 0))
		if err != nil {
			t.Fatal(err)
		}
		tb.lib.records = append(tb.lib.records, r)
	}
	_, tk := tb.open(0)
	if err := tb.join(testKey("joiner"), tk, func(a Admission) error {
		if len(a.Records) != membership.MaxRecords {
			t.Errorf("%d records", len(a.Records))
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestOnLibp2p(t *testing.T) {
	t.Parallel()
	tb := newTable(t)
	inviter, joiner := newHost(t, testKey("inviter")), newHost(t, testKey("joiner"))
	inviter.SetStreamHandler(ID, tb.window.Handle)
	if err := joiner.Connect(t.Context(), peer.AddrInfo{ID: inviter.ID(), Addrs: inviter.Addrs()}); err != nil {
		t.Fatal(err)
	}
	join := func(tk Ticket) error {
		s, err := joiner.NewStream(t.Context(), inviter.ID(), ID)
		if err != nil {
			return err
		}
		return Join(t.Context(), s, tk, deviceOf(testKey("joiner")), Hello{Name: "laptop"}, nothing, Options{})
	}
	if err := join(Ticket{Inviter: deviceOf(testKey("inviter"))}); !errors.Is(err, wire.ErrWindowClosed) {
		t.Errorf("no invite: %v", err)
	}
	inv, tk := tb.open(0)
	if err := join(Ticket{Inviter: deviceOf(testKey("another")), Secret: tk.Secret}); !errors.Is(err, ErrNotInviter) {
		t.Errorf("a ticket of another device: %v", err)
	}
	if err := join(tk); err != nil {
		t.Fatal(err)
	}
	if o := tb.outcome(inv.ID); !o.Joined || o.Device != deviceOf(testKey("joiner")) {
		t.Errorf("outcome %+v", o)
	}
}

func newHost(t *testing.T, key ed25519.PrivateKey) host.Host {
	t.Helper()
	priv, err := crypto.UnmarshalEd25519PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	h, err := libp2p.New(libp2p.Identity(priv), libp2p.ListenAddrStrings("/ip4/127.0.0.1/tcp/0"), libp2p.DisableRelay())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Close() })
	return h
}
