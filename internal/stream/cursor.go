package stream

import (
	"encoding/base64"
	"encoding/binary"
	"math"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// A cursor is, in base64url without padding,
//
//	log (1) | sequence, big-endian (8) | epoch of the database (1 to 64)
//
// It stands behind everything up to and including the sequence. The first byte tells
// the cursors of one log from those of another, and would tell those of another form.
// The epoch tells the positions of one database from those of another that took its
// place.
const (
	cursorHeader   = 1 + 8
	maxEpochLength = 64
)

var errBadCursor = hub.NewError(hub.CodeBadUserInput,
	"the cursor is not one that this hub gave out for this stream; leave it out to start anew")

// EncodeCursor writes a position in the log of the database with that epoch.
func (k *Kind[T]) EncodeCursor(epoch string, after hub.Sequence) string {
	raw := make([]byte, cursorHeader, cursorHeader+len(epoch))
	raw[0] = k.cursor
	binary.BigEndian.PutUint64(raw[1:], uint64(after))
	return base64.RawURLEncoding.EncodeToString(append(raw, epoch...))
}

// DecodeCursor reads what EncodeCursor wrote, and nothing else: every cursor has
// exactly one spelling. The error is a BAD_USER_INPUT.
func (k *Kind[T]) DecodeCursor(cursor string) (epoch string, after hub.Sequence, err error) {
	if len(cursor) > base64.RawURLEncoding.EncodedLen(cursorHeader+maxEpochLength) {
		return "", 0, errBadCursor
	}
	raw, err := base64.RawURLEncoding.DecodeString(cursor)
	if err != nil || len(raw) <= cursorHeader || raw[0] != k.cursor {
		return "", 0, errBadCursor
	}
	position := binary.BigEndian.Uint64(raw[1:])
	if position > math.MaxInt64 {
		return "", 0, errBadCursor
	}
	epoch, after = string(raw[cursorHeader:]), hub.Sequence(position)
	if k.EncodeCursor(epoch, after) != cursor { // the decoder skips line breaks and stray bits
		return "", 0, errBadCursor
	}
	return epoch, after, nil
}
