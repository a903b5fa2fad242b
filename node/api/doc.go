// Package api is the node's versioned HTTP API: its types, its server and the routes. The command line speaks it
// over a unix socket; embedding programs use the same types in process. Package client, below, is the other side.
//
// Routes are below /v1. Answers are JSON; streams (search, events) are one JSON object a line. Errors are problem
// objects as in RFC 9457, carrying the fields of [Error]. GET /v1/export answers with a file, and POST /v1/import takes
// one, as package archive describes it; an export that ends with an error says so in the trailer [ExportTrailer].
package api
