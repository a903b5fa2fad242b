// Package notice gossips BulkIndexComplete: that a commit of a location ended, and the signed head that it left. A device
// that has indexed a million files sends one such notice of 253 bytes, and every member hears of it within moments, also
// those that are not connected to it. What they then fetch, from whom and when, is their own decision.
//
// A notice is a hint. Nothing is lost with one that does not arrive: package heads tells the same on every connection,
// and now and then. Nothing is gained by a forged one either, since the head in it is signed by its owner.
//
// Notices travel by libp2p's gossipsub, on a protocol of our own ([ID]) and on one topic for each library. The topic's
// name and the key that seals the notices are made from the library secret, so whoever hears either without being a
// member learns nothing. A [Service] is made with [New] and begun with [Service.Start]; [Service.Announce] says that a
// location has a new head. The first notice of a location goes at once, later ones as [Config].Every allows, each with
// the newest head there is by then: the last one is never left out.
//
// # What a peer can do to us
//
// Streams are opened to members only and taken from members only: that is for the host to see to, and [Config].Members is
// asked again for every message and every subscription. Before a signature is looked at, messages are dropped that are
// not of the one size, of another topic, of an author who is no member, or more than one neighbour should pass on. Then
// gossipsub checks the author's signature. Then the notice must open with the library's key, its head must be signed by
// the author, who is the owner, it must not be older than what is known, and its author must not send too many. Only what
// passed all this is handed to the [Backend] and passed on.
package notice
