package api_test

import (
	"context"
	"io"
	"iter"
	"sync"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/node/api"
)

// memory is a backend whose answers a test sets, and that remembers what it was asked. It stands in for a node only
// where the transport is what is tested.
type memory struct {
	mu     sync.Mutex
	asked  []any
	called chan struct{} // closed at the first call, when not nil
	err    error         // what every call returns, after hits were yielded
	hits   []api.Hit
	file   string // what Export writes before it returns err, if anything
	events chan api.Event
	ended  chan struct{} // closed when a stream or a wait saw its context end
}

func (m *memory) ask(v any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.asked = append(m.asked, v)
	if m.called != nil && len(m.asked) == 1 {
		close(m.called)
	}
	return m.err
}

var someSame = []api.Sameness{{Own: sampleLocation("/mnt/" + badName), Other: sampleLocation("/srv/" + badName), Evidence: api.EvidenceListing, Detail: "why"}}

func (m *memory) last() any {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.asked) == 0 {
		return nil
	}
	return m.asked[len(m.asked)-1]
}

var (
	nas      = api.Device{ID: index.DeviceID{1}, PeerID: "12D3", Short: "AAAA-AAAA", Name: "nas", Connected: true}
	laptop   = api.Device{ID: index.DeviceID{2}, PeerID: "12D4", Short: "BBBB-BBBB", Name: "laptop", Self: true}
	myStatus = api.Status{
		Device: laptop, Library: "abcd", Running: true, Reach: "loopback", Version: "v1", PID: 42, Addresses: []string{"/ip4/127.0.0.1/tcp/1"},
		Devices: []api.Device{nas}, Locations: []api.Location{sampleLocation("/tank/" + badName)}, Traffic: api.Traffic{BytesIn: 5, BytesOut: 6},
		Transfers: []api.Progress{{Location: index.Location{Owner: index.DeviceID{1}, ID: index.LocationID{2}}, Phase: api.PhaseFetch, DoneEntries: 3}},
		Notes:     []string{"all is well"},
	}
)

// someTransfers is a queue.
var someTransfers = api.Transfers{Paused: true, LimitDown: 1 << 20, Transfers: []api.Transfer{{
	Progress: api.Progress{Name: "photos", Phase: api.PhaseFetch, Strategy: api.StrategyNative, DoneBytes: 5, TotalBytes: 10, BytesPerSecond: 2.5, ETA: 2e9, Error: "cut"},
	State:    api.TransferWaiting, Seq: 7, Attempts: 2, NextTry: time.Date(2026, 2, 3, 4, 5, 6, 7, time.UTC),
}}}

func (m *memory) Transfers(context.Context) (api.Transfers, error) {
	return someTransfers, m.ask("transfers")
}

func (m *memory) ControlTransfers(_ context.Context, r api.TransferRequest) (api.Transfers, error) {
	return someTransfers, m.ask(r)
}

func (m *memory) Same(context.Context) ([]api.Sameness, error) { return someSame, m.ask("same") }

func (m *memory) SetSame(_ context.Context, r api.SameRequest) (api.Sameness, error) {
	return someSame[0], m.ask(r)
}

func (m *memory) Status(context.Context) (api.Status, error) { return myStatus, m.ask("status") }
func (m *memory) Devices(context.Context) ([]api.Device, error) {
	return myStatus.Devices, m.ask("devices")
}
func (m *memory) Locations(context.Context) ([]api.Location, error) {
	return myStatus.Locations, m.ask("locations")
}

func (m *memory) Search(ctx context.Context, q api.Query) iter.Seq2[api.Hit, error] {
	return func(yield func(api.Hit, error) bool) {
		err := m.ask(q)
		for _, h := range m.hits {
			if !yield(h, nil) {
				return
			}
		}
		if err != nil {
			yield(api.Hit{}, err)
		}
	}
}

func (m *memory) List(_ context.Context, r api.ListRequest) (api.Listing, error) {
	return api.Listing{Device: r.Device, Path: r.Path, Entries: m.hits, Next: r.After}, m.ask(r)
}

func (m *memory) Entry(_ context.Context, r api.EntryRequest) (api.Entry, error) {
	return api.Entry{Hit: sampleHit("/" + badName), LocationName: "docs", Hash: []byte{1}, Seq: 9}, m.ask(r)
}

func (m *memory) Totals(_ context.Context, r api.EntryRequest) (api.Totals, error) {
	return api.Totals{Hit: sampleHit("/" + badName), Entries: 3, Folders: 1, Bytes: 1 << 40}, m.ask(r)
}

var somePolicies = []api.PolicySetting{
	{Owner: nas.ID, Device: "nas", Policy: "auto"},
	{Owner: nas.ID, Location: index.LocationID{2}, Device: "nas", Name: "docs", Policy: "lazy", Set: true},
}

func (m *memory) Policy(_ context.Context, r api.PolicyRequest) ([]api.PolicySetting, error) {
	return somePolicies, m.ask(r)
}

func (m *memory) SyncCost(_ context.Context, r api.SyncRequest) (api.SyncCost, error) {
	return api.SyncCost{Location: sampleLocation(r.Location), Entries: 9, Bytes: 90, Duration: 5, Provider: "nas"}, m.ask(r)
}

func (m *memory) Sync(_ context.Context, r api.SyncRequest) (api.Location, error) {
	return sampleLocation(r.Location), m.ask("sync " + r.Location)
}

func (m *memory) AddLocation(_ context.Context, r api.AddRequest) (api.Location, error) {
	return sampleLocation(r.Path), m.ask(r)
}

func (m *memory) RemoveLocation(_ context.Context, r api.RemoveRequest) (api.Location, error) {
	return sampleLocation(r.Location), m.ask(r)
}

func (m *memory) Scan(_ context.Context, r api.ScanRequest) ([]api.ScanResult, error) {
	return []api.ScanResult{{Location: sampleLocation(r.Location), Files: 3}}, m.ask(r)
}

func (m *memory) Check(_ context.Context, r api.CheckRequest) ([]api.CheckResult, error) {
	return []api.CheckResult{{Location: sampleLocation(r.Location), Problems: []string{"a", "b"}, Hint: "c"}}, m.ask(r)
}

func (m *memory) Export(_ context.Context, r api.ExportRequest, w io.Writer) error {
	if m.file != "" {
		if _, err := io.WriteString(w, m.file); err != nil {
			return err
		}
	}
	return m.ask(r)
}

func (m *memory) Import(_ context.Context, r io.Reader) (api.ImportResult, error) {
	if m.err != nil {
		return api.ImportResult{}, m.ask("refused")
	}
	b, err := io.ReadAll(r)
	if err != nil {
		return api.ImportResult{}, err
	}
	return importOf(int64(len(b))), m.ask(string(b[:min(len(b), 100)]))
}

func importOf(size int64) api.ImportResult {
	return api.ImportResult{Bytes: size, Problem: &api.Error{Code: api.CodeFailed, Title: "cut"}, Locations: []api.ImportedLocation{
		{Location: sampleLocation("/mnt/" + badName), Outcome: api.ImportDone, Duration: 5},
		{Location: sampleLocation("/b"), Outcome: api.ImportRefused, Problem: &api.Error{Code: api.CodeDenied, Title: "no", Hint: "peerdex x"}},
	}}
}

func (m *memory) Invite(context.Context) (api.Invite, error) {
	return api.Invite{ID: "i/1", Ticket: "PDX:ABC"}, m.ask("invite")
}

func (m *memory) WaitInvite(ctx context.Context, id string) (api.InviteOutcome, error) {
	err := m.ask(id)
	if id == "forever" {
		<-ctx.Done()
		close(m.ended)
		return api.InviteOutcome{}, ctx.Err()
	}
	return api.InviteOutcome{Joined: true, Device: nas}, err
}

func (m *memory) CancelInvite(_ context.Context, id string) error { return m.ask("cancel " + id) }

func (m *memory) Join(_ context.Context, r api.JoinRequest) (api.JoinResult, error) {
	return api.JoinResult{Inviter: nas, Devices: []api.Device{nas, laptop}}, m.ask(r)
}

func (m *memory) Events(ctx context.Context) iter.Seq2[api.Event, error] {
	return func(yield func(api.Event, error) bool) {
		if err := m.ask("events"); err != nil {
			yield(api.Event{}, err)
			return
		}
		defer close(m.ended)
		for {
			select {
			case <-ctx.Done():
				return
			case e := <-m.events:
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}
