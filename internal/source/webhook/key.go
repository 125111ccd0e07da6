package webhook

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// joinKey makes one key of several texts, none of which may be missing; what could
// not be stored as it is stands as its hash.
func joinKey(parts ...string) string {
	for _, part := range parts {
		if part == "" {
			return ""
		}
	}
	key := strings.Join(parts, ":")
	if checkText(key, MaxKeyBytes) == "" {
		return key
	}
	return hashed([]byte(key))
}

func hashed(parts ...[]byte) string {
	hash := sha256.New()
	for _, part := range parts {
		_, _ = hash.Write(part) // documented never to fail
	}
	return "sha256:" + hex.EncodeToString(hash.Sum(nil))
}

// fields joins what is at several paths of the document; the first has to be there.
func fields(paths ...string) Place {
	return Place{Says: "`" + strings.Join(paths, "`, `") + "` in the body", Func: func(p *Provider, r *Request) string {
		document := r.json(p.FormField)
		if document == nil {
			return ""
		}
		return joined(gjson.ParseBytes(document), paths)
	}}
}

// joined makes a key of what an object has at the paths; the first has to be there.
func joined(object gjson.Result, paths []string) string {
	parts := make([]string, 0, len(paths))
	for i, path := range paths {
		text := literal(object.Get(path))
		if text == "" && i == 0 {
			return ""
		}
		if text != "" {
			parts = append(parts, text)
		}
	}
	return joinKey(parts...)
}

// literal is textOf that knows truth values as well.
func literal(found gjson.Result) string {
	if found.IsBool() {
		return found.Raw
	}
	return textOf(found)
}

// each makes a key of a batch: of one element what is at the paths, of several the
// hash of all of that. An element without one leaves the batch without a key.
func each(list string, paths ...string) Place {
	where := "each element"
	if list != "" {
		where = "each of `" + list + "`"
	}
	return Place{Says: "`" + strings.Join(paths, "`, `") + "` of " + where, Func: func(p *Provider, r *Request) string {
		document := r.json(p.FormField)
		if document == nil {
			return ""
		}
		elements := gjson.ParseBytes(document)
		if list != "" {
			elements = elements.Get(list)
		}
		if elements.IsObject() {
			return joined(elements, paths)
		}
		if !elements.IsArray() {
			return ""
		}
		var keys []string
		complete := true
		elements.ForEach(func(_, element gjson.Result) bool {
			key := joined(element, paths)
			keys, complete = append(keys, key), key != ""
			return complete
		})
		switch {
		case !complete || len(keys) == 0:
			return ""
		case len(keys) == 1:
			return keys[0]
		}
		return hashed([]byte(strings.Join(keys, "\n")))
	}}
}

// bodyHash is the key of vendors that have none: the same bytes within a day are the
// same event.
var bodyHash = Place{Says: "hash of the body, for a day", Holds: 24 * time.Hour, Func: func(_ *Provider, r *Request) string {
	return hashed(r.Body)
}}

// dotted joins what is at two paths by a dot; the first has to be there.
func dotted(first, second string) Place {
	return Place{Says: "`" + first + "`.`" + second + "` in the body", Func: func(p *Provider, r *Request) string {
		head, tail := r.lookup(p.FormField, first), r.lookup(p.FormField, second)
		if head == "" || tail == "" {
			return head
		}
		return head + "." + tail
	}}
}

// firstKeyBesides finds the name of the document's first member but one.
func firstKeyBesides(besides string) func(*Provider, *Request) string {
	return func(p *Provider, r *Request) string {
		document := r.json(p.FormField)
		if document == nil {
			return ""
		}
		var name string
		if object := gjson.ParseBytes(document); object.IsObject() {
			object.ForEach(func(key, _ gjson.Result) bool {
				if key.Str != besides {
					name = key.Str
				}
				return name == ""
			})
		}
		return name
	}
}

// maxNesting is how deep a document may be whose members are signed one by one.
// Looking for names costs its size times its depth.
const maxNesting = 32

// uniqueNames reports whether no object within a document names a member twice, and
// the document is no deeper than it may be. Where a vendor signs members rather than
// bytes, one program could check the first of a name and another one use the last.
func uniqueNames(value gjson.Result) bool { return uniqueWithin(value, maxNesting) }

func uniqueWithin(value gjson.Result, levels int) bool {
	if !value.IsObject() && !value.IsArray() {
		return true
	}
	if levels == 0 {
		return false
	}
	unique, isObject := true, value.IsObject()
	var seen map[string]bool
	value.ForEach(func(key, member gjson.Result) bool {
		if isObject {
			if seen == nil {
				seen = map[string]bool{}
			}
			unique = !seen[key.Str]
			seen[key.Str] = true
		}
		unique = unique && uniqueWithin(member, levels-1)
		return unique
	})
	return unique
}

// namedTwice refuses a document that uniqueNames finds fault with.
func namedTwice() Verdict {
	return refuse(hub.RejectedSignatureInvalid,
		"The signature is right for what it covers, but the body names a member twice or is nested deeper than the vendor's are: what was signed cannot be told from what was not.")
}
