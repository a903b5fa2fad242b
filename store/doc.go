// Package store keeps locations on disk: those this device owns and the replicas of others' locations.
//
//	DATA/  lock · identity.key · node.db · locations/<owner>-<location>.<generation>.db · staging/ · cache.db
//
// There is one SQLite file per location, so that no two locations share a write lock, removing a device is deleting
// files, and damage stays local. node.db is small and holds what is not a location's: membership, which file of a
// location is in use, heads heard, policies. What this device holds of a location is read from its file alone.
//
// # Own locations
//
// [Store.Commit] takes changes in a stream and commits them in chunks. Each chunk is one transaction of rows, dead
// runs, counters and the head, signed with the device's key ([Store.Identity]); whoever reads the file at any
// moment sees rows that are under a signed head. If the file is lost, [Store.TakeBack] brings the location back from a
// device that holds a replica, and [Store.Renew] begins it anew; both under a new epoch.
//
// # Replicas
//
// A replica moves from head to head. [Store.Intake] takes the pages of a transfer, keeps what a restart needs in
// staging/, and puts all of it in place at once: a delta in one transaction, a first sync as a new generation of the
// file. Generation numbers are never reused, and a file is never renamed over one that may be open. [Store.Prune] forgets
// old deletions, of own locations too.
//
// # Snapshots
//
// [Store.Export] makes an SQLite file of a location at its head, [Compact] or [Native], for any number of takers.
// [Store.Import] and [Store.ImportFile] prove such a file right and make it the replica. A file from another device is
// trusted in nothing: its schema must be ours to the byte, and its rows those under the signed head.
//
// # Damage
//
// [Store.CheckLocation] reads a file and compares it with what its owner signed. [Store.Quarantine] sets a damaged one aside:
// whoever asks for the location gets a [*QuarantineError] until another file is in its place. [Store.OnDamage] tells of
// damage that was met on the way. [Store.Files] says what is known of each file without looking into it.
//
// # Answers
//
// [Store.KeepAnswer] remembers what other devices answered about locations of which there is no replica, within bounds, in
// cache.db. It may be lost at any time, and is when it is damaged.
//
// # Reading
//
// [Store.Page] serves transfers, [Store.List], [Store.Get] and [Store.Search] serve people. Every answer of a location is
// of one state and comes with its head; a search that reads with several connections makes sure that they see the same.
// [Store.Check] checks everything that can be checked.
//
// A Store is safe for concurrent use. One process may open a data folder for writing ([Open]); any number may read
// it ([OpenReadOnly]). Errors wrap the sentinels of this package; nothing is lost when one is returned, since every
// change is a transaction.
package store
