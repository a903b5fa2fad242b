// Package batch pulls a location's index in frames of rows: the protocol [ID], whose frames the specification calls
// StateBatch. A [Server] answers from a [Source]; [Pull] is the other side, and hands what it checked to a [Sink].
//
// One stream carries any number of requests, each answered by frames until nothing is left above the position asked
// for, or by a status. A full transfer is two requests: all rows in id order, then the delta since the lowest head
// that a page of the first pass came from. Between any two frames the transfer can break off and go on later, with
// the same provider or another, from the [index.Token] that the sink stored: see there for the rule.
//
// What a provider sends is checked frame by frame (formats, limits, order, the owner's signature, the record's hash)
// and at the end against the owner's chain of deletions. A provider that leaves rows out is found by whoever
// compares the whole with the head: the sink.
package batch
