package node

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/peerdex/peerdex/discovery"
)

func TestConnectErrorIsForPeople(t *testing.T) {
	dial := errors.New("failed to dial: failed to dial 12D3KooW: all dials failed\n" +
		"  * [/ip4/10.0.0.2/tcp/4001] dial tcp4 0.0.0.0:9->10.0.0.2:4001: connect: connection refused\n" +
		"  * [/ip4/10.0.0.3/tcp/4001] dial tcp4 10.0.0.3:4001: i/o timeout")
	for want, err := range map[string]error{
		"connection refused (/ip4/10.0.0.2/tcp/4001), i/o timeout (/ip4/10.0.0.3/tcp/4001)": dial,
		"no address of it is known yet": fmt.Errorf("dial: %w", discovery.ErrNoAddress),
		"no answer in time":             context.DeadlineExceeded,
		"something else":                errors.New("something else"),
	} {
		if got := connectError(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}
