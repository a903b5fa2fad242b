// Command bench measures peerdex from outside, by the exported functions that programs use. Each subcommand prints a
// table, or with -json one JSON object.
//
//	go run ./test/bench store [-entries N] [-paths FILE] [-seed N] [-runs N] [-dir DIR] [-json]
//	go run ./test/bench sync [-strategy S] [-changes N] [-entries N] [-paths FILE] [-seed N] [-runs N] [-commits N]
//	    [-dir DIR] [-json]
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
//
// # sync
//
// Two devices, each a node in a process of its own, sync a location over libp2p (TCP, TLS, yamux) on loopback. They were
// paired while there was nothing to sync. For each run the provider starts anew, so that no export of an earlier run is left,
// and so does a receiver on a new data folder. Then both are stopped, every row that the receiver holds is proved against
// what the owner signed (a deep check), and the rows of both files are compared by SQL that is not the store's; a run in
// which anything differs ends the program with an error.
//
// With -strategy auto the devices do what they would do anyway; other words tell them how:
//
//	auto, batch    all entries to an empty device, from the moment when the connection stands, on the receiver, until the
//	               replica is proved and in place. With -changes N: so many changes, scattered as for the store benchmark,
//	               to a replica that is in sync and connected, from the owner's call of Commit until the replica stands at
//	               its head; both processes read the clock of their one machine
//	compact, native  the same first sync by a snapshot of that kind. The provider makes it anew in each run
//	change         -changes N (1) to such a replica, -commits times (20) in each run, with a pause after each in which all else is said
//	               and the next notice of the location may go at once
//	reconcile      -changes N (100) to a replica whose owner made them and then began a new epoch while both were off, so
//	               that their hash trees are compared; from the moment when the connection stands
//	individual     the baseline, by default with 100,000 entries: every entry is a message of its own, a msgpack map of about
//	               240 bytes, and is committed by itself in plain SQLite (WAL, synchronous=NORMAL, the same table and
//	               indexes). The receiver acknowledges each by one byte before the next one is sent. Nothing is signed,
//	               hashed, compressed or checked but by comparing the rows
//
// Fields:
//
//	entries, strategy, changes
//	commits                   of so many changes, one after the other in each run
//	seconds                   of entries, or of the changes of one commit; p95_seconds: 95 of 100 took no longer
//	entries_per_second        or changes
//	wire_bytes_in, _out       at the receiver, of streams of peerdex's protocols: frames and the names of protocols, but not
//	                          what yamux, TLS and TCP add, nor what libp2p says for itself. All of the run; for changes,
//	                          from the call of Commit on; of all commits, with pauses and what is said in them
//	wire_bytes_per_entry      both, for each entry or change
//	provider_, receiver_peak_rss_bytes  of the process, from its beginning; 0 where there is no /proc
//	provider_, receiver_cpu_seconds     of all processors, from when the process was ready; for changes as with bytes
//	floor_seconds             the floor of the store benchmark, run before each sync, with all rows, for changes too
//	ratio_to_floor            of the medians; cpu_ratio_to_floor is both processes' processor time against the floor's
//	verified                  see above
//	used                      strategies of the transfers, as progress names them
//	reconnect_seconds, _wire_bytes  after a first sync, both started anew: from connected to the last byte of what they had
//	                          to say, and all bytes in both directions
package main
