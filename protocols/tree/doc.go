// Package tree finds what differs between a replica and a provider of its location, and brings it: the protocol [ID].
// It is for replicas that no delta can move forward: their owner began a new epoch, the dead runs that they would need
// are gone, or a delta did not lead to the signed head. A [Server] answers from a [Source]; [Reconcile] is the other
// side, which describes nodes of its hash tree to the provider, level by level, hears which of their children differ,
// and of leaves gets the rows that do. See [proof.Walk] for the rule, and why the provider may move on meanwhile.
//
// The hashes exchanged are short and salted: they find differences, and prove nothing. What was found is half of a
// transfer: the delta since the lowest head that was answered from ends it, by package batch with [proof.Walk.Token].
// Only then the whole is compared with a signed head, by whoever stores it. So all that a lying provider can bring about
// is a transfer that fails.
//
// What goes over the wire grows with the differences: about 400 bytes for each node compared, of which one that differs
// has one in each level above it, and the rows. PROTOCOL.md of package wire has the messages, and figures.
package tree
