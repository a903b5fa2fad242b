package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"

	"github.com/peerdex/peerdex/index"
)

// Via says where an answer came from that was not read from a replica on this device.
type Via struct {
	Device string `json:"device"` // that answered
	// Unverified says that it is not the owner, so that nothing proves the answer right.
	Unverified bool `json:"unverified,omitempty"`
	// Cached says that it was answered before, and remembered.
	Cached bool `json:"cached,omitempty"`
}

// Totals is what lies below a folder, at any depth.
type Totals struct {
	Hit     Hit   `json:"hit"`     // the folder
	Entries int64 `json:"entries"` // not counting the folder itself
	Folders int64 `json:"folders"` // of these
	Bytes   int64 `json:"bytes"`   // sum of the sizes of the files
}

// PolicyRequest shows or sets what is decided about replicas of other devices' locations.
type PolicyRequest struct {
	// Of is a location (its name, path or id, alone or as DEVICE:NAME), or a device ("DEVICE:" if it may be both), which
	// stands for all of its locations for which nothing else is decided.
	Of string `json:"of"`
	// Policy is "full" (hold a replica), "lazy" (ask on demand), "off" (neither), or "auto" (full, but lazy for large
	// locations on costly links). "" = show.
	Policy string `json:"policy,omitempty"`
	Unset  bool   `json:"unset,omitempty"` // forget what was decided, instead
}

// PolicySetting is what counts for one location, or for a device.
type PolicySetting struct {
	Owner    index.DeviceID   `json:"owner"`
	Location index.LocationID `json:"location,omitzero"` // zero: of the device as a whole
	Device   string           `json:"device"`
	Name     string           `json:"name,omitempty"` // of the location
	Policy   string           `json:"policy"`
	Set      bool             `json:"set"` // false: by default, or as the device's
}

// SyncRequest names a location of another device.
type SyncRequest struct {
	Location string `json:"location"` // name, path or id, alone or as DEVICE:NAME
}

// SyncCost is what fetching a location now would cost, as far as it can be told before.
type SyncCost struct {
	Location Location      `json:"location"`
	Entries  int64         `json:"entries"`            // to be fetched, at most; 0 = nothing is to be done
	Bytes    int64         `json:"bytes"`              // on the wire, about
	Duration time.Duration `json:"duration"`           // ns, about
	Measured bool          `json:"measured"`           // Duration is by the last transfer from that device; else by what is usual
	Provider string        `json:"provider,omitempty"` // device that would serve it
	Strategy string        `json:"strategy,omitempty"` // how it would be fetched
}

func (s *server) totals(w http.ResponseWriter, r *http.Request) error {
	p, err := readParams(r, "device", "path")
	if err != nil {
		return err
	}
	v, err := s.backend.Totals(r.Context(), EntryRequest{Device: p.Get("device"), Path: p.Get("path")})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, v)
}

func (s *server) policy(w http.ResponseWriter, r *http.Request) error {
	p, err := readParams(r, "of")
	if err != nil {
		return err
	}
	return s.answerPolicy(w, r, PolicyRequest{Of: p.Get("of")})
}

func (s *server) setPolicy(w http.ResponseWriter, r *http.Request) error {
	var req PolicyRequest
	if err := readJSON(r, &req); err != nil {
		return err
	}
	return s.answerPolicy(w, r, req)
}

func (s *server) answerPolicy(w http.ResponseWriter, r *http.Request, req PolicyRequest) error {
	v, err := s.backend.Policy(r.Context(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, orEmpty(v))
}

func (s *server) syncCost(w http.ResponseWriter, r *http.Request) error {
	p, err := readParams(r, "location")
	if err != nil {
		return err
	}
	v, err := s.backend.SyncCost(r.Context(), SyncRequest{Location: p.Get("location")})
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, v)
}

func (s *server) sync(w http.ResponseWriter, r *http.Request) error {
	var req SyncRequest
	if err := readJSON(r, &req); err != nil {
		return err
	}
	v, err := s.backend.Sync(r.Context(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, v)
}

type plainPolicy PolicyRequest

type policyJSON struct {
	plainPolicy
	OfRaw []byte `json:"of_raw,omitempty"`
}

// MarshalJSON implements [json.Marshaler]; it adds of_raw when Of is not valid UTF-8.
func (r PolicyRequest) MarshalJSON() ([]byte, error) {
	return json.Marshal(policyJSON{plainPolicy(r), raw(r.Of)})
}

// UnmarshalJSON implements [json.Unmarshaler]. It refuses unknown fields.
func (r *PolicyRequest) UnmarshalJSON(b []byte) error {
	var v policyJSON
	if err := decodeStrict(bytes.NewReader(b), &v); err != nil {
		return err
	}
	*r = PolicyRequest(v.plainPolicy)
	restore(&r.Of, v.OfRaw)
	return nil
}

type plainSync SyncRequest

type syncJSON struct {
	plainSync
	LocationRaw []byte `json:"location_raw,omitempty"`
}

// MarshalJSON implements [json.Marshaler]; it adds location_raw when Location is not valid UTF-8.
func (r SyncRequest) MarshalJSON() ([]byte, error) {
	return json.Marshal(syncJSON{plainSync(r), raw(r.Location)})
}

// UnmarshalJSON implements [json.Unmarshaler]. It refuses unknown fields.
func (r *SyncRequest) UnmarshalJSON(b []byte) error {
	var v syncJSON
	if err := decodeStrict(bytes.NewReader(b), &v); err != nil {
		return err
	}
	*r = SyncRequest(v.plainSync)
	restore(&r.Location, v.LocationRaw)
	return nil
}
