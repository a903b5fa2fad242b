package node

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/libp2p/go-libp2p"

	"github.com/peerdex/peerdex/discovery"
	"github.com/peerdex/peerdex/index/membership"
	"github.com/peerdex/peerdex/node/api"
	"github.com/peerdex/peerdex/node/syncer"
	"github.com/peerdex/peerdex/protocols/wire"
)

// The types of the node's methods are those of its API, so that a program in process and one that speaks HTTP see the
// same.
type (
	// Status is one screen about this device.
	Status = api.Status
	// Device is a member of the library.
	Device = api.Device
	// Location is a folder tree of one device.
	Location = api.Location
	// Query is a search.
	Query = api.Query
	// Hit is one entry found or listed.
	Hit = api.Hit
	// EntryRequest asks for one entry.
	EntryRequest = api.EntryRequest
	// Entry is all that is known of one entry.
	Entry = api.Entry
	// ListRequest asks for the entries of one folder.
	ListRequest = api.ListRequest
	// Listing is one page of a folder.
	Listing = api.Listing
	// AddRequest adds a location.
	AddRequest = api.AddRequest
	// RemoveRequest removes a location.
	RemoveRequest = api.RemoveRequest
	// CheckRequest checks what the device holds.
	CheckRequest = api.CheckRequest
	// CheckResult is what the check of one location found.
	CheckResult = api.CheckResult
	// ExportRequest asks for a location, or all of a device, as a file.
	ExportRequest = api.ExportRequest
	// ImportResult is what became of a file.
	ImportResult = api.ImportResult
	// ImportedLocation is what became of one location of a file.
	ImportedLocation = api.ImportedLocation
	// ScanRequest scans now.
	ScanRequest = api.ScanRequest
	// ScanResult is what a scan found.
	ScanResult = api.ScanResult
	// Invite is an open pairing window.
	Invite = api.Invite
	// InviteOutcome says how an invite ended.
	InviteOutcome = api.InviteOutcome
	// JoinRequest joins another device's library.
	JoinRequest = api.JoinRequest
	// JoinResult says which library this device is in now.
	JoinResult = api.JoinResult
	// Totals is what lies below a folder.
	Totals = api.Totals
	// Via says where an answer came from that was not read from a replica here.
	Via = api.Via
	// PolicyRequest shows or sets what is decided about replicas.
	PolicyRequest = api.PolicyRequest
	// PolicySetting is what counts for one location, or for a device.
	PolicySetting = api.PolicySetting
	// SyncRequest names a location to be fetched now.
	SyncRequest = api.SyncRequest
	// SyncCost is what that would cost.
	SyncCost = api.SyncCost
	// Transfers is the queue of transfers.
	Transfers = api.Transfers
	// Transfer is a location that is being fetched, or waits for it.
	Transfer = api.Transfer
	// TransferRequest pauses, resumes or cancels transfers.
	TransferRequest = api.TransferRequest
	// Sameness is about two locations that are one folder, or look so.
	Sameness = api.Sameness
	// SameRequest answers whether two locations are one folder.
	SameRequest = api.SameRequest
	// Progress is the state of a scan or a transfer.
	Progress = api.Progress
	// Event is something that happened.
	Event = api.Event
	// Error is an error for people.
	Error = api.Error
)

// Config says how a node works. The zero value of each field but Dir is its default. It is read once, by [Open].
type Config struct {
	// Dir is the data folder; it is made if it isn't there. Required.
	Dir string
	// DeviceName is what people call this device, used when the data folder is new; "" = the host's name.
	DeviceName string
	// Reach is how far to go to meet other devices: "lan" (default) or "loopback", which stays on this machine.
	Reach string
	// Listen are the multiaddrs to listen on; nil = by reach, on a port that is remembered.
	Listen []string
	// Peers are static addresses of devices, such as "/ip4/192.168.1.20/tcp/4001/p2p/12D3KooW…".
	Peers []string
	// NoMDNS turns off looking for devices on the local network.
	NoMDNS bool
	// MDNSInterfaces are the names of the network interfaces to look on; nil = all.
	MDNSInterfaces []string
	// Metered says that the network is paid for by what it carries, as [Node.SetMetered] does.
	Metered bool
	// ScanEvery is the time between scans of a location; 0 = 1 h, negative = only when asked to.
	ScanEvery time.Duration
	// CheckEvery is the time after which the file of a location is read through again, to find damage, while nothing else
	// goes on; 0 = a week, negative = only when asked to, and where damage was met.
	CheckEvery time.Duration
	// ConfirmAfter is the time after which a scan that held back deletions is repeated; 0 = 1 min.
	ConfirmAfter time.Duration
	// InviteTTL is how long an invite stays open; 0 = 10 min.
	InviteTTL time.Duration
	// Libp2p are further options of the libp2p host, applied after the node's own, for programs that count or change what
	// it does. A gater can't be among them. That the host still keeps to Reach is up to who gives them.
	Libp2p []libp2p.Option
	// Strategy is how replicas are filled that have nothing to build on: "auto" (default) by what is the case, or always
	// "batch", "compact" or "native".
	Strategy string
	// SnapshotFrom is the number of entries from which a snapshot is taken with "auto"; 0 = 10,000.
	SnapshotFrom int64
	// LimitDown and LimitUp cap what all of peerdex's streams together receive and send, in bytes a second; 0 = not. The
	// lowest cap is 32 KiB/s.
	LimitDown, LimitUp int64
	// Logger takes what a person who looks for a fault would want; nil = nothing.
	Logger *slog.Logger
	// Version of the program, shown to people; "" = "dev".
	Version string
}

// withDefaults fills the zero fields and checks the others.
func (c Config) withDefaults() (Config, discovery.Reach, error) {
	fail := func(title, hint string, err error) (Config, discovery.Reach, error) {
		return c, 0, usage(title, err.Error(), hint)
	}
	if c.Dir == "" {
		return fail("no data folder given", "set Dir", os.ErrInvalid)
	}
	abs, err := filepath.Abs(c.Dir)
	if err != nil {
		return fail("the data folder can't be found", "give an absolute path", err)
	}
	c.Dir = abs
	reach, err := discovery.ParseReach(c.Reach)
	if err != nil {
		return fail("the reach is not known", `use "lan" or "loopback"`, err)
	}
	for _, p := range c.Peers {
		if _, err := discovery.ParsePeerAddr(p); err != nil {
			return fail("a static address can't be read", "write it as /ip4/192.168.1.20/tcp/4001/p2p/12D3KooW…", err)
		}
	}
	if _, ok := strategies[c.Strategy]; !ok {
		return fail("the strategy is not known", `use "auto", "batch", "compact" or "native"`, fmt.Errorf("%q: %w", c.Strategy, os.ErrInvalid))
	}
	if c.SnapshotFrom < 0 {
		return fail("the number of entries can't be used", "give 0 or more", fmt.Errorf("SnapshotFrom %d: %w", c.SnapshotFrom, os.ErrInvalid))
	}
	for _, limit := range []int64{c.LimitDown, c.LimitUp} {
		if limit != 0 && limit < wire.MinRate {
			return fail("the limit is too low", "give 32 kB/s or more, or none",
				fmt.Errorf("%d bytes a second, %d at least: %w", limit, wire.MinRate, os.ErrInvalid))
		}
	}
	if c.DeviceName == "" {
		c.DeviceName = hostName()
	}
	if err := membership.ValidName(c.DeviceName); err != nil {
		return fail("the device name can't be used", "choose 1 to 63 characters without slashes and colons", err)
	}
	if c.ScanEvery == 0 {
		c.ScanEvery = time.Hour
	}
	if c.ConfirmAfter == 0 {
		c.ConfirmAfter = time.Minute
	}
	if c.InviteTTL == 0 {
		c.InviteTTL = 10 * time.Minute
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Version == "" {
		c.Version = "dev"
	}
	return c, reach, nil
}

// strategies are the values of Config.Strategy.
var strategies = map[string]syncer.Strategy{
	"": "", "auto": "", "batch": syncer.BatchFull, "compact": syncer.Compact, "native": syncer.Native,
}

// rules are those of the planner.
func (c *Config) rules() syncer.Rules {
	return syncer.Rules{Always: strategies[c.Strategy], SnapshotFrom: c.SnapshotFrom}
}

// hostName is a device name from the host's, without its domain.
func hostName() string {
	name, _ := os.Hostname()
	name, _, _ = strings.Cut(name, ".")
	if membership.ValidName(name) != nil {
		return "device"
	}
	return name
}

// unique returns name, or name with the first number from 2 that is not taken.
func unique(name string, taken func(string) bool) string {
	for n, s := 2, name; ; n++ {
		if !taken(s) {
			return s
		}
		s = fmt.Sprintf("%s-%d", name, n)
	}
}
