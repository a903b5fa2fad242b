// Package client speaks to a running daemon over its unix socket. [Client] implements the same interface as the node
// itself, [api.Backend], so a program can work with a daemon or with a node of its own by the same calls:
//
//	c := client.Dial(socket)
//	defer c.Close()
//	for hit, err := range c.Search(ctx, api.Query{Text: "report ext:pdf"}) { ... }
//
// Errors are [*api.Error] values; use errors.As. A daemon that isn't there is one of kind [api.CodeNoDaemon]. When
// the caller's context ended, the error wraps the context's.
package client
