package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// Names on a disk are bytes, and JSON can only carry text. Where a field may hold invalid UTF-8, its JSON carries
// the readable form with replacement characters, and beside it a field ending in _raw with the exact bytes in
// base64. The methods below write and read both, so that Go programs see the exact bytes in the field itself.

// raw returns the bytes for the _raw field of s: nil when JSON carries s as it is.
func raw(s string) []byte {
	if utf8.ValidString(s) {
		return nil
	}
	return []byte(s)
}

// restore puts the exact bytes back where a _raw field was given.
func restore(s *string, exact []byte) {
	if exact != nil {
		*s = string(exact)
	}
}

type plainHit Hit

type hitJSON struct {
	plainHit
	PathRaw []byte `json:"path_raw,omitempty"`
}

// MarshalJSON implements [json.Marshaler]; it adds path_raw when Path is not valid UTF-8.
func (h Hit) MarshalJSON() ([]byte, error) {
	if utf8.ValidString(h.Path) {
		return json.Marshal(plainHit(h))
	}
	return json.Marshal(hitJSON{plainHit(h), raw(h.Path)})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (h *Hit) UnmarshalJSON(b []byte) error {
	var v hitJSON
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*h = Hit(v.plainHit)
	restore(&h.Path, v.PathRaw)
	return nil
}

type plainLocation Location

type locationJSON struct {
	plainLocation
	RootRaw            []byte   `json:"root_raw,omitempty"`
	UnreadablePathsRaw [][]byte `json:"unreadable_paths_raw,omitempty"` // all of them, when one is not valid UTF-8
}

// MarshalJSON implements [json.Marshaler]; it adds root_raw and unreadable_paths_raw where they are not valid UTF-8.
func (l Location) MarshalJSON() ([]byte, error) {
	v := locationJSON{plainLocation: plainLocation(l), RootRaw: raw(l.Root)}
	for _, p := range l.UnreadablePaths {
		if utf8.ValidString(p) {
			continue
		}
		for _, p := range l.UnreadablePaths {
			v.UnreadablePathsRaw = append(v.UnreadablePathsRaw, []byte(p))
		}
		break
	}
	return json.Marshal(v)
}

// UnmarshalJSON implements [json.Unmarshaler].
func (l *Location) UnmarshalJSON(b []byte) error {
	var v locationJSON
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*l = Location(v.plainLocation)
	restore(&l.Root, v.RootRaw)
	if len(v.UnreadablePathsRaw) == len(l.UnreadablePaths) {
		for i, p := range v.UnreadablePathsRaw {
			l.UnreadablePaths[i] = string(p)
		}
	}
	return nil
}

type plainListing Listing

type listingJSON struct {
	plainListing
	PathRaw []byte `json:"path_raw,omitempty"`
}

// MarshalJSON implements [json.Marshaler]; Next becomes an opaque cursor, and path_raw is added when Path is not
// valid UTF-8.
func (l Listing) MarshalJSON() ([]byte, error) {
	v := listingJSON{plainListing(l), raw(l.Path)}
	v.Next = EncodeCursor(l.Next)
	return json.Marshal(v)
}

// UnmarshalJSON implements [json.Unmarshaler].
func (l *Listing) UnmarshalJSON(b []byte) error {
	var v listingJSON
	if err := json.Unmarshal(b, &v); err != nil {
		return err
	}
	*l = Listing(v.plainListing)
	restore(&l.Path, v.PathRaw)
	next, err := DecodeCursor(l.Next)
	l.Next = next
	return err
}

// EncodeCursor turns the name after which a page starts into the opaque cursor that crosses the API: base64url
// without padding. "" stays "".
func EncodeCursor(name string) string { return base64.RawURLEncoding.EncodeToString([]byte(name)) }

// DecodeCursor reads what [EncodeCursor] wrote. Its error is an [*Error] of kind [CodeUsage].
func DecodeCursor(cursor string) (string, error) {
	name, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil {
		return "", &Error{Code: CodeUsage, Title: "the cursor is not one of ours", Detail: err.Error()}
	}
	return string(name), nil
}

type plainAdd AddRequest

type addJSON struct {
	plainAdd
	PathRaw []byte `json:"path_raw,omitempty"`
}

// MarshalJSON implements [json.Marshaler]; it adds path_raw when Path is not valid UTF-8.
func (r AddRequest) MarshalJSON() ([]byte, error) {
	return json.Marshal(addJSON{plainAdd(r), raw(r.Path)})
}

// UnmarshalJSON implements [json.Unmarshaler]. It refuses unknown fields.
func (r *AddRequest) UnmarshalJSON(b []byte) error {
	var v addJSON
	if err := decodeStrict(bytes.NewReader(b), &v); err != nil {
		return err
	}
	*r = AddRequest(v.plainAdd)
	restore(&r.Path, v.PathRaw)
	return nil
}

type plainScan ScanRequest

type scanJSON struct {
	plainScan
	LocationRaw []byte `json:"location_raw,omitempty"`
}

// MarshalJSON implements [json.Marshaler]; it adds location_raw when Location is not valid UTF-8.
func (r ScanRequest) MarshalJSON() ([]byte, error) {
	return json.Marshal(scanJSON{plainScan(r), raw(r.Location)})
}

// UnmarshalJSON implements [json.Unmarshaler]. It refuses unknown fields.
func (r *ScanRequest) UnmarshalJSON(b []byte) error {
	var v scanJSON
	if err := decodeStrict(bytes.NewReader(b), &v); err != nil {
		return err
	}
	*r = ScanRequest(v.plainScan)
	restore(&r.Location, v.LocationRaw)
	return nil
}

type plainCheck CheckRequest

type checkJSON struct {
	plainCheck
	LocationRaw []byte `json:"location_raw,omitempty"`
}

// MarshalJSON implements [json.Marshaler]; it adds location_raw when Location is not valid UTF-8.
func (r CheckRequest) MarshalJSON() ([]byte, error) {
	return json.Marshal(checkJSON{plainCheck(r), raw(r.Location)})
}

// UnmarshalJSON implements [json.Unmarshaler]. It refuses unknown fields.
func (r *CheckRequest) UnmarshalJSON(b []byte) error {
	var v checkJSON
	if err := decodeStrict(bytes.NewReader(b), &v); err != nil {
		return err
	}
	*r = CheckRequest(v.plainCheck)
	restore(&r.Location, v.LocationRaw)
	return nil
}

// decodeStrict reads exactly one JSON value without unknown fields. Nothing at all leaves v as it is.
func decodeStrict(r io.Reader, v any) error {
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		if errors.Is(err, io.EOF) {
			return nil
		}
		return err
	}
	switch _, err := d.Token(); {
	case errors.Is(err, io.EOF):
		return nil
	case err != nil:
		return err
	}
	return fmt.Errorf("more than one value")
}
