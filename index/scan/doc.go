// Package scan walks a folder and says how it differs from what a store knows of it.
//
// A [Scan] is made with [New] and used once: [Scan.Changes] yields the rows that are new or differ, and when it has
// ended without an error, [Scan.Result] tells what is missing, what could not be read, and how much was seen. The
// package decides nothing about deletions: it reports entries that are gone, and the caller deletes them, or waits
// for a second scan that agrees.
//
// # An error is never a deletion
//
// An entry is reported missing only if the folder that holds it was read to its end without it. Whatever can't be
// read (permissions, I/O errors, names beyond our limits, a listing cut short) is listed in [Result].Unreadable, and
// every row that the store has below it stays. If the root itself is missing, unreadable, no folder, or empty while
// the store holds entries, the scan ends with a typed error before the first change. If the root goes away during
// the walk, the scan ends with an error and reports nothing as missing.
//
// # What is walked
//
// Symbolic links are recorded and never followed; since Linux 5.6 not even when a folder on the way is replaced by one
// during the walk. Files, FIFOs and devices are never opened. Other filesystems are not entered: a mount point is
// recorded as a folder, and rows below it stay. Names are the bytes that the kernel returns.
//
// # Order and ids
//
// Folders are handled breadth-first, and the entries of a folder in order of their raw names. New entries get ids
// densely in the order they are yielded, so the children of a new folder have consecutive ids, parents come before
// children, and a first scan appends to an index over (parent, name) almost in order. An entry known by (parent,
// name) keeps its id, also when a file becomes a folder. Only a folder that becomes something else is a deletion with
// a replacement, because rows may live below it.
//
// # How it runs
//
// Goroutines list folders ahead of the one that iterates, in the same order, until about 4 MiB of listings wait. The
// iterating goroutine compares each listing with what the store knows, and lists folders itself when none is ready.
// Memory depends on the number of folders that wait for their turn (about 100 bytes each) and on the largest folder
// (about 100 bytes for each entry in it), not on the number of files.
package scan
