package pair

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

// goldenSession is a session whose every part is fixed.
func goldenSession(tb testing.TB) *session {
	tb.Helper()
	s := &session{joiner: deviceOf(testKey("joiner")), inviter: deviceOf(testKey("inviter")), hello: Hello{Name: "laptop", Platform: "linux"}}
	for i := range nonceSize {
		s.joinerNonce[i], s.inviterNonce[i] = byte(i), byte(255-i)
	}
	if err := s.derive([SecretSize]byte([]byte("sixteen bytes ok"))); err != nil {
		tb.Fatal(err)
	}
	return s
}

func vectors(tb testing.TB) []wiretest.Vector {
	tb.Helper()
	s := goldenSession(tb)
	lib, records := index.LibraryID{5}, [][]byte{{1, 2, 3}, {4}}
	sealed, err := s.seal([32]byte{9, 8, 7})
	if err != nil {
		tb.Fatal(err)
	}
	message := func(fn func(c *wire.Conn) error) []byte {
		a, _ := wiretest.Pipe(1 << 20)
		c := wire.NewConn(a, wire.Config{})
		if err := fn(c); err != nil {
			tb.Fatal(err)
		}
		return bytes.Clone(c.Begun())
	}
	return []wiretest.Vector{
		{Name: "hello", Bytes: message(func(c *wire.Conn) error { return sendHello(c, s.joinerNonce, s.hello) })},
		{Name: "joiner-mac", Bytes: s.joinerMAC()},
		{Name: "sealed", Bytes: sealed},
		{Name: "inviter-mac", Bytes: s.inviterMAC(lib, sealed, records)},
	}
}

func TestGolden(t *testing.T) {
	t.Parallel()
	got := wiretest.Golden(t, "testdata/pair.txt", *update, vectors(t))
	s := goldenSession(t)
	nonce, h, err := decodeHello(fields(got["hello"], kindHello, helloFields))
	if diff := cmp.Diff(s.hello, h); err != nil || nonce != s.joinerNonce || diff != "" {
		t.Errorf("hello: %v %s", err, diff)
	}
	if secret, err := s.unseal(got["sealed"]); err != nil || secret != [32]byte{9, 8, 7} {
		t.Errorf("sealed: %x, %v", secret, err)
	}
	got["sealed"][0] ^= 1
	if _, err := s.unseal(got["sealed"]); err == nil {
		t.Error("a changed seal opens")
	}
}

// TestEverythingIsBound changes each part of a session: both proofs and the seal must change with it.
func TestEverythingIsBound(t *testing.T) {
	t.Parallel()
	lib, records := index.LibraryID{5}, [][]byte{{1, 2, 3}, {4}}
	type proofs struct{ joiner, inviter, sealed string }
	of := func(change func(s *session, secret *[SecretSize]byte)) proofs {
		s, secret := goldenSession(t), [SecretSize]byte{1}
		change(s, &secret)
		if err := s.derive(secret); err != nil {
			t.Fatal(err)
		}
		sealed, err := s.seal([32]byte{9})
		if err != nil {
			t.Fatal(err)
		}
		return proofs{string(s.joinerMAC()), string(s.inviterMAC(lib, []byte("sealed"), records)), string(sealed)}
	}
	base := of(func(*session, *[SecretSize]byte) {})
	for name, change := range map[string]func(s *session, secret *[SecretSize]byte){
		"secret":        func(_ *session, secret *[SecretSize]byte) { secret[15] ^= 1 },
		"joiner":        func(s *session, _ *[SecretSize]byte) { s.joiner[0] ^= 1 },
		"inviter":       func(s *session, _ *[SecretSize]byte) { s.inviter[0] ^= 1 },
		"swapped":       func(s *session, _ *[SecretSize]byte) { s.joiner, s.inviter = s.inviter, s.joiner },
		"joiner nonce":  func(s *session, _ *[SecretSize]byte) { s.joinerNonce[31] ^= 1 },
		"inviter nonce": func(s *session, _ *[SecretSize]byte) { s.inviterNonce[0] ^= 1 },
	} {
		if p := of(change); p.joiner == base.joiner || p.inviter == base.inviter || p.sealed == base.sealed {
			t.Errorf("%s is not bound", name)
		}
	}
	for name, h := range map[string]Hello{"name": {Name: "laptoq", Platform: "linux"}, "boundary": {Name: "laptopl", Platform: "inux"}} {
		if p := of(func(s *session, _ *[SecretSize]byte) { s.hello = h }); p.joiner == base.joiner || p.inviter == base.inviter {
			t.Errorf("%s is not bound", name)
		}
	}
	s := goldenSession(t)
	want := string(s.inviterMAC(lib, []byte("sealed"), records))
	for name, got := range map[string][]byte{
		"library":  s.inviterMAC(index.LibraryID{6}, []byte("sealed"), records),
		"seal":     s.inviterMAC(lib, []byte("sealee"), records),
		"records":  s.inviterMAC(lib, []byte("sealed"), records[:1]),
		"boundary": s.inviterMAC(lib, []byte("sealed"), [][]byte{{1, 2}, {3, 4}}),
		"label":    s.joinerMAC(),
	} {
		if string(got) == want {
			t.Errorf("%s is not bound", name)
		}
	}
}

// fields returns a decoder that stands behind the kind of a message.
func fields(p []byte, kind, n int) *wire.Decoder {
	d := wire.NewDecoder()
	d.Reset(p)
	d.Array(n + 1)
	d.Int(int64(kind), int64(kind))
	return d
}

func FuzzHello(f *testing.F) {
	f.Add(vectors(f)[0].Bytes)
	f.Fuzz(func(t *testing.T, p []byte) {
		_, h, err := decodeHello(fields(p, kindHello, helloFields))
		switch {
		case err != nil && !errors.Is(err, wire.ErrMalformed) && !errors.Is(err, wire.ErrVersion):
			t.Fatalf("error of no kind: %v", err)
		case err == nil && h.valid() != nil:
			t.Fatalf("took %+v", h)
		}
	})
}

// FuzzJoiner plays any bytes to a window, and FuzzInviter any bytes to a joiner.
func FuzzJoiner(f *testing.F) {
	f.Add([]byte{4, 0, 0x93, 0, 100})
	f.Fuzz(func(t *testing.T, p []byte) {
		lib := newLibrary(t)
		w := NewWindow(WindowConfig{Self: deviceOf(lib.key), Admitter: lib})
		if _, err := w.Open(0); err != nil {
			t.Fatal(err)
		}
		a, b := wiretest.Pipe(1 << 20)
		_, _ = a.Write(p[:min(len(p), 1<<20)])
		_ = a.CloseWrite()
		w.Serve(b, peerOf(t, testKey("stranger")))
		if len(lib.admitted) > 0 {
			t.Fatal("admitted")
		}
		_ = w.Close()
	})
}

func FuzzInviter(f *testing.F) {
	f.Add([]byte{4, 0, 0x93, 0, 100})
	f.Fuzz(func(t *testing.T, p []byte) {
		a, b := wiretest.Pipe(1 << 20)
		_, _ = b.Write(p[:min(len(p), 1<<20)])
		_ = b.Close()
		err := Join(t.Context(), a, Ticket{Inviter: deviceOf(testKey("inviter"))}, deviceOf(testKey("joiner")), Hello{Name: "laptop"},
			func(Admission) error { t.Error("accepted"); return nil }, Options{})
		if err == nil {
			t.Fatal("joined")
		}
	})
}
