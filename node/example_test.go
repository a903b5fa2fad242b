package node_test

import (
	"context"
	"fmt"
	"os"

	"github.com/peerdex/peerdex/node"
)

func ExampleOpen() {
	dir, _ := os.MkdirTemp("", "peerdex-example-")
	defer os.RemoveAll(dir)
	n, err := node.Open(node.Config{Dir: dir, DeviceName: "laptop", Reach: "loopback"})
	if err != nil {
		panic(err)
	}
	defer n.Close()
	_ = n.Start(context.Background())
	_, _ = n.AddLocation(context.Background(), node.AddRequest{Path: "/usr/share/doc"})
	_, _ = n.Scan(context.Background(), node.ScanRequest{})
	for hit, err := range n.Search(context.Background(), node.Query{Text: "readme type:f", Limit: 3}) {
		fmt.Println(hit.Device, hit.Path, hit.Size, hit.AsOf, err)
	}
}
