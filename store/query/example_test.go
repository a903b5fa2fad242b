package query_test

import (
	"fmt"
	"time"

	"github.com/peerdex/peerdex/index"
	"github.com/peerdex/peerdex/store/query"
)

func ExampleParse() {
	now := time.Date(2026, 3, 21, 12, 0, 0, 0, time.UTC)
	q, err := query.Parse(`invoice -draft ext:pdf size:>1K modified:2026 on:nas`, now)
	if err != nil {
		fmt.Println(err)
		return
	}
	where, args := q.SQL()
	fmt.Println("SELECT name FROM entries WHERE", where)
	fmt.Println(len(args), "arguments")
	fmt.Println(q.MatchesDevice("NAS"), q.MatchesDevice("laptop"))
	fmt.Println(q.Match(&index.Entry{Name: "Invoice 7.PDF", Kind: index.KindFile, Size: 52_000, MTime: now.UnixNano()}))

	_, err = query.Parse("invoice size:>big", now)
	fmt.Println(err)
	// Output:
	// SELECT name FROM entries WHERE ((kind = ? AND (size BETWEEN ? AND ?)) AND (mtime BETWEEN ? AND ?) AND name LIKE ? AND (name LIKE ?))
	// 7 arguments
	// true false
	// true
	// size:>big: not a size; try size:>10M or size:10M..1G
}
