package syncer

import (
	"fmt"
	"slices"

	"github.com/peerdex/peerdex/index"
)

// maxUnproved is how many devices may serve, as one head, what its owner did not sign, before that head is asked of nobody
// any more.
const maxUnproved = 3

// Unproved says that a device served, as the state of a head, something else than what its owner signed. It isn't asked
// for that head again, nor for a lower one.
type Unproved struct {
	Device index.DeviceID
	Head   index.SignedHead
	Delta  bool // it was a delta: the replica that it was to change may be at fault, and a comparison may lead there
}

// UnprovedError is what Config.Do returns if the provider of a plan served something else than what the owner signed, and
// nobody else is to blame.
type UnprovedError struct {
	Head  index.SignedHead // that the provider offered
	Delta bool             // it was a delta
	Err   error
}

// Error says what could not be proved.
func (e *UnprovedError) Error() string {
	return fmt.Sprintf("seq %d of epoch %v can't be proved: %v", e.Head.Seq, e.Head.Epoch, e.Err)
}

// Unwrap returns what was found.
func (e *UnprovedError) Unwrap() error { return e.Err }

// covers reports whether a head is one that u speaks of: the same or a lower one.
func (u *Unproved) covers(h *index.SignedHead) bool {
	return u.Head.Epoch == h.Epoch && h.Seq <= u.Head.Seq
}

// refuses reports whether a device isn't asked for what it offers: it failed to prove it, or too many others did.
func (s *Situation) refuses(h *Heard) bool {
	for i := range s.Unproved {
		u := &s.Unproved[i]
		if u.covers(&h.Head) && !s.only(u) && (u.Device == h.Device || s.failures(u) >= maxUnproved) {
			return true
		}
	}
	return false
}

// doubts reports whether only a comparison may lead to what a device offers, since a delta of it did not.
func (s *Situation) doubts(h *Heard) bool {
	return slices.ContainsFunc(s.Unproved, func(u Unproved) bool { return u.Device == h.Device && u.covers(&h.Head) && s.only(&u) })
}

// only reports whether u speaks of deltas alone, while there is a replica to compare.
func (s *Situation) only(u *Unproved) bool { return u.Delta && s.Held != nil }

// failures counts the devices that failed to prove the same head.
func (s *Situation) failures(u *Unproved) int {
	n := 0
	for i := range s.Unproved {
		o := &s.Unproved[i]
		if o.Head.Epoch == u.Head.Epoch && o.Head.Seq == u.Head.Seq && !s.only(o) {
			n++
		}
	}
	return n
}

// Unproved returns what is held against the providers of a location. It is kept in memory until our replica is past
// it, or the provider connects anew. Safe for concurrent use.
func (s *Syncer) Unproved(l index.Location) []Unproved {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Unproved(nil), s.unproved[l]...)
}

// Forgive forgets what a device served at any head: it connected anew, and may have mended what it holds. Safe for
// concurrent use.
func (s *Syncer) Forgive(d index.DeviceID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for l, us := range s.unproved {
		s.unproved[l] = slices.DeleteFunc(us, func(u Unproved) bool { return u.Device == d })
	}
}

// hold remembers that a device failed to prove a head; of each device the last one. The caller holds s.mu.
func (s *Syncer) hold(l index.Location, u Unproved) {
	for i := range s.unproved[l] {
		if s.unproved[l][i].Device == u.Device {
			s.unproved[l][i] = u
			return
		}
	}
	s.unproved[l] = append(s.unproved[l], u)
}

// forgive forgets what our replicas are past.
func (s *Syncer) forgive(sits []Situation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kept := map[index.Location][]Unproved{}
	for i := range sits {
		sit := &sits[i]
		for _, u := range s.unproved[sit.Location] {
			past := false
			if sit.Held != nil {
				o := index.Compare(&u.Head.Head, &sit.Held.Head)
				past = o != index.Newer && o != index.NewEpoch
			}
			if !past {
				kept[sit.Location] = append(kept[sit.Location], u)
			}
		}
	}
	s.unproved = kept
}
