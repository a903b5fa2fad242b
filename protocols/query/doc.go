// Package query asks a provider about a location instead of fetching it: the protocol [ID]. A folder is listed page by
// page, one entry is read, names are searched, or what lies below a folder is added up. A [Server] answers from a
// [Source]; [Ask] is the other side.
//
// Every answer carries the signed head of the state that it was read at. The head is checked as for a replica; that the
// rows are those of that state can't be, since the hash tree is not sent along. So what the owner answers is as good as
// the owner's word, over a connection that proves its key, and what anybody else answers is unverified.
//
// An asker that has an answer from before says so by its digest, and is told that it still holds without being sent it
// again. Answers are kept as they came ([Answer].Body, by [Request.Question]), and read again by [Request.Read].
package query
