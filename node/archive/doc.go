// Package archive writes and reads the file that `peerdex export` makes: the index of one or more locations, to be
// carried to another device by hand. It moves bytes and checks their form and signatures; whether an owner belongs to
// the library, and whether a snapshot holds what its head says, is for others to find out.
//
// # Format 1
//
// The file is a tar archive compressed with Zstandard (RFC 8878), so `tar --zstd -x` unpacks it, and each location in it
// is a database that sqlite3 opens. It is written and read front to back, in one pass. Its members, in this order:
//
//	manifest.json     what follows
//	location-1.head   the owner's signed head of the first location, and its record
//	location-1.db     a compact snapshot of that location at that head: an SQLite file
//	location-2.head   and so on, as many as the manifest lists, in the order of its list
//	location-2.db
//
// manifest.json is one JSON object of at most 1 MiB:
//
//	{"format":1,"library":"<64 hex digits>","locations":["<owner, 64 hex digits>-<id, 32 hex digits>", …]}
//
// with 1 to 4,096 different locations. A reader that finds a higher format refuses the file; any other field is an error.
//
// location-N.head is the canonical form of the signed head ([index.SignedHead.MarshalBinary], of fixed size), followed by
// the canonical form of the record that the head covers ([index.Record.MarshalBinary]).
//
// The tar headers are those of GNU tar and hold nothing but name, size, type '0', mode 0600 and zeros, so that name and
// size give every byte of them; a reader compares them and never uses a name as a path. What fills a member up to a
// multiple of 512 bytes is zero, and the archive ends with 1,024 zero bytes.
//
// The compressed stream is a sequence of frames, each with a checksum, without a dictionary, with a window of at most
// 8 MiB: one frame with the manifest, one for each location with its two members, and one with the zeros of the end.
// Nothing may stand between them or after the last. So a reader can step over a location without unpacking it, and one
// damaged location does not keep it from the next.
package archive
