package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"
)

// States of a [Transfer].
const (
	TransferQueued    = "queued"    // there is no room for it now, or nobody who can serve it
	TransferRunning   = "running"   // under way
	TransferWaiting   = "waiting"   // the last try failed; the next is at NextTry
	TransferBusy      = "busy"      // who can serve it asked to wait until NextTry
	TransferPaused    = "paused"    // by a person; what was received is kept
	TransferCancelled = "cancelled" // by a person; it begins anew when it is asked for, or with a newer state
)

// Transfer is a location that is being fetched, waits for it, or was stopped by a person. Its progress, of one that does
// not run, is what was kept of it; its Error is that of the last try.
type Transfer struct {
	Progress
	State    string    `json:"state"`
	Seq      int64     `json:"seq,omitempty"`      // of the newest state heard
	Attempts int       `json:"attempts,omitempty"` // that failed
	NextTry  time.Time `json:"next_try,omitzero"`  // zero: as soon as there is room
}

// Transfers is the queue of transfers.
type Transfers struct {
	Paused    bool       `json:"paused"`               // nothing is fetched at all
	LimitDown int64      `json:"limit_down,omitempty"` // bytes a second; 0 = none, or not known without a daemon
	LimitUp   int64      `json:"limit_up,omitempty"`
	Transfers []Transfer `json:"transfers"` // those that run first
}

// TransferAction is what can be done to transfers.
type TransferAction string

// The actions.
const (
	// PauseTransfers ends transfers and begins none until they are resumed, also after a restart. What was received is kept.
	PauseTransfers TransferAction = "pause"
	// ResumeTransfers takes back pausing and cancelling, and has what waits tried now.
	ResumeTransfers TransferAction = "resume"
	// CancelTransfers ends transfers and drops what they received. They begin anew when they are resumed, or when a
	// newer state is heard of.
	CancelTransfers TransferAction = "cancel"
)

// TransferRequest asks for one action.
type TransferRequest struct {
	Action TransferAction `json:"action"`
	// Of is a location (name, path or id, or DEVICE:NAME), or a device for all of its locations; "" with All.
	Of string `json:"of,omitempty"`
	// All is for all locations; with pause, also for those that are not known yet.
	All bool `json:"all,omitempty"`
}

type plainTransfer TransferRequest

type transferJSON struct {
	plainTransfer
	OfRaw []byte `json:"of_raw,omitempty"`
}

// MarshalJSON implements [json.Marshaler]; it adds of_raw when Of is not valid UTF-8.
func (r TransferRequest) MarshalJSON() ([]byte, error) {
	return json.Marshal(transferJSON{plainTransfer(r), raw(r.Of)})
}

// UnmarshalJSON implements [json.Unmarshaler]. It refuses unknown fields.
func (r *TransferRequest) UnmarshalJSON(b []byte) error {
	var v transferJSON
	if err := decodeStrict(bytes.NewReader(b), &v); err != nil {
		return err
	}
	*r = TransferRequest(v.plainTransfer)
	restore(&r.Of, v.OfRaw)
	return nil
}

func (s *server) transfers(w http.ResponseWriter, r *http.Request) error {
	if _, err := readParams(r); err != nil {
		return err
	}
	v, err := s.backend.Transfers(r.Context())
	return answerTransfers(w, v, err)
}

func (s *server) controlTransfers(w http.ResponseWriter, r *http.Request) error {
	var req TransferRequest
	if err := readJSON(r, &req); err != nil {
		return err
	}
	v, err := s.backend.ControlTransfers(r.Context(), req)
	return answerTransfers(w, v, err)
}

func answerTransfers(w http.ResponseWriter, v Transfers, err error) error {
	if err != nil {
		return err
	}
	v.Transfers = orEmpty(v.Transfers)
	return writeJSON(w, http.StatusOK, v)
}

// InBytes reports whether bytes tell how far a transfer is: as long as a snapshot comes, none of its entries is there.
func (p *Progress) InBytes() bool {
	return p.Phase == PhaseFetch && (p.Strategy == StrategyCompact || p.Strategy == StrategyNative)
}

// Percent is how much is done, 0 to 100; -1 if that is not known.
func (p *Progress) Percent() int {
	done, total := p.DoneEntries, p.TotalEntries
	if p.InBytes() {
		done, total = p.DoneBytes, p.TotalBytes
	}
	if total <= 0 {
		return -1
	}
	return int(100 * float64(min(max(done, 0), total)) / float64(total))
}
