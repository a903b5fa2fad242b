package wire_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/peerdex/peerdex/protocols/wire"
	"github.com/peerdex/peerdex/protocols/wire/wiretest"
)

// carry sends so many bytes in large frames over streams side by side, and returns how long that took.
func carry(t *testing.T, streams, total int, from, to *wire.Rates) time.Duration {
	t.Helper()
	begun := time.Now()
	each := total / streams
	errs := make(chan error, 2*streams)
	for range streams {
		a, b := wiretest.Pipe(window)
		go func() {
			errs <- wire.Run(t.Context(), a, wire.Service{}, wire.Config{Rates: from}, func(_ context.Context, c *wire.Conn) error {
				e := c.Begin(1, 1)
				e.Bytes(bytes.Repeat([]byte{7}, each))
				return c.Send(wire.CodecNone)
			})
		}()
		go func() {
			errs <- wire.Run(t.Context(), b, wire.Service{}, wire.Config{Rates: to}, func(_ context.Context, c *wire.Conn) error {
				_, err := c.Receive(wire.IdleTimeout, 1, 1)
				return err
			})
		}()
	}
	for range 2 * streams {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	return time.Since(begun)
}

// TestRates checks what a cap lets through, whichever side has it and however many streams share it.
func TestRates(t *testing.T) {
	t.Parallel()
	const mega = 1 << 20
	for name, c := range map[string]struct {
		streams, total int
		from, to       *wire.Rates
		want           time.Duration
	}{
		"no caps":                   {1, mega / 2, nil, wire.NewRates(0, 0), 0},
		"sender":                    {1, mega / 2, wire.NewRates(0, 100_000), nil, 5243 * time.Millisecond},
		"receiver":                  {1, mega / 2, nil, wire.NewRates(100_000, 0), 5243 * time.Millisecond},
		"the other direction":       {1, mega / 2, wire.NewRates(100_000, 0), wire.NewRates(0, 100_000), 0},
		"streams share it":          {8, 4 * mega, wire.NewRates(0, 1_000_000), nil, 4194 * time.Millisecond},
		"the lower one counts":      {2, mega, wire.NewRates(0, 400_000), wire.NewRates(200_000, 0), 5243 * time.Millisecond},
		"slow, and nobody gives up": {4, mega, nil, wire.NewRates(1, 0), 32 * time.Second}, // raised to MinRate
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if took := carry(t, c.streams, c.total, c.from, c.to); took < c.want*90/100 || took > c.want*102/100 {
					t.Errorf("%v, want %v", took, c.want)
				}
			})
		})
	}
}

// TestRatesEnd ends a stream that waits for its turn.
func TestRatesEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, _ := wiretest.Pipe(8 << 20)
		rates := wire.NewRates(0, wire.MinRate)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second/2, cancel)
		begun := time.Now()
		err := wire.Run(ctx, a, wire.Service{}, wire.Config{Rates: rates}, func(_ context.Context, c *wire.Conn) error {
			e := c.Begin(1, 1)
			e.Bytes(make([]byte, 1<<19))
			return c.Send(wire.CodecNone)
		})
		if !errors.Is(err, context.Canceled) || time.Since(begun) != time.Second/2 {
			t.Errorf("%v after %v", err, time.Since(begun))
		}
	})
}
