package store

import (
	"context"
	"fmt"
	"time"

	"github.com/peerdex/peerdex/index"
)

// Job is a transfer of the queue, as it is kept between starts. What its words mean is the queue's business.
type Job struct {
	Location index.Location
	State    string
	Head     index.SignedHead // the newest one heard when the job was written; zero = none
	Strategy string
	Provider index.DeviceID // zero = not chosen
	Done     int64          // received: entries, or bytes of a snapshot
	Total    int64          // 0 = not known
	Attempts int            // that failed
	Next     time.Time      // of the next try; zero = as soon as there is room
	Error    string         // of the last attempt
}

// Jobs reads the queue, in order of owner and ID.
func (s *Store) Jobs(ctx context.Context) ([]Job, error) {
	var out []Job
	err := s.node.with(ctx, func(c *conn) error {
		for row, err := range c.query(ctx, "SELECT owner, id, state, head, strategy, provider, done, total, attempts, next, error FROM job ORDER BY owner, id") {
			if err != nil {
				return err
			}
			j := Job{Location: rowLocation(row)}
			j.State, _ = row[2].(string)
			if head, _ := row[3].([]byte); len(head) > 0 {
				if err := j.Head.UnmarshalBinary(head); err != nil {
					return fmt.Errorf("head: %w (%w)", ErrCorrupt, err)
				}
			}
			j.Strategy, _ = row[4].(string)
			provider, _ := row[5].([]byte)
			copy(j.Provider[:], provider)
			j.Done, _ = row[6].(int64)
			j.Total, _ = row[7].(int64)
			attempts, _ := row[8].(int64)
			j.Attempts = int(attempts)
			if next, _ := row[9].(int64); next != 0 {
				j.Next = time.Unix(0, next)
			}
			j.Error, _ = row[10].(string)
			out = append(out, j)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("jobs: %w", err)
	}
	return out, nil
}

// SetJob writes a job over the one of its location.
func (s *Store) SetJob(ctx context.Context, j Job) error {
	head, next := []byte{}, int64(0)
	if j.Head != (index.SignedHead{}) {
		b, err := j.Head.MarshalBinary()
		if err != nil {
			return fmt.Errorf("job: %w", err)
		}
		head = b
	}
	if !j.Next.IsZero() {
		next = j.Next.UnixNano()
	}
	return s.node.tx(ctx, func(c *conn) error {
		return c.run("INSERT OR REPLACE INTO job (owner, id, state, head, strategy, provider, done, total, attempts, next, error) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
			j.Location.Owner[:], j.Location.ID[:], j.State, head, j.Strategy, j.Provider[:], j.Done, j.Total, int64(j.Attempts), next, j.Error)
	})
}

// EndJob forgets the job of a location; without one it does nothing.
func (s *Store) EndJob(ctx context.Context, l index.Location) error {
	return s.node.tx(ctx, func(c *conn) error {
		return c.run("DELETE FROM job WHERE owner = ? AND id = ?", l.Owner[:], l.ID[:])
	})
}

// DropStaging deletes what transfers of a location received so far and could not use yet. What is held stays. It fails
// with [ErrBusy] while a transfer of the location is open.
func (s *Store) DropStaging(l index.Location) error {
	if err := s.claim(l); err != nil {
		return fmt.Errorf("drop what was received: %w", err)
	}
	defer s.unclaim(l)
	if err := s.dropReceived(l); err != nil {
		return fmt.Errorf("drop what was received: %w", fsError(err))
	}
	return nil
}
