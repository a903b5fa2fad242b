// Package heads is what two members tell each other when they connect, and whenever something changed since: first
// who belongs to the library, then which heads of which locations they know and hold. Its protocol is [ID].
//
// The side that opened the stream speaks first ([Exchange]), the other answers ([Server]): hello and all membership
// records, merged by the other side before it answers with its own; then all heads, likewise. So no head is sent to
// a device before it had the chance to learn that it deals with a member, or no longer does. That the remote device
// is a member now must be known before: the caller's guard asks that on every stream.
//
// What arrives is checked here as far as it can be without a library: formats and limits, the owner's signature of
// every head, and the hash of every location's record. The signatures of membership records, whether an owner is a
// member, and whether a head is newer than what is known is for the [Backend].
package heads
