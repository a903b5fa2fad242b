// Command bench measures peerdex from outside, by the exported functions that programs use. Each subcommand prints a
// table, or with -json one JSON object.
//
//	go run ./test/bench store [-entries N] [-paths FILE] [-seed N] [-runs N] [-dir DIR] [-json]
//
// Entries are those of package entryset: generated, the same for each seed, or with -paths made of a list of real
// paths, one a line. Names that end in _seconds are medians, those in _ratio are medians in units of the floor.
//
// # store
//
// One location with N entries is committed, exported, imported, changed, searched and listed, all in one process and
// without a network. Without -entries there are 1,000,000, or all that the list of -paths names. Everything lies in a
// folder below -dir, by default that for temporary files; what lies in memory there, such as a tmpfs, makes commits look
// better than they are.
//
// The floor is what SQLite alone takes for the same rows with nothing safe about it: INSERT..SELECT from the location's
// file, warm, into a fresh file, and both CREATE INDEX, without a journal, without syncing, with 64 MiB of cache. It is
// run before each run of commit, export and import, and the ratios are to the median of all of them.
//
//	entries               without the root
//	floor_seconds
//	commit_ratio          all entries in id order into a new location on the disk, with indexes, tree and signed heads
//	export_native_ratio   a snapshot of a location just opened; nothing of it is cached but by the operating system
//	export_compact_ratio
//	import_native_ratio   from a snapshot's file, synced, to a replica that is proved and in place
//	import_compact_ratio
//	delta_10k_seconds     10,000 changes scattered over the location, committed before: from asking for the first of the
//	                      pages of 1,000 to a replica with the owner's root. Small sets have fewer: delta_changes
//	one_change_seconds    one new size and time, committed and synced; of 40 such changes a run
//	search_seconds        all hits of a word that no name holds, or of one that about 1,000 do, warm; the slower
//	list_seconds          the folder whose entries are nearest to 1,000 in number (list_entries), by its path, warm
//	bytes_per_entry       of the location's file after the first commit, with both indexes and the tree
//	peak_rss_bytes        the most memory that another process held which did the commit, both exports and imports, and
//	                      the delta, for owner and replica; it reads its entries from a file. 0 where there is no /proc
//	verified              replica and owner stand at one head at the end, and their rows are equal, compared by SQL
//
// Further fields describe the set (zstd_ratio is the size of the compact snapshot after zstd in units of that before),
// the machine, and each work: what was done, how often, the fastest and slowest run, and its processor time, whose ratio to
// that of the floor says more than the others when the machine is busy with something else. Rows come to a commit from a
// file that the system has in memory; stream_seconds is what reading it alone takes, and part of the commit's time.
package main
