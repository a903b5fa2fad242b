// Package node is a peerdex device: it indexes folders of its own, keeps replicas of the other devices' indexes, and
// searches all of them. It is what the command runs, and what a program embeds.
//
// Open a node on a data folder, start it, and ask it:
//
//	n, err := node.Open(node.Config{Dir: dir})
//	if err != nil { ... }
//	defer n.Close()
//	if err := n.Start(ctx); err != nil { ... }
//	loc, err := n.AddLocation(ctx, node.AddRequest{Path: "/home/ana/docs"})
//	for hit, err := range n.Search(ctx, node.Query{Text: "invoice ext:pdf"}) { ... }
//
// [Open] takes the data folder, and starts neither goroutines nor a network. [Node.Start] listens, connects to the
// other devices of the library and scans; it returns when that is under way. [Node.Close] ends everything and waits
// for it; nothing is left running. Several nodes can live in one process, each on a folder of its own.
//
// A location is a folder that the node scans ([Node.AddLocation] with a path), or a tree that the embedding program
// feeds ([Node.AddLocation] without one, then [Node.Commit]). Nobody else writes either.
//
// Devices are paired by a ticket: one calls [Node.Invite], the other [Node.Join]. From then on each has the index of
// the other, and of all devices of the library, also while they are away; every answer says as of when it is true.
// What a device lost of its own index it takes back from another one, and goes on.
// By [Node.Policy] a location can also be asked for on demand, instead of being held; [Node.SetMetered] does so for large ones
// while the network is paid for by what it carries. Answers then say where they came from, in [Hit].Via.
// What is being fetched is listed by [Node.Transfers], and paused, resumed or cancelled by [Node.ControlTransfers].
// [OpenReader] answers the same questions from a data folder without a running node.
//
// Errors that a person should read are of type [*Error], with a code, what happened, why probably, and what to do. All
// methods are safe for concurrent use.
package node
