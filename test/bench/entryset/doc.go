// Package entryset makes up the entries that benchmarks work on: as many as asked for, the same ones from the same
// seed, in any process.
//
// A [Set] is either generated ([Generate]) or takes its names from a list of real paths ([ReadPaths]). Its entries come
// in a stream, in the order in which a first scan gives ids: breadth-first, the entries of a folder together and by raw
// name. The root is not among them; ids begin at 2.
//
// # No easier than real ones
//
// A set that compresses or sorts better than a real disk would flatter whatever is measured with it. So:
//
//   - Names have 19 bytes and more in the mean, and entries lie about 7 deep, as on a disk with 1,000,000 files of
//     Debian packages. They are put together like those of photos, source code, documents, packages, manuals, music,
//     logs and caches, one sort a folder, from words, dates, numbers, versions and hashes; some are not ASCII.
//   - Folders are a tenth of all entries and differ in size as real ones do: most hold one to seven entries, few hold
//     hundreds. One at depth 6 holds exactly 1,000 (a twentieth of the set if that is less), for benchmarks of
//     listings.
//   - The sizes of files are log-uniform from 1 byte to 2^32, those of symlinks what a target would have.
//   - Times are random to the nanosecond, from the start of 2006 on and over 20 years: nothing in them compresses. On
//     real disks neighbours are often of one second.
//
// Paths of a list keep their names and their tree; sizes, times and modes are made up in the same way.
//
// # Moving a set
//
// [Save] writes a set to a file while it counts what is in it ([Facts]); [Load] streams it from there with a few
// kilobytes of memory. [Edits] are changes scattered over a location that holds a set.
//
// Nothing here is measured, so nothing of what is measured takes part: the package knows the words of package index and
// the standard library only.
package entryset
