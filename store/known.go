package store

import (
	"context"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/peerdex/peerdex/index"
)

// ScanState reads what is remembered of the last scan of an own location. Without one, State is "never".
func (s *Store) ScanState(ctx context.Context, id index.LocationID) (ScanState, error) {
	st := ScanState{State: "never"}
	err := s.node.with(ctx, func(c *conn) error {
		row, err := c.one("SELECT state, detail, started, took, unreadable, paths, held_count FROM scan WHERE id = ?", id[:])
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		started, _ := row[2].(int64)
		took, _ := row[3].(int64)
		paths, _ := row[5].(string)
		st.State, _ = row[0].(string)
		st.Detail, _ = row[1].(string)
		st.Started, st.Took = time.Unix(0, started), time.Duration(took)
		st.Unreadable, _ = row[4].(int64)
		st.HeldCount, _ = row[6].(int64)
		if err := json.Unmarshal([]byte(paths), &st.Paths); err != nil {
			return fmt.Errorf("paths: %w (%w)", ErrCorrupt, err)
		}
		for row, err := range c.query(ctx, "SELECT entry FROM held WHERE id = ? ORDER BY entry", id[:]) {
			if err != nil {
				return err
			}
			n, _ := row[0].(int64)
			st.Held = append(st.Held, n)
		}
		return nil
	})
	if err != nil {
		return st, fmt.Errorf("scan state: %w", err)
	}
	return st, nil
}

// SetScanState remembers the outcome of a scan.
func (s *Store) SetScanState(ctx context.Context, id index.LocationID, st ScanState) error {
	paths, err := json.Marshal(append([]string{}, st.Paths...))
	if err != nil {
		return err
	}
	return s.node.tx(ctx, func(c *conn) error {
		err := c.run("INSERT OR REPLACE INTO scan (id, state, detail, started, took, unreadable, paths, held_count) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
			id[:], st.State, st.Detail, st.Started.UnixNano(), int64(st.Took), st.Unreadable, string(paths), st.HeldCount)
		if err != nil {
			return err
		}
		if err := c.run("DELETE FROM held WHERE id = ?", id[:]); err != nil {
			return err
		}
		for _, e := range st.Held {
			if err := c.run("INSERT INTO held (id, entry) VALUES (?, ?)", id[:], e); err != nil {
				return err
			}
		}
		return nil
	})
}

// Heard is a head that a device spoke of.
type Heard struct {
	Device  index.DeviceID
	Head    index.SignedHead
	Record  []byte // canonical bytes
	Horizon int64  // of that device's file
	Size    int64  // of that device's file, as it says, in bytes; 0 = not known
	Held    bool   // that device holds a replica at this head
	Wants   bool   // that device wants changes above this head to be pushed to it
	Listed  bool   // that device named this head when it last said which it knows; false once it left it out
	At      time.Time
}

// SetHeard records the newest heads that devices spoke of. Each replaces what that device said of the location before.
func (s *Store) SetHeard(ctx context.Context, heard ...Heard) error {
	return s.node.tx(ctx, func(c *conn) error {
		for i := range heard {
			if err := insertHeard(c, &heard[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func insertHeard(c *conn, h *Heard) error {
	head, err := h.Head.MarshalBinary()
	if err != nil {
		return err
	}
	l := h.Head.Location
	return c.run("INSERT OR REPLACE INTO heard (owner, id, device, head, record, horizon, size, held, wants, listed, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		l.Owner[:], l.ID[:], h.Device[:], head, h.Record, h.Horizon, h.Size, asInt(h.Held), asInt(h.Wants), asInt(h.Listed), h.At.UnixNano())
}

const heardColumns = "device, head, record, horizon, held, listed, at, wants, size"

// AllHeard reads all heads heard.
func (s *Store) AllHeard(ctx context.Context) (map[index.Location][]Heard, error) {
	all, err := s.readHeard(ctx, "SELECT "+heardColumns+" FROM heard")
	if err != nil {
		return nil, err
	}
	out := map[index.Location][]Heard{}
	for _, h := range all {
		out[h.Head.Location] = append(out[h.Head.Location], h)
	}
	return out, nil
}

// HeardOf reads what all devices said of one location.
func (s *Store) HeardOf(ctx context.Context, l index.Location) ([]Heard, error) {
	return s.readHeard(ctx, "SELECT "+heardColumns+" FROM heard WHERE owner = ? AND id = ?", l.Owner[:], l.ID[:])
}

// HeardFrom reads what one device said of all locations.
func (s *Store) HeardFrom(ctx context.Context, d index.DeviceID) ([]Heard, error) {
	return s.readHeard(ctx, "SELECT "+heardColumns+" FROM heard WHERE device = ?", d[:])
}

func (s *Store) readHeard(ctx context.Context, sql string, args ...driver.Value) ([]Heard, error) {
	var out []Heard
	err := s.node.with(ctx, func(c *conn) error {
		for row, err := range c.query(ctx, sql, args...) {
			if err != nil {
				return err
			}
			var h Heard
			device, _ := row[0].([]byte)
			copy(h.Device[:], device)
			head, _ := row[1].([]byte)
			if err := h.Head.UnmarshalBinary(head); err != nil {
				return fmt.Errorf("head: %w (%w)", ErrCorrupt, err)
			}
			h.Record = cloneBlob(row[2])
			h.Horizon, _ = row[3].(int64)
			held, _ := row[4].(int64)
			listed, _ := row[5].(int64)
			at, _ := row[6].(int64)
			wants, _ := row[7].(int64)
			h.Size, _ = row[8].(int64)
			h.Held, h.Wants, h.Listed, h.At = held == 1, wants == 1, listed == 1, time.Unix(0, at)
			out = append(out, h)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("heads heard: %w", err)
	}
	return out, nil
}

func asInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// Freeze keeps two heads of a location that cannot both be true. The first evidence stays.
func (s *Store) Freeze(ctx context.Context, a, b index.SignedHead) error {
	ab, _ := a.MarshalBinary()
	bb, _ := b.MarshalBinary()
	return s.node.tx(ctx, func(c *conn) error {
		return c.run("INSERT INTO frozen (owner, id, a, b) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
			a.Location.Owner[:], a.Location.ID[:], ab, bb)
	})
}

// Thaw forgets the evidence against a location.
func (s *Store) Thaw(ctx context.Context, l index.Location) error {
	return s.node.tx(ctx, func(c *conn) error {
		return c.run("DELETE FROM frozen WHERE owner = ? AND id = ?", l.Owner[:], l.ID[:])
	})
}

// Frozen lists the frozen locations.
func (s *Store) Frozen(ctx context.Context) (map[index.Location]bool, error) {
	out := map[index.Location]bool{}
	err := s.node.with(ctx, func(c *conn) error {
		for row, err := range c.query(ctx, "SELECT owner, id FROM frozen") {
			if err != nil {
				return err
			}
			out[rowLocation(row)] = true
		}
		return nil
	})
	return out, err
}

// AdvanceAsOf moves the "as of" of a replica that stands at the state that head names, to head's later time. It does
// nothing if the replica is elsewhere.
func (s *Store) AdvanceAsOf(ctx context.Context, head index.SignedHead) error {
	if err := head.Verify(); err != nil {
		return err
	}
	h, release, err := s.use(ctx, head.Location)
	if err != nil {
		return err
	}
	defer release()
	return h.write(func(c *conn) error {
		return c.tx(func() error {
			m, err := readMeta(c)
			if err != nil || index.Compare(&head.Head, &m.head.Head) != index.Later {
				return err
			}
			m.head = head
			return writeMeta(c, &m)
		})
	})
}

// Contact is what is remembered of connections to a device.
type Contact struct {
	Seen  time.Time // end of the last connection, or the last moment it was known to stand
	Error string    // of the last attempt to connect; "" after a success
	Addrs []string  // multiaddrs, those that worked last first
}

// Contacts reads what is remembered of all devices.
func (s *Store) Contacts(ctx context.Context) (map[index.DeviceID]Contact, error) {
	out := map[index.DeviceID]Contact{}
	err := s.node.with(ctx, func(c *conn) error {
		for row, err := range c.query(ctx, "SELECT device, seen, error FROM contact") {
			if err != nil {
				return err
			}
			var d index.DeviceID
			b, _ := row[0].([]byte)
			copy(d[:], b)
			seen, _ := row[1].(int64)
			ct := Contact{}
			if seen != 0 {
				ct.Seen = time.Unix(0, seen)
			}
			ct.Error, _ = row[2].(string)
			out[d] = ct
		}
		for row, err := range c.query(ctx, "SELECT device, addr FROM address ORDER BY good DESC, addr") {
			if err != nil {
				return err
			}
			var d index.DeviceID
			b, _ := row[0].([]byte)
			copy(d[:], b)
			addr, _ := row[1].(string)
			ct := out[d]
			ct.Addrs = append(ct.Addrs, addr)
			out[d] = ct
		}
		return nil
	})
	return out, err
}

// maxAddrs bounds the addresses remembered of one device.
const maxAddrs = 16

// AddAddress remembers an address of a device; good is when it worked, zero if it was only told.
func (s *Store) AddAddress(ctx context.Context, d index.DeviceID, addr string, good time.Time) error {
	at := int64(0)
	if !good.IsZero() {
		at = good.UnixNano()
	}
	return s.node.tx(ctx, func(c *conn) error {
		err := c.run("INSERT INTO address (device, addr, good) VALUES (?, ?, ?)"+
			" ON CONFLICT (device, addr) DO UPDATE SET good = max(good, excluded.good)", d[:], addr, at)
		if err != nil {
			return err
		}
		return c.run("DELETE FROM address WHERE device = ?1 AND addr NOT IN"+
			" (SELECT addr FROM address WHERE device = ?1 ORDER BY good DESC, addr LIMIT ?2)", d[:], int64(maxAddrs))
	})
}

// SetContact remembers the state of connections to a device. A zero seen leaves the time as it was.
func (s *Store) SetContact(ctx context.Context, d index.DeviceID, seen time.Time, problem string) error {
	at := int64(0)
	if !seen.IsZero() {
		at = seen.UnixNano()
	}
	return s.node.tx(ctx, func(c *conn) error {
		return c.run("INSERT INTO contact (device, seen, error) VALUES (?, ?, ?) ON CONFLICT (device) DO UPDATE SET"+
			" seen = max(seen, excluded.seen), error = excluded.error", d[:], at, problem)
	})
}
