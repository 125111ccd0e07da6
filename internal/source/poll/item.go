package poll

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hookgraph/hookgraph/internal/signature"
	"github.com/hookgraph/hookgraph/internal/source/webhook"
)

// idFields, where nothing else is said, hold what tells items apart.
var idFields = []string{"id", "guid", "uuid", "key"}

// timeFields, where nothing else is said, hold when an item was made or changed last.
var timeFields = []string{
	"occurred_at", "occurredAt", "updated_at", "updatedAt", "modified_at", "modifiedAt", "updated", "modified",
	"created_at", "createdAt", "created", "timestamp", "date",
}

// maxIDBytes leaves room in a dedupe key for the digest.
const maxIDBytes = 400

// item is one item of an answer.
type item struct {
	raw    gjson.Result
	digest [sha256.Size]byte // of what it says, however it is written
	at     time.Time         // when it was made or changed last; zero: not known
	again  uint32            // of one that is again what it was before, the last run in which it was; else 0
}

func newItem(raw gjson.Result) item {
	return item{raw: raw, digest: digestOf([]byte(raw.Raw)), at: commonTime(raw)}
}

// digestOf is the same for JSON that differs in blanks and the order of names alone.
func digestOf(text []byte) [sha256.Size]byte {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber() // numbers are told apart by their digits
	var value any
	if err := decoder.Decode(&value); err == nil {
		if canonical, err := json.Marshal(value); err == nil {
			text = canonical
		}
	}
	return sha256.Sum256(text)
}

// key is the dedupe key of an item for which there is no other rule: another one once
// the item has changed, and once it is again what it was before.
func (i *item) key() string {
	key := hex.EncodeToString(i.digest[:16])
	if id := i.id(); id != "" {
		key = id + ":" + key
	}
	if i.again > 0 {
		key += ":" + strconv.FormatUint(uint64(i.again), 10)
	}
	return key
}

// id is what an item says its ID is; "" where it says none that could be a key.
func (i *item) id() string {
	for _, name := range idFields {
		field := i.raw.Get(name)
		id := ""
		switch field.Type {
		case gjson.String:
			id = field.Str
		case gjson.Number:
			id = field.Raw
		case gjson.Null, gjson.False, gjson.True, gjson.JSON:
		}
		if id != "" && len(id) <= maxIDBytes && webhook.CheckKey(id) == "" {
			return id
		}
	}
	return ""
}

// names are what the memory calls an item and what it says. One without an ID is what it
// says.
func (i *item) names() (item, says name) {
	says = nameOf(i.digest)
	if id := i.id(); id != "" {
		return nameOf(sha256.Sum256([]byte(id))), says
	}
	return says, says
}

// commonTime is the time in the first of the usual fields that has one.
func commonTime(raw gjson.Result) time.Time {
	if !raw.IsObject() {
		return time.Time{}
	}
	for _, name := range timeFields {
		if at := timeOf(raw.Get(name)); !at.IsZero() {
			return at
		}
	}
	return time.Time{}
}

// timeOf reads a time as APIs write it: RFC 3339, with or without a zone, or as a Unix
// time in seconds or milliseconds.
func timeOf(field gjson.Result) time.Time {
	var forms []signature.TimeForm
	text := field.Str
	switch {
	case field.Type == gjson.String:
		forms = []signature.TimeForm{signature.RFC3339, signature.NoZone}
	case field.Type == gjson.Number && len(field.Raw) > len("9999999999"):
		text, forms = field.Raw, []signature.TimeForm{signature.UnixMillis, signature.UnixFraction}
	case field.Type == gjson.Number && len(field.Raw) >= len("100000000"): // smaller ones count something else
		text, forms = field.Raw, []signature.TimeForm{signature.UnixSeconds, signature.UnixFraction}
	}
	for _, form := range forms {
		if at, err := form.Parse(text); err == nil && webhook.CheckTime(at) == "" {
			return at
		}
	}
	return time.Time{}
}
