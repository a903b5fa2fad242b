package wire

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/peerdex/peerdex/index"
)

// TestDocument holds PROTOCOL.md to the numbers in the code.
func TestDocument(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("PROTOCOL.md")
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	want := []string{
		"1 to 1,048,576", "at most 4,194,304 bytes", "at most 4,096 elements",
		fmt.Sprintf("bin %d, a signed head", index.SignedHeadSize), fmt.Sprintf(": %d bytes", index.HeadSize),
		fmt.Sprintf("bin 1..%d, the canonical bytes of a location's record", index.MaxRecordLen),
		fmt.Sprintf("bin 0..%d", index.MaxNameLen), fmt.Sprintf("bin 0..%d or nil", index.MaxHashLen), fmt.Sprintf("bin 0..%d or nil", index.MaxAttrsLen),
		fmt.Sprintf("int 0..%d |", int(MaxRetryAfter.Seconds())), fmt.Sprintf("waits %d s for the first frame", int(FirstFrameTimeout.Seconds())),
		fmt.Sprintf("waits %d s for the next frame", int(IdleTimeout.Seconds())), fmt.Sprintf("`[%d]`\n", rowFields), fmt.Sprintf("*dead run*: `[%d]`", deadFields),
		fmt.Sprintf("| %d | ok |", CodeOK),
	}
	for _, e := range statusErrors {
		want = append(want, fmt.Sprintf("\n| %d | ", e.code))
	}
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("PROTOCOL.md doesn't say %q", w)
		}
	}
	if MaxFrame != 1_048_576 || MaxPayload != 4_194_304 || MaxRows != 4096 || index.MaxID != 1<<36-1 || index.MaxSeq != 1<<62-1 {
		t.Error("a limit changed that PROTOCOL.md states")
	}
}
