// Package api is the node's versioned HTTP API: its types, its server and the routes. The command line speaks it
// over a unix socket; embedding programs use the same types in process. Package client, below, is the other side.
//
// Routes are below /v1. Answers are JSON; streams (search, events) are one JSON object a line. Errors are problem
// objects as in RFC 9457, carrying the fields of [Error].
package api
