// Package heads is what two members tell each other when they connect, now and then, and whenever something changed
// since: first who belongs to the library, then which heads of which locations they know and hold. Its protocol is [ID].
//
// Both sides begin with digests, of all membership records and of all heads that they have to tell. Mostly each knows
// all that the other knows, and nothing more is said: one small message each way, however many locations there are.
// Otherwise records come first, and heads after both sides had the chance to learn that they deal with a member, or no
// longer do. Of heads only those are sent that the other side does not know: it answers a digest that is not the one of
// what it remembers ([Backend].Said) with a few bytes for each head that it remembers. So nothing needs to be
// remembered of what was sent, and what was lost on either side is told again.
//
// The side that opened the stream speaks first ([Exchange]), the other answers ([Server]). That the remote device is a
// member now must be known before: the caller's guard asks that on every stream.
//
// What arrives is checked here as far as it can be without a library: formats and limits, the owner's signature of
// every head, and the hash of every location's record. The signatures of membership records, whether an owner is a
// member, and whether a head is newer than what is known is for the [Backend].
package heads
