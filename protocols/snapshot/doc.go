// Package snapshot pulls a whole location as one file: the protocol [ID]. A [Server] answers from a [Source]; [Pull] is
// the other side, and hands the bytes of the file to a [Sink], in order. This package moves bytes, whatever they are; who
// receives them proves them against the owner's signed head, which comes before them. Pages of rows as SQLite writes them
// go by columns, which halves what goes over the wire, and come out as they were.
//
// A stream carries one request. The provider answers with the head at which the file stands, the file's ID and size,
// and its bytes in frames of equal parts, each packed by itself. A transfer that broke off goes on from its offset, as
// long as a provider has the file of that ID; one that has not offers its present file from the beginning.
//
// On either side one goroutine packs or unpacks, one reads and one writes, with a few parts between them. So the
// processor, the disk and the network work at the same time, and memory stays the same for any size of file.
package snapshot
