package membership

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/peerdex/peerdex/index"
)

// Member is a device that belongs to the library.
type Member struct {
	Device  index.DeviceID
	Name    string
	AddedBy index.DeviceID // the device itself for the first one
	Depth   int            // ADDs between the genesis and this device; 0 for the first one
	Time    int64          // ns since 1970 by the adder's clock
}

// State is the outcome of a set of records. The zero value is a library without members.
type State struct {
	Library index.LibraryID
	members map[index.DeviceID]Member
}

// Has reports whether d is a member.
func (s *State) Has(d index.DeviceID) bool {
	_, ok := s.members[d]
	return ok
}

// Member returns what is known of d.
func (s *State) Member(d index.DeviceID) (Member, bool) {
	m, ok := s.members[d]
	return m, ok
}

// Len is the number of members.
func (s *State) Len() int { return len(s.members) }

// Members returns all members, first by depth, then by key.
func (s *State) Members() []Member {
	out := make([]Member, 0, len(s.members))
	for _, m := range s.members {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Member) int {
		if a.Depth != b.Depth {
			return a.Depth - b.Depth
		}
		return bytes.Compare(a.Device[:], b.Device[:])
	})
	return out
}

// Evaluate says who is a member by a set of records whose signatures were checked (UnmarshalBinary does). The
// order of records makes no difference. A device taken in more than once keeps the record nearest to the genesis,
// and of those the one with the lowest hash. Records that no member signed count for nothing until their author is
// a member. It is an error if there isn't exactly one genesis, or a record belongs to another library.
func Evaluate(records []Record) (State, error) {
	var first *Record
	for i := range records {
		if records[i].Kind != Genesis {
			continue
		}
		if first != nil && *first != records[i] {
			return State{}, fmt.Errorf("two genesis records: %w", ErrInvalid)
		}
		first = &records[i]
	}
	if first == nil {
		return State{}, fmt.Errorf("no genesis record: %w", ErrInvalid)
	}
	s := State{Library: first.LibraryID(), members: map[index.DeviceID]Member{
		first.Device: {Device: first.Device, Name: first.Name, AddedBy: first.Device, Time: first.Time},
	}}
	adds := make([]Record, 0, len(records))
	for i := range records {
		if records[i].LibraryID() != s.Library {
			return State{}, fmt.Errorf("record of another library: %w", ErrInvalid)
		}
		if records[i].Kind == Add {
			adds = append(adds, records[i])
		}
	}
	slices.SortFunc(adds, func(a, b Record) int {
		ha, hb := a.Hash(), b.Hash()
		return bytes.Compare(ha[:], hb[:])
	})
	for depth, more := 1, true; more; depth++ {
		more = false
		for i := range adds {
			a := &adds[i]
			by, ok := s.members[a.Author]
			if _, known := s.members[a.Device]; known || !ok || by.Depth != depth-1 {
				continue
			}
			s.members[a.Device] = Member{Device: a.Device, Name: a.Name, AddedBy: a.Author, Depth: depth, Time: a.Time}
			more = true
		}
	}
	return s, nil
}
