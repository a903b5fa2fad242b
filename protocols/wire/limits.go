package wire

import "time"

// Limits of a frame. Both sides keep them: a frame beyond a limit is never sent, and resets the stream that it
// arrives on.
const (
	// MaxFrame bounds what follows the length of a frame: the codec byte and the payload as it is sent. Bytes.
	MaxFrame = 1 << 20
	// MaxPayload bounds a payload when unpacked. Bytes.
	MaxPayload = 4 << 20
	// MaxRows bounds the rows of a frame, and by itself the dead runs of a frame.
	MaxRows = 4096
	// MaxRetryAfter bounds the wait that a status may ask for.
	MaxRetryAfter = 24 * time.Hour

	// maxZstdWindow bounds the window that a zstd frame may ask for. Bytes.
	maxZstdWindow = 8 << 20
	// minCompress is the size from which compressing a payload is worth a try. Bytes.
	minCompress = 512
	// maxLengthSize is the longest encoding of a frame's length: a uvarint of at most MaxFrame. Bytes.
	maxLengthSize = 3
)

// Deadlines of a stream. Idle times run on the side that waits, and start anew with every byte that moves.
const (
	// FirstFrameTimeout is how long a handler waits for the first frame of a stream.
	FirstFrameTimeout = 10 * time.Second
	// IdleTimeout is how long either side waits for the next frame, or for the next bytes of one.
	IdleTimeout = 30 * time.Second
	// WriteTimeout is how long a write may make no progress.
	WriteTimeout = 30 * time.Second

	// A frame must also arrive at minRate bytes per second, after a grace, however its bytes trickle.
	slowGrace = 60 * time.Second
	minRate   = 1 << 10
)
