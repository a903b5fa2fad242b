package wire_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

const window = 1 << 20

func TestStatusCodes(t *testing.T) {
	t.Parallel()
	sentinels := map[wire.Code]error{
		200: wire.ErrBusy, 201: wire.ErrNoReplica, 202: index.ErrBelowHorizon, 203: index.ErrEpochChanged,
		204: index.ErrProviderBehind, 205: wire.ErrWindowClosed, 206: wire.ErrDenied, 300: wire.ErrFailed,
		400: wire.ErrMalformed, 401: wire.ErrVersion,
		// Codes of a later version say at least what family they are of.
		250: wire.ErrRefused, 350: wire.ErrFailed, 450: wire.ErrMalformed,
	}
	for code, want := range sentinels {
		st := wire.Status{Code: code}
		if !errors.Is(fmt.Errorf("pull: %w", st), want) {
			t.Errorf("%d is not %v", code, want)
		}
		if code%100 < 50 {
			if got := wire.StatusOf(fmt.Errorf("serve: %w", want)); got != st {
				t.Errorf("%v has status %v", want, got)
			}
		}
	}
	if got := wire.StatusOf(nil); got.Code != wire.CodeOK || got.Unwrap() != nil {
		t.Errorf("no error has status %v", got)
	}
	if got := wire.StatusOf(errors.New("disk on fire in /home/me")); got.Code != wire.CodeFailed {
		t.Errorf("an error of our own has status %v", got)
	}
	if got := wire.StatusOf(wire.Status{Code: wire.CodeBusy}); got.Code != wire.CodeFailed {
		t.Errorf("a peer's status was passed on: %v", got)
	}
	r := wire.Refusal{Err: fmt.Errorf("serve: %w", wire.ErrBusy), RetryAfter: 1500 * time.Millisecond}
	if got := wire.StatusOf(fmt.Errorf("x: %w", r)); got != (wire.Status{Code: wire.CodeBusy, RetryAfter: time.Second}) {
		t.Errorf("refusal has status %v", got)
	}
	r.RetryAfter = 1000 * time.Hour
	if got := wire.StatusOf(r); got.RetryAfter != wire.MaxRetryAfter {
		t.Errorf("refusal has status %v", got)
	}
}

func TestMessages(t *testing.T) {
	t.Parallel()
	a, b := wiretest.Pipe(window)
	ca, cb := wire.NewConn(a, wire.Config{}), wire.NewConn(b, wire.Config{})
	e := ca.Begin(3, 2)
	e.Int(7)
	e.Bytes([]byte("x"))
	if err := ca.Send(wire.CodecZstd); err != nil {
		t.Fatal(err)
	}
	d, err := cb.Receive(time.Second, 3, 2)
	if err != nil {
		t.Fatal(err)
	}
	if n, s := d.Int(0, 9), d.String(9); n != 7 || s != "x" || d.Close() != nil {
		t.Errorf("got %d %q %v", n, s, d.Close())
	}
	if ca.BytesOut() != cb.BytesIn() || ca.BytesOut() != 8 {
		t.Errorf("sent %d bytes, received %d, want 8", ca.BytesOut(), cb.BytesIn())
	}
	for _, st := range []wire.Status{{Code: wire.CodeOK}, {Code: wire.CodeDenied}} {
		if err := cb.SendStatus(st); err != nil {
			t.Fatal(err)
		}
		if err := ca.ReceiveOK(time.Second); (err == nil) != (st.Code == wire.CodeOK) || (err != nil && !errors.Is(err, wire.ErrDenied)) {
			t.Errorf("status %v received as %v", st, err)
		}
	}
	for name, try := range map[string]func() error{
		"other kind":   func() error { _, err := cb.Receive(time.Second, 4, 2); return err },
		"other fields": func() error { _, err := cb.Receive(time.Second, 3, 1); return err },
		"want status":  func() error { return cb.ReceiveOK(time.Second) },
	} {
		e := ca.Begin(3, 2)
		e.Int(7)
		e.Int(7)
		if err := ca.Send(wire.CodecNone); err != nil {
			t.Fatal(err)
		}
		if err := try(); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := cb.Receive(time.Second, 3, 2); err != io.EOF {
		t.Errorf("after close: %v", err)
	}
}

func TestBlobs(t *testing.T) {
	t.Parallel()
	big := bytes.Repeat([]byte("b"), 100<<10)
	many := make([][]byte, 5000)
	for i := range many {
		many[i] = []byte{byte(i)}
	}
	for name, list := range map[string][][]byte{
		"none": nil, "one": {{1}}, "empty strings": {{}, {}}, "many": many, "large": {big, big, big, big, big, big, big},
	} {
		limits := wire.BlobLimits{Count: len(list), Each: 100 << 10}
		got, err := sendBlobs(list, limits)
		if err != nil || len(got) != len(list) {
			t.Fatalf("%s: got %d of %d, %v", name, len(got), len(list), err)
		}
		for i := range got {
			if !bytes.Equal(got[i], list[i]) {
				t.Fatalf("%s: %d differs", name, i)
			}
		}
		if len(list) == 0 {
			continue
		}
		limits.Count--
		if _, err := sendBlobs(list, limits); !errors.Is(err, wire.ErrMalformed) {
			t.Errorf("%s: one too many: %v", name, err)
		}
	}
	if _, err := sendBlobs([][]byte{big}, wire.BlobLimits{Count: 1, Each: len(big) - 1}); !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("too long: %v", err)
	}
}

func sendBlobs(list [][]byte, limits wire.BlobLimits) ([][]byte, error) {
	a, b := wiretest.Pipe(window)
	sent := make(chan error, 1)
	go func() {
		err := wire.NewConn(a, wire.Config{}).SendBlobs(5, list)
		_ = a.Close()
		sent <- err
	}()
	got, err := wire.NewConn(b, wire.Config{}).ReceiveBlobs(5, limits)
	_ = b.Reset()
	if sendErr := <-sent; err == nil {
		err = sendErr
	}
	return got, err
}

// took runs fn in a bubble with its own time, and returns how long it took there.
func took(t *testing.T, fn func(t *testing.T, a, b *wiretest.Stream)) time.Duration {
	t.Helper()
	var d time.Duration
	synctest.Test(t, func(t *testing.T) {
		a, b := wiretest.Pipe(64 << 10)
		start := time.Now()
		fn(t, a, b)
		d = time.Since(start)
		_ = a.Reset()
		_ = b.Reset()
		time.Sleep(time.Minute) // for goroutines of fn to see it
	})
	return d
}

func TestDeadlines(t *testing.T) {
	t.Parallel()
	wantTimeout := func(t *testing.T, err error) {
		t.Helper()
		if !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("error %v, want a timeout", err)
		}
	}
	if d := took(t, func(t *testing.T, a, _ *wiretest.Stream) {
		_, err := wire.NewConn(a, wire.Config{}).Receive(wire.FirstFrameTimeout, 1, 1)
		wantTimeout(t, err)
	}); d != wire.FirstFrameTimeout {
		t.Errorf("silence was borne for %v", d)
	}
	if d := took(t, func(t *testing.T, a, b *wiretest.Stream) {
		_, _ = b.Write([]byte{0x80}) // half of a length
		_, err := wire.NewConn(a, wire.Config{}).Receive(wire.FirstFrameTimeout, 1, 1)
		wantTimeout(t, err)
	}); d != wire.IdleTimeout {
		t.Errorf("half a frame was borne for %v", d)
	}
	if d := took(t, func(t *testing.T, a, b *wiretest.Stream) {
		go func() {
			_, err := b.Write([]byte{0xff, 0x7f}) // 16,383 bytes, at one every 20 s
			for err == nil {
				time.Sleep(20 * time.Second)
				_, err = b.Write([]byte{0})
			}
		}()
		_, err := wire.NewConn(a, wire.Config{}).Receive(wire.FirstFrameTimeout, 1, 1)
		wantTimeout(t, err)
	}); d < 70*time.Second || d > 80*time.Second {
		t.Errorf("a trickle was borne for %v, want 60 s and 16 s for 16 KiB", d)
	}
	if d := took(t, func(t *testing.T, a, _ *wiretest.Stream) {
		c := wire.NewConn(a, wire.Config{})
		c.Begin(1, 1).Bytes(make([]byte, 200<<10))
		wantTimeout(t, c.Send(wire.CodecNone)) // nobody reads
	}); d != wire.WriteTimeout {
		t.Errorf("a reader that doesn't read was borne for %v", d)
	}
	if d := took(t, func(t *testing.T, a, _ *wiretest.Stream) {
		c := wire.NewConn(a, wire.Config{})
		c.SetDeadline(time.Now().Add(3 * time.Second))
		_, err := c.Receive(wire.IdleTimeout, 1, 1)
		wantTimeout(t, err)
		wantTimeout(t, c.SendStatus(wire.Status{Code: wire.CodeOK}))
	}); d != 3*time.Second {
		t.Errorf("the deadline of everything came after %v", d)
	}
}

// TestSlowLinkIsNotDead writes a large frame to a reader of 8 KiB/s: far longer than any timeout, but it moves.
func TestSlowLinkIsNotDead(t *testing.T) {
	t.Parallel()
	d := took(t, func(t *testing.T, a, b *wiretest.Stream) {
		done := make(chan error, 1)
		go func() {
			c := wire.NewConn(a, wire.Config{})
			c.Begin(1, 1).Bytes(make([]byte, 900<<10))
			done <- c.Send(wire.CodecNone)
		}()
		_, err := wire.NewConn(slowReader{b}, wire.Config{}).Receive(wire.IdleTimeout, 1, 1)
		if err != nil {
			t.Errorf("receive: %v", err)
		}
		if err := <-done; err != nil {
			t.Errorf("send: %v", err)
		}
	})
	if d < 100*time.Second {
		t.Errorf("the link was not slow: %v", d)
	}
}

type slowReader struct{ *wiretest.Stream }

func (s slowReader) Read(p []byte) (int, error) {
	time.Sleep(time.Second)
	return s.Stream.Read(p[:min(len(p), 8<<10)])
}

func TestRun(t *testing.T) {
	t.Parallel()
	svc := wire.Service{Name: "peerdex.test"}
	t.Run("closes on success", func(t *testing.T) {
		t.Parallel()
		a, b := wiretest.Pipe(window)
		err := wire.Run(t.Context(), a, svc, wire.Config{}, func(_ context.Context, c *wire.Conn) error {
			return c.SendStatus(wire.Status{Code: wire.CodeOK})
		})
		c := wire.NewConn(b, wire.Config{})
		if err := errors.Join(err, c.ReceiveOK(time.Second)); err != nil {
			t.Error(err)
		}
		if err := c.ReceiveOK(time.Second); err != io.EOF {
			t.Errorf("after the end: %v", err)
		}
	})
	t.Run("resets on error", func(t *testing.T) {
		t.Parallel()
		a, b := wiretest.Pipe(window)
		boom := errors.New("boom")
		err := wire.Run(t.Context(), a, svc, wire.Config{}, func(context.Context, *wire.Conn) error { return boom })
		if !errors.Is(err, boom) {
			t.Errorf("got %v", err)
		}
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, wiretest.ErrReset) {
			t.Errorf("the other side saw %v", err)
		}
	})
	t.Run("recovers a panic", func(t *testing.T) {
		t.Parallel()
		a, b := wiretest.Pipe(window)
		err := wire.Run(t.Context(), a, svc, wire.Config{}, func(context.Context, *wire.Conn) error { panic("boom") })
		if err == nil {
			t.Error("no error")
		}
		if _, err := b.Read(make([]byte, 1)); !errors.Is(err, wiretest.ErrReset) {
			t.Errorf("the other side saw %v", err)
		}
	})
	t.Run("ends with its context", func(t *testing.T) {
		t.Parallel()
		a, _ := wiretest.Pipe(window)
		ctx, cancel := context.WithCancelCause(t.Context())
		why := errors.New("shutting down")
		err := wire.Run(ctx, a, svc, wire.Config{}, func(_ context.Context, c *wire.Conn) error {
			cancel(why)
			_, err := c.Receive(wire.IdleTimeout, 1, 1)
			return err
		})
		if !errors.Is(err, why) {
			t.Errorf("got %v", err)
		}
	})
}
