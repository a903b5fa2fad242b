// Package change pushes StateChange: what little changed in a location, from its owner to the devices that are connected
// and hold a replica, at once and without being asked. Its protocol is [ID].
//
// A push is a page of a delta with the seq that it begins above (its base) and the head that it leads to. Only the owner
// pushes, and only what is small: at most [MaxChanges] rows and dead ids together; what is more is told by a notice, and
// pulled. Who wants pushes says so in package heads, with the head that it holds.
//
// The receiver applies a push if its replica stands at the base or between base and head, in the same epoch; what it has
// already is left out ([StateChange.Page]). It is proved like everything else, by the whole replica's agreement with the
// signed head, before it is visible. A replica that is elsewhere is not harmed: the push is kept for a while, or
// forgotten, and the replica pulls. Nothing depends on a push that arrives.
//
// [Push] sends one, a [Server] receives them. That the remote device is a member must be known before: the caller's guard
// asks that on every stream. What is checked here is form and limits, that the sender is the owner, his signature, the
// record's hash, and how many pushes a device sends.
package change
