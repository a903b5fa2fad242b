package node

import (
	"strings"
	"testing"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/store"
)

// aHead is a head as situations have them; what is said of it needs no signature.
func aHead(counter uint64, seq, asOf int64) *index.SignedHead {
	h := &index.SignedHead{}
	h.Epoch.Counter, h.Seq, h.Count, h.NextID, h.AsOf = counter, seq, 3, 4, asOf
	return h
}

// TestReplicaState is about every state of a replica, and which of two is said.
func TestReplicaState(t *testing.T) {
	owner := index.DeviceID{1}
	h5, h9, other := aHead(1, 5, 1), aHead(1, 9, 1), aHead(2, 2, 1)
	from := func(h *index.SignedHead, reachable bool) []syncer.Heard {
		return []syncer.Heard{{Device: owner, Head: *h, Held: true, Reachable: reachable}}
	}
	unproved := []syncer.Unproved{{Device: owner, Head: *h9}}
	job := func(s syncer.State) *syncer.Job {
		return &syncer.Job{State: s, Provider: owner, Attempts: 2, Error: "cut", Next: time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)}
	}
	for name, c := range map[string]struct {
		f      facts
		want   string
		detail string // a part of it
		behind int64
	}{
		"nothing received, the owner is there": {facts{sit: &syncer.Situation{Heard: from(h9, true)}, ownerHere: true}, api.StateNever, "no replica", 0},
		"nothing received, nobody there":       {facts{sit: &syncer.Situation{Heard: from(h9, false)}}, api.StateNever, "no device that holds it", 0},
		"nothing received, paused":             {facts{sit: &syncer.Situation{Heard: from(h9, true)}, job: job(syncer.Paused)}, api.StateNever, "is paused", 0},
		"nothing received, all paused":         {facts{sit: &syncer.Situation{Heard: from(h9, true)}, allPaused: true}, api.StateNever, "all transfers are paused", 0},
		"nothing received, cancelled":          {facts{sit: &syncer.Situation{Heard: from(h9, true)}, job: job(syncer.Cancelled)}, api.StateNever, "was cancelled", 0},
		"nothing received, busy":               {facts{sit: &syncer.Situation{Heard: from(h9, true)}, job: job(syncer.Busy)}, api.StateNever, "again at 03:04:05", 0},
		"nothing received, failing":            {facts{sit: &syncer.Situation{Heard: from(h9, true)}, job: job(syncer.Waiting)}, api.StateNever, "2 times, and again at 03:04:05: cut", 0},
		"nothing received, no room":            {facts{sit: &syncer.Situation{Heard: from(h9, true)}, job: job(syncer.Queued)}, api.StateNever, "waits for its turn", 0},

		"current":                      {facts{sit: &syncer.Situation{Held: h9, Heard: from(h9, true)}, ownerHere: true}, api.StateCurrent, "", 0},
		"current, known true later":    {facts{sit: &syncer.Situation{Held: h9, Heard: from(aHead(1, 9, 2), true)}, ownerHere: true}, api.StateCurrent, "", 0},
		"current, though paused":       {facts{sit: &syncer.Situation{Held: h9, Heard: from(h9, true)}, ownerHere: true, job: job(syncer.Paused)}, api.StateCurrent, "", 0},
		"current, owner still scans":   {facts{sit: &syncer.Situation{Held: aHead(1, 9, 0), Heard: from(aHead(1, 9, 0), true)}, ownerHere: true}, api.StateCurrent, "first scan", 0},
		"current by one lower heard":   {facts{sit: &syncer.Situation{Held: h9, Heard: from(h5, true)}, ownerHere: true}, api.StateCurrent, "", 0},
		"owner away":                   {facts{sit: &syncer.Situation{Held: h9, Heard: from(h9, false)}}, api.StateOwnerAway, "may have a newer one", 0},
		"behind":                       {facts{sit: &syncer.Situation{Held: h5, Heard: from(h9, true)}, ownerHere: true}, api.StateBehind, "", 4},
		"behind, and the owner away":   {facts{sit: &syncer.Situation{Held: h5, Heard: from(h9, false)}}, api.StateBehind, "no device that holds a newer head", 4},
		"behind, another epoch":        {facts{sit: &syncer.Situation{Held: h5, Heard: from(other, true)}, ownerHere: true}, api.StateBehind, "new epoch", 0},
		"behind, paused":               {facts{sit: &syncer.Situation{Held: h5, Heard: from(h9, true)}, ownerHere: true, job: job(syncer.Paused)}, api.StateBehind, "paused", 4},
		"syncing":                      {facts{sit: &syncer.Situation{Held: h5, Heard: from(h9, true)}, ownerHere: true, transfer: &Progress{}}, api.StateSyncing, "", 4},
		"syncing the first time":       {facts{sit: &syncer.Situation{Heard: from(h9, true)}, ownerHere: true, transfer: &Progress{}}, api.StateSyncing, "", 0},
		"syncing instead of a bad one": {facts{sit: &syncer.Situation{Damaged: true, Heard: from(h9, true)}, ownerHere: true, transfer: &Progress{}, damage: "bits"}, api.StateSyncing, "", 0},

		"frozen":                         {facts{sit: &syncer.Situation{Frozen: true, Held: h9, Heard: from(h9, true)}, ownerHere: true}, api.StateFrozen, "two heads", 0},
		"frozen and retired":             {facts{sit: &syncer.Situation{Frozen: true, Retired: index.Retired, Held: h9, Heard: from(h9, true)}}, api.StateFrozen, "", 0},
		"frozen and switched off":        {facts{sit: &syncer.Situation{Frozen: true, Heard: from(h9, true)}, policy: "off"}, api.StateFrozen, "", 0},
		"retired":                        {facts{sit: &syncer.Situation{Retired: index.Retired, Held: h9, Heard: from(h9, true)}, ownerHere: true}, api.StateRetired, "", 0},
		"retired, the owner away":        {facts{sit: &syncer.Situation{Retired: index.Retired, Heard: from(h9, false)}}, api.StateRetired, "", 0},
		"archived":                       {facts{sit: &syncer.Situation{Retired: index.Archived, Held: h9, Heard: from(h9, true)}, ownerHere: true}, api.StateArchived, "", 0},
		"archived, the owner away":       {facts{sit: &syncer.Situation{Retired: index.Archived, Held: h9, Heard: from(h9, false)}}, api.StateArchived, "", 0},
		"archived, but not the last":     {facts{sit: &syncer.Situation{Retired: index.Archived, Held: h5, Heard: from(h9, false)}}, api.StateBehind, "", 4},
		"damaged":                        {facts{sit: &syncer.Situation{Damaged: true, Heard: from(h9, true)}, ownerHere: true, damage: "bits"}, api.StateQuarantined, "bits; it is fetched again", 0},
		"damaged, nobody there":          {facts{sit: &syncer.Situation{Damaged: true, Heard: from(h9, false)}, damage: "bits"}, api.StateQuarantined, "no device", 0},
		"damaged and paused":             {facts{sit: &syncer.Situation{Damaged: true, Heard: from(h9, true)}, damage: "bits", job: job(syncer.Paused)}, api.StateQuarantined, "bits; its transfer is paused", 0},
		"nobody can prove it":            {facts{sit: &syncer.Situation{Held: h5, Heard: from(h9, true), Unproved: unproved}, ownerHere: true}, api.StateQuarantined, "not what its owner signed", 4},
		"nobody can prove it, lazy":      {facts{sit: &syncer.Situation{Held: h5, Heard: from(h9, true), Unproved: unproved}, policy: "lazy"}, api.StateQuarantined, "", 4},
		"off":                            {facts{sit: &syncer.Situation{Heard: from(h9, true)}, ownerHere: true, policy: "off"}, api.StateOff, "nothing of it is kept", 0},
		"off, with a copy":               {facts{sit: &syncer.Situation{Held: h9, Heard: from(h9, true)}, ownerHere: true, policy: "off"}, api.StateOff, "newest state heard", 0},
		"off, with an old copy":          {facts{sit: &syncer.Situation{Held: h5, Heard: from(h9, true)}, ownerHere: true, policy: "off"}, api.StateOff, "from before", 4},
		"off, but fetched by hand":       {facts{sit: &syncer.Situation{Held: h5, Heard: from(h9, true)}, policy: "off", transfer: &Progress{}}, api.StateSyncing, "", 4},
		"lazy":                           {facts{sit: &syncer.Situation{Heard: from(h9, true)}, ownerHere: true, policy: "lazy"}, api.StateLazy, "nothing of it is kept", 0},
		"lazy, with a damaged copy":      {facts{sit: &syncer.Situation{Damaged: true, Heard: from(h9, true)}, ownerHere: true, policy: "lazy"}, api.StateLazy, "damaged, and not used", 0},
		"lazy, with an old copy":         {facts{sit: &syncer.Situation{Held: h5, Heard: from(h9, true)}, ownerHere: true, policy: "lazy"}, api.StateLazy, "from before", 4},
		"lazy, at the newest":            {facts{sit: &syncer.Situation{Held: h9, Heard: from(h9, true)}, ownerHere: true, policy: "lazy"}, api.StateCurrent, "", 0},
		"lazy, at the newest, owner off": {facts{sit: &syncer.Situation{Held: h9, Heard: from(h9, false)}, policy: "lazy"}, api.StateOwnerAway, "", 0},
		"same as here":                   {facts{sit: &syncer.Situation{Heard: from(h9, true)}, ownerHere: true, same: "photos"}, api.StateSame, "indexes as photos", 0},
		"same as here, owner away":       {facts{sit: &syncer.Situation{Held: h5, Heard: from(h9, false)}, same: "photos"}, api.StateSame, "", 0},
		"same as here, but retired":      {facts{sit: &syncer.Situation{Retired: index.Retired, Heard: from(h9, true)}, same: "photos"}, api.StateRetired, "", 0},
	} {
		newest, _ := c.f.sit.Newest()
		c.f.newest, c.f.running = &newest, true
		got := c.f.replica()
		if got.state != c.want || !strings.Contains(got.detail, c.detail) || got.behind != c.behind {
			t.Errorf("%s: %+v, want %q with %q, behind by %d", name, got, c.want, c.detail, c.behind)
		}
	}
	f := facts{sit: &syncer.Situation{Held: h9, Heard: from(h9, false)}, newest: h9}
	if got := f.replica(); got.state != api.StateCurrent {
		t.Errorf("without a node nothing is said of who is there: %+v", got)
	}
}

// TestOwnState is about every state of a location of this device whose index is there.
func TestOwnState(t *testing.T) {
	held := &syncer.Situation{Held: aHead(1, 9, 1)}
	retired := func(r index.RetiredState) *syncer.Situation {
		return &syncer.Situation{Held: aHead(1, 9, 1), Retired: r}
	}
	scanned := store.ScanState{State: api.StateCurrent}
	for name, c := range map[string]struct {
		f            facts
		want, detail string
	}{
		"never scanned":      {facts{sit: held, root: "/a", scan: store.ScanState{State: api.StateNever}}, api.StateNever, ""},
		"scanned":            {facts{sit: held, root: "/a", scan: scanned}, api.StateCurrent, ""},
		"scanning":           {facts{sit: held, root: "/a", scan: scanned, scanning: true}, api.StateScanning, ""},
		"volume away":        {facts{sit: held, root: "/a", scan: store.ScanState{State: api.StateAway, Detail: "gone"}}, api.StateAway, "gone"},
		"unreadable":         {facts{sit: held, root: "/a", scan: store.ScanState{State: api.StateUnreadable, Detail: "closed"}}, api.StateUnreadable, "closed"},
		"the last failed":    {facts{sit: held, root: "/a", scan: scanned, scanFailed: lastScanFailed + "full"}, api.StateCurrent, lastScanFailed + "full"},
		"failed, scanning":   {facts{sit: held, root: "/a", scan: scanned, scanFailed: lastScanFailed, scanning: true}, api.StateScanning, lastScanFailed},
		"retired":            {facts{sit: retired(index.Retired), root: "/a", scan: scanned, scanning: true}, api.StateRetired, ""},
		"archived":           {facts{sit: retired(index.Archived), root: "/a", scan: scanned}, api.StateArchived, "not scanned any more, kept as it was"},
		"fed":                {facts{sit: held, scan: store.ScanState{State: api.StateNever}}, api.StateCurrent, "fed by an application"},
		"fed with nothing":   {facts{sit: &syncer.Situation{Held: aHead(1, 1, 0)}, scan: store.ScanState{State: api.StateNever}}, api.StateNever, "fed by an application"},
		"fed at this moment": {facts{sit: held, scanning: true}, api.StateScanning, "fed by an application"},
	} {
		if got := c.f.own(); got.state != c.want || got.detail != c.detail {
			t.Errorf("%s: %+v, want %q, %q", name, got, c.want, c.detail)
		}
	}
}

// TestSpeed follows a transfer that slows down, stands still, and begins anew.
func TestSpeed(t *testing.T) {
	var s speed
	now := time.Unix(0, 0)
	at := func(after time.Duration, done, bytes int64) Progress {
		now = now.Add(after)
		p := Progress{Phase: api.PhaseFetch, Strategy: api.StrategyBatchFull, DoneEntries: done, TotalEntries: 10_000, DoneBytes: bytes}
		s.measure(&p, now)
		return p
	}
	if p := at(0, 2000, 0); p.EntriesPerSecond != 0 || p.ETA != 0 { // resumed
		t.Errorf("at first: %+v", p)
	}
	if p := at(time.Second, 3000, 5000); p.EntriesPerSecond != 1000 || p.BytesPerSecond != 5000 || p.ETA != 7*time.Second || p.Percent() != 30 {
		t.Errorf("after 1 s: %+v", p)
	}
	for range 20 {
		at(time.Second, 4000, 5000)
	}
	if p := at(time.Second, 4000, 5000); p.EntriesPerSecond != 0 || p.ETA != 0 {
		t.Errorf("standing still: %+v", p)
	}
	if p := at(time.Second, 100, 10); p.EntriesPerSecond != 0 {
		t.Errorf("begun anew: %+v", p)
	}
	if p := at(2*time.Second, 300, 10); p.EntriesPerSecond != 100 || len(s.seen) != 2 {
		t.Errorf("going on: %+v", p)
	}
	snap := Progress{Phase: api.PhaseFetch, Strategy: api.StrategyNative, TotalBytes: 1000, TotalEntries: 10}
	var b speed
	b.measure(&snap, now)
	snap.DoneBytes = 250
	if b.measure(&snap, now.Add(time.Second)); snap.ETA != 3*time.Second || snap.Percent() != 25 {
		t.Errorf("in bytes: %+v", snap)
	}
	if p := (Progress{DoneEntries: 4}); p.Percent() != -1 {
		t.Errorf("unknown total: %d %%", p.Percent())
	}
	if p := (Progress{DoneEntries: 4, TotalEntries: 3}); p.Percent() != 100 {
		t.Errorf("more than all: %d %%", p.Percent())
	}
}
