package wire

import (
	"time"

	"golang.org/x/time/rate"
)

// MinRate is the lowest cap that works, in bytes per second: below it, streams that share the cap would each come so
// slowly that the other side gives up.
const MinRate = 32 << 10

// Rates caps what the streams of a node carry together, each direction by itself. What is capped are the bytes that
// [Traffic] counts: all of our protocols, not what libp2p adds. Nothing is lost: who sends waits, and who receives reads
// later, so that the other side waits. Make it with [NewRates]; a nil one caps nothing. Safe for concurrent use.
type Rates struct {
	received, sent *meter
}

// NewRates returns caps in bytes per second, 0 = none. Lower ones than [MinRate] are raised to it.
func NewRates(in, out int64) *Rates { return &Rates{received: newMeter(in), sent: newMeter(out)} }

// in is the cap of what is received.
func (r *Rates) in() *meter {
	if r == nil {
		return nil
	}
	return r.received
}

// out is the cap of what is sent.
func (r *Rates) out() *meter {
	if r == nil {
		return nil
	}
	return r.sent
}

// meter hands out bytes at a rate, in order of asking. A nil one has as many as are wanted.
type meter struct {
	limiter *rate.Limiter
	burst   int
}

// burstTime is how much may pass at once after a rest, as a time at the rate. It also bounds a piece, so that streams take
// turns.
const burstTime = 20 // parts of a second

func newMeter(perSecond int64) *meter {
	if perSecond <= 0 {
		return nil
	}
	perSecond = max(perSecond, MinRate)
	burst := int(min(perSecond/burstTime, 1<<30))
	return &meter{limiter: rate.NewLimiter(rate.Limit(perSecond), burst), burst: burst}
}

// piece bounds what is read or written at once.
func (m *meter) piece(n int) int {
	if m == nil {
		return n
	}
	return min(n, m.burst)
}

// take waits until n bytes, at most a piece, may pass, or until ended is closed.
func (m *meter) take(n int, ended <-chan struct{}) {
	if m == nil || n == 0 {
		return
	}
	wait := m.limiter.ReserveN(time.Now(), n).Delay()
	if wait == 0 {
		return
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ended:
	}
}
