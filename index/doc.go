// Package index holds the words that every other part of peerdex shares: devices, locations, entries, epochs, seqs
// and heads, with their canonical bytes and signatures. It does no I/O and imports the standard library only, so
// that the store and the protocols can both build on it without knowing each other.
//
// # The words
//
// A library is a private group of devices. A device is a raw 32-byte Ed25519 key ([DeviceID]). A device owns
// locations: folder trees that it indexes, or trees that an embedding application feeds. A location is named by the
// pair (owner, random ID) everywhere ([Location]). It holds entries ([Entry]): files, folders, symlinks and other
// nodes. The owner is the only writer of its locations; all other devices hold replicas.
//
// Every changed row, every run of dead ids ([DeadRun]) and every change of the location's record ([Record]) takes
// the next seq of the location. Seqs are never reused, and compare only within one [Epoch]. The owner states what
// its location holds by signing a [Head]; a replica moves from signed head to signed head and shows nothing else.
//
// # Canonical bytes
//
// What is hashed or signed has exactly one encoding, described with each Append function: integers are fixed-width
// and big-endian, byte strings carry a uvarint length, and optional values carry a presence byte, so that NULL and
// the empty string differ. Signatures are over a domain string, a zero byte, and the canonical bytes.
//
// # Moving an index
//
// [Token] is the resume token of a transfer: the rule that lets the pages of one transfer come from providers that
// stand at different heads, and still end exactly at a signed head.
//
// All types are plain values: safe to copy, and safe for concurrent use as long as nobody writes to them.
package index
