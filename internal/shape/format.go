package shape

import (
	"bytes"
	"net/netip"
	"strconv"
	"strings"
	"time"
)

// format is what all strings at one place have in common.
type format uint8

const (
	formatUnseen   format = iota // no string was seen
	formatPlain                  // strings without a format in common
	formatDateTime               // the names are those of JSON Schema
	formatDate
	formatTime
	formatUUID
	formatEmail
	formatURI
	formatIPv4
	formatIPv6
)

var formatNames = [...]string{
	formatPlain: "", formatDateTime: "date-time", formatDate: "date", formatTime: "time", formatUUID: "uuid",
	formatEmail: "email", formatURI: "uri", formatIPv4: "ipv4", formatIPv6: "ipv6",
}

// join returns the format of what has the one and what has the other.
func (f format) join(other format) format {
	switch {
	case f == formatUnseen || f == other:
		return other
	case other == formatUnseen:
		return f
	}
	return formatPlain
}

// maxFormatBytes is the longest string that is looked at for a format.
const maxFormatBytes = 2048

// formatOf returns the format of a string in its quotes. Every string it gives a
// format to is valid in that format; not every valid one is recognised: hosts
// without a scheme, addresses in brackets and the like are plain.
func formatOf(token []byte) format {
	if len(token) > maxFormatBytes || len(token) < 4 {
		return formatPlain
	}
	text := token[1 : len(token)-1]
	if bytes.IndexByte(text, '\\') >= 0 {
		// Some writers escape every slash.
		text = []byte(decoded(token))
	}
	return formatOfText(text)
}

func formatOfText(text []byte) format {
	n := len(text)
	if n < 2 {
		return formatPlain
	}
	switch {
	case n == 36 && text[8] == '-':
		if isUUID(text) {
			return formatUUID
		}
	case n >= 10 && n <= 40 && text[4] == '-' && isDigit(text[0]):
		if !isDate(text[:10]) {
			break
		}
		if n == 10 {
			return formatDate
		}
		if (text[10] == 'T' || text[10] == 't') && isTime(text[11:]) {
			return formatDateTime
		}
	case n >= 9 && n <= 30 && text[2] == ':' && isDigit(text[0]) && isTime(text):
		return formatTime
	case n <= 15 && isDigit(text[0]) && isIPv4(text):
		return formatIPv4
	}
	if n <= 45 && isIPv6(text) {
		return formatIPv6
	}
	if n <= 254 && isEmail(text) {
		return formatEmail
	}
	if isURI(text) {
		return formatURI
	}
	return formatPlain
}

func isDigit(c byte) bool  { return '0' <= c && c <= '9' }
func isLower(c byte) bool  { return 'a' <= c && c <= 'z' }
func isUpper(c byte) bool  { return 'A' <= c && c <= 'Z' }
func isLetter(c byte) bool { return isLower(c | 0x20) }
func isHex(c byte) bool    { return isDigit(c) || 'a' <= c|0x20 && c|0x20 <= 'f' }

func isUUID(text []byte) bool {
	for i, c := range text {
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if !isHex(c) {
			return false
		}
	}
	return true
}

// twoDigits returns the number that two digits write, or 100.
func twoDigits(text []byte) int {
	if !isDigit(text[0]) || !isDigit(text[1]) {
		return 100
	}
	return int(text[0]-'0')*10 + int(text[1]-'0')
}

// isDate is for ten bytes.
func isDate(text []byte) bool {
	if text[4] != '-' || text[7] != '-' {
		return false
	}
	century, year, month, day := twoDigits(text), twoDigits(text[2:]), twoDigits(text[5:]), twoDigits(text[8:])
	if century > 99 || year > 99 || month < 1 || month > 12 || day < 1 || day > 31 {
		return false
	}
	return day <= 28 || time.Date(century*100+year, time.Month(month), day, 0, 0, 0, 0, time.UTC).Day() == day
}

// isTime is RFC 3339's full-time, which has an offset. Leap seconds, which no
// validator agrees upon, are left out.
func isTime(text []byte) bool {
	if len(text) < 9 || text[2] != ':' || text[5] != ':' ||
		twoDigits(text) > 23 || twoDigits(text[3:]) > 59 || twoDigits(text[6:]) > 59 {
		return false
	}
	rest := text[8:]
	if rest[0] == '.' {
		digits := 1
		for digits < len(rest) && isDigit(rest[digits]) {
			digits++
		}
		if digits == 1 || digits == len(rest) {
			return false
		}
		rest = rest[digits:]
	}
	if len(rest) == 1 {
		return rest[0] == 'Z' || rest[0] == 'z'
	}
	return len(rest) == 6 && (rest[0] == '+' || rest[0] == '-') && rest[3] == ':' &&
		twoDigits(rest[1:]) <= 23 && twoDigits(rest[4:]) <= 59
}

func isIPv4(text []byte) bool {
	groups := 0
	for group := range bytes.SplitSeq(text, []byte{'.'}) {
		groups++
		if len(group) == 0 || len(group) > 3 || len(group) > 1 && group[0] == '0' || groups > 4 {
			return false
		}
		for _, c := range group {
			if !isDigit(c) {
				return false
			}
		}
		if n, _ := strconv.Atoi(string(group)); n > 255 {
			return false
		}
	}
	return groups == 4
}

func isIPv6(text []byte) bool {
	colons := 0
	for _, c := range text {
		switch {
		case c == ':':
			colons++
		case !isHex(c) && c != '.':
			return false
		}
	}
	if colons < 2 {
		return false
	}
	addr, err := netip.ParseAddr(string(text))
	return err == nil && addr.Is6()
}

func isEmail(text []byte) bool {
	at := bytes.IndexByte(text, '@')
	if at < 1 || at > 64 || text[0] == '.' || text[at-1] == '.' {
		return false
	}
	for i, c := range text[:at] {
		if !isLetter(c) && !isDigit(c) && strings.IndexByte("!#$%&'*+-/=?^_`{|}~.", c) < 0 || c == '.' && text[i+1] == '.' {
			return false
		}
	}
	domain := text[at+1:]
	dot := bytes.LastIndexByte(domain, '.')
	return dot > 0 && len(domain)-dot > 2 && isLetter(domain[dot+1]) && isHost(domain)
}

func isHost(text []byte) bool {
	label := 0 // bytes of the label so far
	for i, c := range text {
		switch {
		case c == '.':
			if label == 0 || label > 63 || text[i-1] == '-' {
				return false
			}
			label = 0
			continue
		case c == '-':
			if label == 0 {
				return false
			}
		case !isLetter(c) && !isDigit(c):
			return false
		}
		label++
	}
	return label > 0 && label <= 63 && text[len(text)-1] != '-'
}

// isURI knows URIs that have a host, as links have. The rest of what a URI may be
// ("note:read") is too much like ordinary text.
func isURI(text []byte) bool {
	colon := bytes.IndexByte(text[:min(len(text), 32)], ':')
	if colon < 1 || len(text) < colon+4 || text[colon+1] != '/' || text[colon+2] != '/' || !isLetter(text[0]) {
		return false
	}
	for _, c := range text[:colon] {
		if !isLetter(c) && !isDigit(c) && c != '+' && c != '-' && c != '.' {
			return false
		}
	}
	rest := text[colon+3:]
	host := rest
	if end := bytes.IndexAny(rest, "/?#"); end >= 0 {
		host = rest[:end]
	}
	rest = rest[len(host):]
	if port := bytes.IndexByte(host, ':'); port >= 0 {
		digits := host[port+1:]
		if len(digits) == 0 || len(digits) > 5 {
			return false
		}
		for _, c := range digits {
			if !isDigit(c) {
				return false
			}
		}
		host = host[:port]
	}
	if len(host) == 0 || !isHost(host) {
		return false
	}
	fragments := 0
	for i, c := range rest {
		switch {
		case c == '%':
			if i+2 >= len(rest) || !isHex(rest[i+1]) || !isHex(rest[i+2]) {
				return false
			}
		case c == '#':
			fragments++
		case c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0:
			return false
		}
	}
	return fragments < 2
}
