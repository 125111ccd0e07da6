package stream_test

import (
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/stream"
)

func TestCursorsCarryTheirPosition(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		epoch := rapid.StringN(1, 16, 64).Draw(t, "epoch")
		after := hub.Sequence(rapid.Int64Min(0).Draw(t, "after"))
		gotEpoch, gotAfter, err := stream.Events.DecodeCursor(stream.Events.EncodeCursor(epoch, after))
		if err != nil || gotEpoch != epoch || gotAfter != after {
			t.Fatalf("got %q, %d, %v", gotEpoch, gotAfter, err)
		}
	})
}

func TestWhatIsNoCursor(t *testing.T) {
	t.Parallel()
	good := stream.Events.EncodeCursor("epoch", 7)
	for _, text := range []string{
		"", "1", good[:len(good)-1], good + "=", good + "\n", " " + good,
		stream.Events.EncodeCursor("", 7), stream.Events.EncodeCursor("epoch", -1), stream.Events.EncodeCursor(strings.Repeat("e", 65), 7),
		strings.Repeat("A", 1<<20),
	} {
		if _, _, err := stream.Events.DecodeCursor(text); hub.CodeOf(err) != hub.CodeBadUserInput {
			t.Errorf("%.40q: got %v", text, err)
		}
	}
}

func FuzzDecodeCursor(f *testing.F) {
	f.Add(stream.Events.EncodeCursor("epoch", 7))
	f.Add("AQAAAAAAAAAH")
	f.Fuzz(func(t *testing.T, text string) {
		epoch, after, err := stream.Events.DecodeCursor(text)
		if err != nil {
			return
		}
		if epoch == "" || after < 0 || stream.Events.EncodeCursor(epoch, after) != text {
			t.Fatalf("%q was read as %q, %d", text, epoch, after)
		}
	})
}
