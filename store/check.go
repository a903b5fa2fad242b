package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/index/membership"
)

// Check checks the whole store: SQLite's own check of every file, and that every location's rows, dead runs, counters
// and record agree with its signed head. It returns all violations joined, each wrapping [ErrCorrupt], or nil. It
// reads every row; run it when there is time.
func (s *Store) Check(ctx context.Context) error {
	var errs []error
	err := s.node.with(ctx, func(c *conn) error { return fileCheck(ctx, c, "PRAGMA integrity_check(1)") })
	if err != nil {
		errs = append(errs, fmt.Errorf("node.db: %w", err))
	}
	if lib, err := s.Library(ctx); err != nil {
		errs = append(errs, err)
	} else if len(lib.Records) > 0 {
		if _, err := membership.Evaluate(lib.Records); err != nil {
			errs = append(errs, fmt.Errorf("%w: %w", ErrCorrupt, err))
		}
	}
	locs, err := s.Locations(ctx)
	errs = append(errs, err)
	for _, l := range locs {
		if err := s.CheckLocation(ctx, l, CheckOptions{Deep: true}); err != nil {
			errs = append(errs, fmt.Errorf("location %v: %w", l, err))
		}
	}
	return errors.Join(errs...)
}

// CheckOptions say how thorough a check of a location is.
type CheckOptions struct {
	// Deep reads and hashes every row, and compares both indexes and the hash tree with the rows: it finds every change of
	// the file that can be seen from outside. Without it, SQLite's quick check, the counts and the signatures are checked,
	// which takes a small part of the time and can miss a changed row.
	Deep bool
	// Rest makes a check work in steps of some milliseconds (SQLite's own check of the file is one longer step), each with
	// a connection and a read transaction of its own, so that it stands in nobody's way. It is called between them with the
	// time that the last one took, and may take its time; an error of it ends the check. What is one tree together is not
	// checked again then: rows that are those signed are. nil = all in one read transaction.
	Rest func(ctx context.Context, worked time.Duration) error

	leaves int // that one part of a step covers; 0 = checkLeaves
}

// CheckLocation checks one location's file, with connections of its own, so that nothing read before hides what is on the
// disk; see [Store.Check]. What is wrong is returned joined, wrapping [ErrCorrupt]. Another error says that the check
// could not be carried out, ctx's that it was ended. A location that is quarantined already gets a [*QuarantineError].
func (s *Store) CheckLocation(ctx context.Context, l index.Location, opt CheckOptions) error {
	for {
		k := &checker{loc: l, deep: opt.Deep, single: opt.Rest == nil, leaves: cmp.Or(opt.leaves, checkLeaves)}
		err := k.run(ctx, s, opt.Rest)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !errors.Is(err, errReplaced) {
			return err
		}
	}
}

// errReplaced says that another file or another epoch came into use during a check in steps.
var errReplaced = errors.New("the file was replaced during the check")

// maxProblems bounds what one check reports of a location.
const maxProblems = 20

// checker is one check of one location's file.
type checker struct {
	loc    index.Location
	deep   bool
	single bool // all steps see one state
	leaves int  // of one part of a step

	path     string // of the file, since the first step
	m        meta   // at the step under way
	form     shape  // of a single check
	problems []error
	leaf     int64 // first leaf not checked
}

// A checkStep does one part of a check, and says whether it has more to do. What is wrong it reports with
// [checker.fail]; its error ends the check, and is damage too if it wraps [ErrCorrupt].
type checkStep func(k *checker, ctx context.Context, c *conn) (more bool, err error)

func (k *checker) steps() []checkStep {
	quick := []checkStep{(*checker).file, (*checker).statement, (*checker).counts}
	if !k.deep {
		return quick
	}
	return append(quick, (*checker).rows, (*checker).unique, (*checker).dead, (*checker).tree)
}

func (k *checker) run(ctx context.Context, s *Store, rest func(context.Context, time.Duration) error) error {
	var err error
	if k.single {
		err = s.viewFresh(ctx, k.loc, func(path string, c *conn) error {
			for _, step := range k.steps() {
				for more := true; more; {
					var err error
					if more, err = k.part(ctx, path, c, step); err != nil {
						return err
					}
				}
			}
			return nil
		})
	} else {
		err = k.runInSteps(ctx, s, rest)
	}
	if err != nil && !errors.Is(err, errTooMany) {
		k.problems = append(k.problems, err)
	}
	return errors.Join(k.problems...)
}

func (k *checker) runInSteps(ctx context.Context, s *Store, rest func(context.Context, time.Duration) error) error {
	for _, step := range k.steps() {
		for more := true; more; {
			begun := time.Now()
			err := s.viewFresh(ctx, k.loc, func(path string, c *conn) (err error) {
				more, err = k.part(ctx, path, c, step)
				return err
			})
			if err == nil {
				err = rest(ctx, time.Since(begun))
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// part runs one part of a step on a view of the file.
func (k *checker) part(ctx context.Context, path string, c *conn, step checkStep) (bool, error) {
	if err := ctx.Err(); err != nil {
		return false, err
	}
	if k.path == "" || !k.single {
		m, err := readMeta(c)
		if err != nil {
			return false, err
		}
		if k.path != "" && (k.path != path || k.m.head.Epoch != m.head.Epoch) {
			return false, errReplaced
		}
		k.path, k.m = path, m
	}
	more, err := step(k, ctx, c)
	if err == nil && len(k.problems) >= maxProblems {
		err = errTooMany
	}
	return more, err
}

var errTooMany = errors.New("more is wrong than is worth reporting")

// fail reports something wrong.
func (k *checker) fail(format string, args ...any) {
	k.problems = append(k.problems, fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...)))
}

// file is SQLite's own check of the whole file: all but what the entries of the indexes say.
func (k *checker) file(ctx context.Context, c *conn) (bool, error) {
	return false, fileCheck(ctx, c, "PRAGMA quick_check(1)")
}

// statement checks what the file says of itself.
func (k *checker) statement(context.Context, *conn) (bool, error) {
	if err := k.m.head.Verify(); err != nil {
		k.fail("head: %v", err)
	}
	if k.m.head.Location != k.loc {
		k.fail("the head is of location %v", k.m.head.Location)
	}
	if index.HashRecord(k.m.record) != k.m.head.Record {
		k.fail("the record is not the one signed")
	}
	if k.m.token != nil {
		k.fail("the file is not complete")
	}
	return false, nil
}

func (k *checker) counts(_ context.Context, c *conn) (bool, error) {
	err := checkCounts(c, &k.m.head.Head)
	if errors.Is(err, ErrMismatch) {
		k.fail("%v", err)
		err = nil
	}
	return false, err
}

// fileCheck runs one of SQLite's own checks of a whole file.
func fileCheck(ctx context.Context, c *conn, pragma string) error {
	for row, err := range c.query(ctx, pragma) {
		if err != nil {
			return err
		}
		if row[0] != "ok" {
			return fmt.Errorf("%w: %v", ErrCorrupt, row[0])
		}
	}
	return nil
}
