package store

import (
	"errors"
	"io"
	"testing"

	"github.com/peerdex/peerdex/index"
)

// TestExportOfReadOnlyStore takes a snapshot beside a store that writes, and after it was closed.
func TestExportOfReadOnlyStore(t *testing.T) {
	dir := t.TempDir()
	owner, replica := openStore(t, dir), newStore(t)
	l := newLocationIn(t, owner)
	commit(t, owner, l, put("a", 1), put("b/c", 2))
	reader, err := OpenReadOnly(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := take(t.Context(), reader, replica, l, Compact); err != nil {
		t.Fatal(err)
	}
	equal(t, owner, replica, l)
	if _, err := reader.Export(t.Context(), l, Native); !errors.Is(err, index.ErrInvalid) {
		t.Errorf("native: %v", err)
	}
	commit(t, owner, l, put("d", 3))
	if err := owner.Close(); err != nil {
		t.Fatal(err)
	}
	n, err := reader.Export(t.Context(), l, Compact)
	if err != nil {
		t.Fatal(err)
	}
	if err := replica.Import(t.Context(), l, io.NewSectionReader(n, 0, n.Size), n.Head, n.Record, Compact); err != nil {
		t.Fatal(err)
	}
	equal(t, reader, replica, l)
	if err := errors.Join(n.Close(), reader.Close()); err != nil {
		t.Fatal(err)
	}
	if left := staged(t, reader); len(left) != 0 {
		t.Errorf("left in staging: %v", left)
	}
}

// TestImportEndsTransfers imports a location of which a transfer was begun: nothing of it stays.
func TestImportEndsTransfers(t *testing.T) {
	owner, replica := newStore(t), newStore(t)
	l := newLocationIn(t, owner)
	commit(t, owner, l, put("a", 1))
	held, err := owner.Held(t.Context(), l)
	if err != nil {
		t.Fatal(err)
	}
	in, err := replica.Intake(t.Context(), l, held.Head.Epoch, index.ModeFull)
	if err != nil {
		t.Fatal(err)
	}
	if err := in.Close(); err != nil {
		t.Fatal(err)
	}
	if len(staged(t, replica)) == 0 {
		t.Fatal("the transfer left nothing to take up")
	}
	for _, v := range variants {
		if _, err := take(t.Context(), owner, replica, l, v); err != nil {
			t.Fatal(err)
		}
		if left := staged(t, replica); len(left) != 0 {
			t.Errorf("%v: left in staging: %v", v, left)
		}
		equal(t, owner, replica, l)
	}
}
