package api

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"
)

// What speaks for two locations being one folder, as [Sameness].Evidence says it.
const (
	EvidenceVolume  = "volume"  // the same filesystem, and the same path in it
	EvidenceShare   = "share"   // the same folder of the same server
	EvidenceListing = "listing" // equal names, sizes and times from the top on; a copy looks like that, too
)

// Answers of a person, as [Sameness].Answer says them.
const (
	AnswerSame      = "same"
	AnswerDifferent = "different"
)

// Sameness is about a location of this device and one of another device that are one folder, or look so: a share that this
// device has mounted, or a disk that was moved. Nothing follows from it before a person says that they are the same.
type Sameness struct {
	Own      Location  `json:"own"`
	Other    Location  `json:"other"`
	Evidence string    `json:"evidence,omitempty"` // what speaks for it; "" = nothing that is known
	Detail   string    `json:"detail,omitempty"`   // the same in plain words
	Answer   string    `json:"answer,omitempty"`   // of a person; "" = none yet
	At       time.Time `json:"at,omitzero"`        // of the answer
}

// SameRequest answers whether a location of this device is the same folder as one of another device.
type SameRequest struct {
	Location string `json:"location"` // of this device: name, path or id
	With     string `json:"with"`     // of another: DEVICE:NAME, or name, path or id if that is clear
	// Different says that they are not. It takes back an answer that they are, and they are not asked about again.
	Different bool `json:"different,omitempty"`
}

type plainSame SameRequest

type sameJSON struct {
	plainSame
	LocationRaw []byte `json:"location_raw,omitempty"`
	WithRaw     []byte `json:"with_raw,omitempty"`
}

// MarshalJSON implements [json.Marshaler]; it adds location_raw and with_raw where they are not valid UTF-8.
func (r SameRequest) MarshalJSON() ([]byte, error) {
	return json.Marshal(sameJSON{plainSame(r), raw(r.Location), raw(r.With)})
}

// UnmarshalJSON implements [json.Unmarshaler]. It refuses unknown fields.
func (r *SameRequest) UnmarshalJSON(b []byte) error {
	var v sameJSON
	if err := decodeStrict(bytes.NewReader(b), &v); err != nil {
		return err
	}
	*r = SameRequest(v.plainSame)
	restore(&r.Location, v.LocationRaw)
	restore(&r.With, v.WithRaw)
	return nil
}

func (s *server) same(w http.ResponseWriter, r *http.Request) error {
	if _, err := readParams(r); err != nil {
		return err
	}
	v, err := s.backend.Same(r.Context())
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, orEmpty(v))
}

func (s *server) setSame(w http.ResponseWriter, r *http.Request) error {
	var req SameRequest
	if err := readJSON(r, &req); err != nil {
		return err
	}
	v, err := s.backend.SetSame(r.Context(), req)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, v)
}
