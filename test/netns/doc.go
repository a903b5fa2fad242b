// Package netns tests what needs a network of its own: several devices, each in a Linux network namespace, on local
// networks made of veth pairs and bridges. Nothing of it touches the machine's own network: bridges live in
// namespaces too.
//
// The tests need root and the ip command, and are left out without them, and with -short. If the environment has
// PEERDEX_TEST_NETNS=required, they fail instead, so that a CI machine that can run them does. Namespaces are named
// "peerdex-<pid>-<n>" and removed at the end of each test; those of a test process that was killed are removed by
// the next run.
//
// [NewLAN] makes a local network, [NewDevice] a device, [Device.Attach] joins them, and [Device.Start] runs a program
// on a device.
package netns
