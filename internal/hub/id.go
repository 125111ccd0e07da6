package hub

import (
	"crypto/rand"
	"encoding/base32"
	"encoding/binary"
	"strings"
	"sync"
	"time"
)

// The prefixes of all opaque IDs. An ID is its prefix, an underscore and 26
// characters that sort by time of creation.
const (
	SourcePrefix       = "src"
	EventPrefix        = "evt"
	RejectionPrefix    = "rej"
	EndpointPrefix     = "end"
	SubscriptionPrefix = "sub"
	DeliveryPrefix     = "dlv"
	AttemptPrefix      = "att"
	APIKeyPrefix       = "key"
	SecretPrefix       = "sec"
	RevisionPrefix     = "rev" // of a subscription's rule; shown nowhere
	PartnerPrefix      = "prt"
	MessagePrefix      = "msg" // what a test or a challenge is sent as; nothing is found under it
	DocumentPrefix     = "doc"
	ReplayPrefix       = "rpl"
	EventTypePrefix    = "ety"
)

// idEncoding is Crockford's base32 in lower case: it sorts as the bytes do and
// has no letters that are mistaken for digits.
var idEncoding = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

const idBodyLength = 26 // 16 bytes in base32

var ids struct {
	sync.Mutex
	millis uint64
	tail   [10]byte
}

// NewID makes an ID of the kind that prefix names: 48 bits of milliseconds and
// 80 random bits. Within one process and millisecond the random part counts
// upward, so that IDs made one after another also sort one after another.
func NewID(prefix string, at time.Time) string {
	var raw [16]byte
	millis := uint64(at.UnixMilli())
	ids.Lock()
	if millis > ids.millis || !increment(&ids.tail) { // a clock that steps back goes on counting
		ids.millis = max(millis, ids.millis+1) // on overflow, borrow from the next millisecond
		_, _ = rand.Read(ids.tail[:])          // documented never to fail
		ids.tail[0] &= 0x7f                    // room to count upward
	}
	binary.BigEndian.PutUint64(raw[:8], ids.millis<<16)
	copy(raw[6:], ids.tail[:])
	ids.Unlock()

	var b strings.Builder
	b.Grow(len(prefix) + 1 + idBodyLength)
	b.WriteString(prefix)
	b.WriteByte('_')
	b.WriteString(idEncoding.EncodeToString(raw[:]))
	return b.String()
}

// increment adds one to the big-endian number and reports false on overflow.
func increment(n *[10]byte) bool {
	for i := len(n) - 1; i >= 0; i-- {
		n[i]++
		if n[i] != 0 {
			return true
		}
	}
	return false
}

// IDPrefix returns the prefix of a well-formed ID and "" for anything else.
func IDPrefix(id string) string {
	prefix, body, found := strings.Cut(id, "_")
	if !found || len(body) != idBodyLength || len(prefix) != 3 {
		return ""
	}
	for i := range len(body) {
		c := body[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return ""
		}
	}
	return prefix
}
