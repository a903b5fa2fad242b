// Package discovery finds the devices of a library on the network and keeps a connection to each of them. It knows
// libp2p and peer IDs, and nothing of what devices say to each other.
//
// # Reach
//
// [Reach] says how far a node goes. With [LAN], the default, it listens on all addresses, multicasts on the local
// network and dials the addresses it was given. With [Loopback] it listens on 127.0.0.1 and nothing leaves the
// machine, name lookups included. [Reach.HostOptions] are the libp2p options that hold it to that.
//
// # Finding
//
// [MDNS] announces this device on chosen interfaces under the service "_peerdex._udp" and reports members that
// announce themselves. What is announced is the peer ID and addresses on those interfaces; the name of an
// announcement is random and says nothing about device or library. Whatever is heard comes from strangers: it is
// bounded, must name a member ([MDNSConfig].Wanted), and only addresses of the local network are taken from it.
//
// # Keeping
//
// [Keeper] dials members that are not connected: at once when there is a reason ([Keeper.Found], [Keeper.Kick], a
// connection that ended), then ever less often, up to every 5 minutes. [WatchNetwork] tells when this device's own
// addresses change, which is a reason to kick.
//
// A small node puts them together so:
//
//	keeper := discovery.NewKeeper(discovery.KeeperConfig{Host: h, Members: members, Addrs: addressBook})
//	mdns := discovery.NewMDNS(discovery.MDNSConfig{Host: h, Wanted: isMember, Found: keeper.Found})
//	go keeper.Run(ctx)
//	go mdns.Run(ctx)
//	go discovery.WatchNetwork(ctx, 0, func() { keeper.Kick() })
//
// # Limits of the mDNS library
//
// The package that speaks mDNS writes to the standard logger when an address family is missing, so a program that
// cares sends package log's output elsewhere. On Linux it also hears, and answers, queries on an interface that was
// not chosen if another program of the machine has joined the mDNS group there; the answer still holds addresses
// of the chosen interfaces only.
package discovery
