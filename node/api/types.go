package api

import (
	"context"
	"io"
	"iter"
	"time"

	"github.com/peerdex/peerdex/index"
)

// Version is the version of the API and of the JSON envelope of the command line.
const Version = 1

// Status is one screen about this device.
type Status struct {
	Device    Device      `json:"device"`
	Library   string      `json:"library"` // hex
	Running   bool        `json:"running"` // false when read without a daemon
	Reach     string      `json:"reach"`   // "lan" or "loopback"
	Version   string      `json:"version"`
	PID       int         `json:"pid,omitempty"`
	Addresses []string    `json:"addresses,omitempty"` // multiaddrs this device listens on
	Devices   []Device    `json:"devices"`             // the others
	Locations []Location  `json:"locations"`
	Transfers []Progress  `json:"transfers,omitempty"`
	Traffic   Traffic     `json:"traffic"`
	Process   ProcessInfo `json:"process"`
	Notes     []string    `json:"notes,omitempty"` // what a user should know, in plain words
}

// Traffic counts bytes of peerdex's own protocols since the node started.
type Traffic struct {
	BytesIn  int64 `json:"bytes_in"`
	BytesOut int64 `json:"bytes_out"`
}

// ProcessInfo says what the node costs.
type ProcessInfo struct {
	PeakRSSBytes int64 `json:"peak_rss_bytes"` // 0 when the system doesn't tell
}

// Device is a member of the library.
type Device struct {
	ID        index.DeviceID `json:"id"`
	PeerID    string         `json:"peer_id"` // the same key as libp2p spells it
	Short     string         `json:"short"`
	Name      string         `json:"name"`
	Self      bool           `json:"self"`
	Connected bool           `json:"connected"`
	Address   string         `json:"address,omitempty"`    // multiaddr of the connection, or the last good one
	LastSeen  time.Time      `json:"last_seen,omitzero"`   // end of the last connection, or now
	LastError string         `json:"last_error,omitempty"` // of the last attempt to connect, while not connected
}

// States of a location, as [Location].State says them.
const (
	StateCurrent    = "current"      // own: scanned; replica: at the newest head heard, and its owner is connected
	StateScanning   = "scanning"     // own: a scan is under way
	StateNever      = "never"        // own: not scanned yet; replica: nothing received yet
	StateAway       = "volume away"  // own: the root is missing or empty; rows are kept
	StateSyncing    = "syncing"      // replica: a transfer is under way; own: its lost index is taken back
	StateBehind     = "behind"       // replica: a newer head is known; see Location.Behind
	StateRetired    = "retired"      // removed by its owner
	StateArchived   = "archived"     // removed by its owner, kept as it was
	StateFrozen     = "frozen"       // the owner signed two heads that cannot both be true
	StateUnreadable = "unreadable"   // own: the root can't be read; rows are kept
	StateLazy       = "lazy"         // replica: asked for on demand; one from before may be kept
	StateOff        = "off"          // replica: switched off by policy; one from before may be kept
	StateOwnerAway  = "owner away"   // replica: at the newest head heard, but its owner is not connected and may have a newer one
	StateSame       = "same as here" // replica: not fetched, since it is a folder that this device indexes itself
	StateLost       = "lost"         // own: its index on this device is gone or damaged; no file in the folder is concerned

	// StateQuarantined says that the file of the location on this device is damaged: nothing of it is used, and it is
	// replaced as soon as that is possible. Or, with entries, that nobody serves its newest state as its owner signed it.
	StateQuarantined = "quarantined"
)

// Location is a folder tree of one device.
type Location struct {
	Owner            index.DeviceID   `json:"owner"`
	ID               index.LocationID `json:"id"`
	Device           string           `json:"device"` // name of the owner
	Own              bool             `json:"own"`
	Name             string           `json:"name"`
	Root             string           `json:"root"` // "" when fed by an application
	State            string           `json:"state"`
	Detail           string           `json:"detail,omitempty"` // why, in plain words
	Entries          int64            `json:"entries"`          // the root included
	AsOf             time.Time        `json:"as_of,omitzero"`   // zero: never known true yet
	Epoch            string           `json:"epoch,omitempty"`
	Seq              int64            `json:"seq"`
	HeardSeq         int64            `json:"heard_seq,omitempty"`        // of the newest head heard, when above Seq
	Behind           int64            `json:"behind,omitempty"`           // replica: changes missing at most; 0 = none, or not known
	Transfer         *Progress        `json:"transfer,omitempty"`         // of what moves now
	Unreadable       int64            `json:"unreadable,omitempty"`       // own: folders whose rows were kept since they could not be read
	UnreadablePaths  []string         `json:"unreadable_paths,omitempty"` // the first few, relative to the root
	Policy           string           `json:"policy,omitempty"`           // not own: "auto", "full", "lazy" or "off"
	HeldDeletions    int64            `json:"held_deletions,omitempty"`   // own: entries that wait for a second scan before they are deleted
	LastScan         time.Time        `json:"last_scan,omitzero"`
	Checked          time.Time        `json:"checked,omitzero"`             // last time all of its file here was read and found good; zero: not yet
	LastScanDuration time.Duration    `json:"last_scan_duration,omitempty"` // ns
}

// Ref returns the location's name in the whole library.
func (l *Location) Ref() index.Location { return index.Location{Owner: l.Owner, ID: l.ID} }

// Newest reports whether this device holds the newest state of a replica that any device told of, whether its owner is
// connected or not.
func (l *Location) Newest() bool { return l.State == StateCurrent || l.State == StateOwnerAway }

// Query is a search. Text holds words and operators ("report ext:pdf size:>1M"); the other fields say the same as
// operators and are joined to it by AND.
type Query struct {
	Text     string   `json:"q"`
	Ext      []string `json:"ext,omitempty"`
	Kind     []string `json:"kind,omitempty"`
	Location []string `json:"location,omitempty"` // names of locations
	Modified []string `json:"modified,omitempty"`
	Name     []string `json:"name,omitempty"`
	On       []string `json:"on,omitempty"` // device names
	Path     []string `json:"path,omitempty"`
	Size     []string `json:"size,omitempty"`
	Type     []string `json:"type,omitempty"`
	// Sort is "name", "size" or "modified", with a "-" behind it the other way round. "" is location by location: own
	// ones first, then by device; in each by entry ID, which is about the order in which entries were first seen. So are
	// entries that are equal in what they are sorted by.
	Sort  string `json:"sort,omitempty"`
	After string `json:"after,omitempty"` // the Next of a hit: go on behind it
	Limit int    `json:"limit,omitempty"` // 0 = no limit
}

// Hit is one entry found or listed.
type Hit struct {
	Device   string           `json:"device"`
	Path     string           `json:"path"` // absolute on its device; raw bytes, may be invalid UTF-8
	Kind     index.Kind       `json:"kind"`
	Size     int64            `json:"size"`
	Modified time.Time        `json:"modified"`
	Mode     uint32           `json:"mode"`
	Owner    index.DeviceID   `json:"owner"`
	Location index.LocationID `json:"location"`
	EntryID  int64            `json:"entry_id"`
	AsOf     time.Time        `json:"as_of,omitzero"`
	Via      *Via             `json:"via,omitempty"` // who answered on demand; nil: this device holds the location
	// Next is set by a search, on the hit with which its limit was reached: the After of a query that goes on.
	Next string `json:"next,omitempty"`
}

// EntryRequest asks for one entry: by device and path, or by its name in the whole library.
type EntryRequest struct {
	Device string `json:"device,omitempty"` // name, unique prefix of a name or of an id
	Path   string `json:"path,omitempty"`   // absolute on the device

	Owner    index.DeviceID   `json:"owner,omitzero"`
	Location index.LocationID `json:"location,omitzero"`
	EntryID  int64            `json:"entry_id,omitempty"` // 0 = by device and path
}

// Entry is all that is known of one entry.
type Entry struct {
	Hit          Hit    `json:"hit"`
	LocationName string `json:"location_name"`
	Children     int64  `json:"children,omitempty"` // entries in a folder, not counting those further below
	Hash         []byte `json:"hash,omitempty"`     // of its content, when known
	Attrs        []byte `json:"attrs,omitempty"`    // of the application that feeds the location
	Seq          int64  `json:"seq"`                // of its last change
}

// ListRequest asks for the entries of one folder.
type ListRequest struct {
	Device string `json:"device"`          // name, unique prefix of a name or of an id
	Path   string `json:"path"`            // absolute on the device; "" or "/" lists its locations
	After  string `json:"after,omitempty"` // name after which the page starts, or the Next of the page before
	Limit  int    `json:"limit,omitempty"` // 0 = 1000
}

// Listing is one page of a folder, in order of raw names.
type Listing struct {
	Device  string    `json:"device"`
	Path    string    `json:"path"`
	AsOf    time.Time `json:"as_of,omitzero"`
	Via     *Via      `json:"via,omitempty"` // who answered on demand; nil: this device holds the location
	Entries []Hit     `json:"entries"`
	Next    string    `json:"next,omitempty"` // the After of the next page; "" at the end
}

// AddRequest adds a location.
type AddRequest struct {
	Path string `json:"path"`           // absolute
	Name string `json:"name,omitempty"` // "" = the folder's own name
}

// RemoveRequest removes a location of this device.
type RemoveRequest struct {
	Location string `json:"location"` // name, path or id
	Keep     bool   `json:"keep"`     // archived: replicas are kept
}

// ScanRequest scans now.
type ScanRequest struct {
	Location string `json:"location,omitempty"` // name, path or id; "" = all
}

// ScanResult is what a scan found.
type ScanResult struct {
	Location      Location      `json:"location"`
	Files         int64         `json:"files"`   // entries seen that are not folders
	Folders       int64         `json:"folders"` // folders seen, the root included
	Changed       int64         `json:"changed"` // rows committed
	Deleted       int64         `json:"deleted"` // ids declared dead
	HeldDeletions int64         `json:"held_deletions,omitempty"`
	Unreadable    int64         `json:"unreadable,omitempty"`
	Duration      time.Duration `json:"duration"` // ns
}

// CheckRequest checks what the device holds, own locations and replicas.
type CheckRequest struct {
	Location string `json:"location,omitempty"` // name, path or id, or DEVICE:NAME; "" = all
	Deep     bool   `json:"deep,omitempty"`     // read and hash every row, and compare the indexes with the rows
	Repair   bool   `json:"repair,omitempty"`   // take damaged or lost own indexes back, or begin them anew, and wait
}

// CheckResult is what the check of one location found.
type CheckResult struct {
	Location Location      `json:"location"` // as far as it can be read; of its states only "quarantined" is told
	OK       bool          `json:"ok"`
	Problems []string      `json:"problems"` // what is wrong, empty when OK
	Hint     string        `json:"hint,omitempty"`
	Repaired bool          `json:"repaired,omitempty"` // own: taken back or begun anew, and scanned
	Duration time.Duration `json:"duration"`           // ns
}

// Invite is an open pairing window.
type Invite struct {
	ID      string    `json:"id"`
	Ticket  string    `json:"ticket"`
	Expires time.Time `json:"expires"`
}

// InviteOutcome says how an invite ended.
type InviteOutcome struct {
	Joined bool   `json:"joined"`
	Device Device `json:"device,omitzero"`
	Reason string `json:"reason,omitempty"` // when not joined: "expired", "cancelled", "too many tries"
}

// JoinRequest joins the library of the device that made the ticket.
type JoinRequest struct {
	Ticket string `json:"ticket"`
}

// JoinResult says which library this device is in now.
type JoinResult struct {
	Inviter Device   `json:"inviter"`
	Devices []Device `json:"devices"` // all members
}

// Phases of a [Progress].
const (
	PhaseScan   = "scan"   // walking and committing an own location
	PhaseFetch  = "fetch"  // receiving rows
	PhaseProve  = "prove"  // comparing a snapshot with what its owner signed, and putting it in place
	PhaseApply  = "apply"  // putting what was received in place
	PhaseImport = "import" // taking a location from an exported file
)

// Strategies of transfers, as a [Progress] names them.
const (
	StrategyBatchFull  = "batch-full"   // all entries in frames of rows
	StrategyChange     = "state-change" // a few changes, of which the push was missed
	StrategyBatchDelta = "batch-delta"  // what changed, in frames of rows
	StrategyCompact    = "compact"      // all entries as a file without indexes
	StrategyNative     = "native"       // all entries as a file with indexes and hash tree
)

// Progress is the state of a scan or of a transfer.
type Progress struct {
	Location     index.Location `json:"location"`
	Name         string         `json:"name"`   // of the location
	Device       string         `json:"device"` // its owner
	Phase        string         `json:"phase"`
	Strategy     string         `json:"strategy,omitempty"`
	Provider     string         `json:"provider,omitempty"` // device that serves it
	DoneEntries  int64          `json:"done_entries"`
	TotalEntries int64          `json:"total_entries"` // 0 = not known
	DoneBytes    int64          `json:"done_bytes"`    // on the wire; of a snapshot, which has TotalBytes, of its file
	TotalBytes   int64          `json:"total_bytes"`   // 0 = not known
	Finished     bool           `json:"finished,omitempty"`
	Error        string         `json:"error,omitempty"`
	Elapsed      time.Duration  `json:"elapsed"` // ns

	EntriesPerSecond float64       `json:"entries_per_second,omitempty"` // lately
	BytesPerSecond   float64       `json:"bytes_per_second,omitempty"`   // lately
	ETA              time.Duration `json:"eta,omitempty"`                // ns until this phase is done; 0 = not known
}

// Types of an [Event].
const (
	EventBulkIndexComplete = "index.complete"      // data: Location; an own commit of any size ended
	EventLocationUpdated   = "location.updated"    // data: Location; a replica reached a head, or a state changed
	EventLocationRemoved   = "location.removed"    // data: Location
	EventLocationLost      = "location.lost"       // data: Location; the index of an own location is gone or damaged
	EventLocationTakenBack = "location.taken_back" // data: Location; an own one's index came back from another device
	EventLocationChecked   = "location.checked"    // data: Location; all of its file was read and found good

	// EventLocationQuarantined says that the file of a location was found damaged. Data: Location.
	EventLocationQuarantined = "location.quarantined"

	EventScanProgress       = "scan.progress"       // data: Progress, at most 10 a second
	EventTransferProgress   = "transfer.progress"   // data: Progress, at most 10 a second
	EventDeviceConnected    = "device.connected"    // data: Device
	EventDeviceDisconnected = "device.disconnected" // data: Device
	EventDeviceJoined       = "device.joined"       // data: Device; a new member is known
	EventReset              = "reset"               // events were lost: ask for the state anew
)

// Event is something that happened, in order of ID, which rises by one.
type Event struct {
	ID       uint64    `json:"id"`
	Time     time.Time `json:"time"`
	Type     string    `json:"type"`
	Location *Location `json:"location,omitempty"`
	Device   *Device   `json:"device,omitempty"`
	Progress *Progress `json:"progress,omitempty"`
}

// Health says that a daemon answers, and which.
type Health struct {
	API     int       `json:"api"` // version of the API
	Version string    `json:"version"`
	PID     int       `json:"pid"`
	Dir     string    `json:"dir"` // its data folder
	Started time.Time `json:"started,omitzero"`
}

// Reader is what can be asked of a device's data, with or without a daemon.
type Reader interface {
	Status(ctx context.Context) (Status, error)
	Devices(ctx context.Context) ([]Device, error)
	Locations(ctx context.Context) ([]Location, error)
	Search(ctx context.Context, q Query) iter.Seq2[Hit, error]
	List(ctx context.Context, r ListRequest) (Listing, error)
	Entry(ctx context.Context, r EntryRequest) (Entry, error)
	Totals(ctx context.Context, r EntryRequest) (Totals, error)
	Transfers(ctx context.Context) (Transfers, error)
	Same(ctx context.Context) ([]Sameness, error)                     // what looks like one folder and is not answered yet, then what was answered
	Check(ctx context.Context, r CheckRequest) ([]CheckResult, error) // returns when done; damage is no error
	Export(ctx context.Context, r ExportRequest, w io.Writer) error   // writes a file as package archive describes it
}

// Backend is what the API serves: the node. The client implements it too, so that a program can speak to a node in
// its own process and to a daemon by the same calls.
type Backend interface {
	Reader
	AddLocation(ctx context.Context, r AddRequest) (Location, error)
	RemoveLocation(ctx context.Context, r RemoveRequest) (Location, error)
	Scan(ctx context.Context, r ScanRequest) ([]ScanResult, error) // returns when done
	Invite(ctx context.Context) (Invite, error)
	WaitInvite(ctx context.Context, id string) (InviteOutcome, error) // returns when joined, expired or cancelled
	CancelInvite(ctx context.Context, id string) error
	Join(ctx context.Context, r JoinRequest) (JoinResult, error)
	Policy(ctx context.Context, r PolicyRequest) ([]PolicySetting, error)
	SyncCost(ctx context.Context, r SyncRequest) (SyncCost, error)
	Sync(ctx context.Context, r SyncRequest) (Location, error)                  // returns when done
	ControlTransfers(ctx context.Context, r TransferRequest) (Transfers, error) // returns when what it stops has stopped
	SetSame(ctx context.Context, r SameRequest) (Sameness, error)
	Events(ctx context.Context) iter.Seq2[Event, error]            // from now on, until ctx ends
	Import(ctx context.Context, r io.Reader) (ImportResult, error) // takes a file that Export wrote; what it refuses is no error
}

// Error is an error that crosses the API: what happened, in words for people, and a code for programs.
type Error struct {
	Code   Code   `json:"code"`
	Title  string `json:"title"`            // what happened
	Detail string `json:"detail,omitempty"` // why, probably
	Hint   string `json:"hint,omitempty"`   // what to type next
}

// Error returns title and detail in one line.
func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Title
	}
	return e.Title + ": " + e.Detail
}

// Code is the kind of an [Error]; it decides HTTP status and exit code.
type Code string

// The codes.
const (
	CodeNotFound    Code = "not_found"   // exit 1, 404
	CodeUsage       Code = "usage"       // exit 2, 400: what was asked makes no sense
	CodeFailed      Code = "failed"      // exit 3, 500
	CodeNoDaemon    Code = "no_daemon"   // exit 4
	CodeRunning     Code = "running"     // exit 5: another daemon holds the data
	CodeDenied      Code = "denied"      // exit 6, 403: not paired, or the other side refused
	CodeConflict    Code = "conflict"    // exit 2, 409: exists already, or inside another
	CodeUnavailable Code = "unavailable" // exit 3, 503: try again later
	CodeIncomplete  Code = "incomplete"  // exit 3, 503: at the end of a search: what was found is not all, since not all could be searched
)
