package poll

import "strings"

// maxLinkBytes bounds the Link headers of one answer.
const maxLinkBytes = 32 << 10

// nextLink returns the target of the first link whose relation is next (RFC 8288,
// section 3), "" where there is none.
func nextLink(values []string) string {
	text := strings.Join(values, ",")
	if len(text) > maxLinkBytes {
		return ""
	}
	for {
		text = strings.TrimLeft(text, " \t,")
		if !strings.HasPrefix(text, "<") {
			return "" // what is no list of links leads nowhere
		}
		target, rest, closed := strings.Cut(text[1:], ">")
		if !closed {
			return ""
		}
		var next bool
		next, text = linkParameters(rest)
		if next {
			return strings.TrimSpace(target)
		}
	}
}

// linkParameters reads the parameters of one link and reports whether it leads to the
// next page, and returns what comes after it.
func linkParameters(text string) (next bool, rest string) {
	known := false
	for {
		text = strings.TrimLeft(text, " \t")
		if !strings.HasPrefix(text, ";") {
			if i := strings.IndexByte(text, ','); i >= 0 {
				return next, text[i:]
			}
			return next, ""
		}
		text = strings.TrimLeft(text[1:], " \t")
		end := strings.IndexAny(text, "=;,")
		if end < 0 {
			return next, ""
		}
		name := strings.TrimSpace(text[:end])
		if text[end] != '=' { // a parameter without a value
			text = text[end:]
			continue
		}
		var value string
		value, text = linkValue(strings.TrimLeft(text[end+1:], " \t"))
		if !known && strings.EqualFold(name, "rel") { // only the first counts
			known = true
			for relation := range strings.FieldsSeq(value) {
				next = next || strings.EqualFold(relation, "next")
			}
		}
	}
}

// linkValue reads a token or a quoted string and returns what comes after it.
func linkValue(text string) (value, rest string) {
	if !strings.HasPrefix(text, `"`) {
		end := strings.IndexAny(text, ";, \t")
		if end < 0 {
			return text, ""
		}
		return text[:end], text[end:]
	}
	var b strings.Builder
	for i := 1; i < len(text); i++ {
		switch text[i] {
		case '"':
			return b.String(), text[i+1:]
		case '\\':
			if i++; i < len(text) {
				b.WriteByte(text[i])
			}
		default:
			b.WriteByte(text[i])
		}
	}
	return b.String(), ""
}
