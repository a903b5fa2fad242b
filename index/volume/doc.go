// Package volume says which filesystem a folder lies on, and where in it, in a way that means the same on every device:
// the UUID of a local filesystem, or the host and name of a network share, with the path inside of it. So the owner of a
// location can say in its record which folder it is, and another device that sees the same disk or share can tell.
//
// [Of] reads that from the system, on Linux; elsewhere it knows nothing, which is no error. [Compare] says what two places
// tell of each other. It is evidence and no proof: a disk that was copied bit by bit has the UUID of the first.
//
// Nothing is mounted, scanned or opened but the folder itself and what the system says of its mounts.
package volume
