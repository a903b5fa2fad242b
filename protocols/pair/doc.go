// Package pair takes a new device into a library, by a ticket that goes from screen to screen. Its protocol [ID] is
// the only one that answers a stranger, and only while an invite is open.
//
// The inviting device has one [Window]: [Window.Open] makes an invite, whose secret goes into a [Ticket];
// [Window.Handle] answers streams; [Window.Wait] says how the invite ended. An invite is for one device, ends after
// its time, and closes after three proofs that were wrong. The joining device parses the ticket, connects to the
// key that the ticket names, and calls [Join].
//
// Both sides prove that they know the secret, over everything that was said and both of their keys, before either
// tells the other more than a name: so a stranger on the way gains nothing, and neither does one who only saw an
// address. What the joiner gets (membership records and the library's secret) is covered by the inviter's proof, and
// is checked before it is accepted: the records must make a library of which both devices are members.
//
// An invite is used up by the first device that proves itself, even if the connection then breaks: that device is a
// member by the inviter's records, and is to be invited once more to get them.
package pair
