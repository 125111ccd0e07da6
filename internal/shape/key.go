package shape

// maxKeyBytes is the longest key that is taken for a name.
const maxKeyBytes = 64

// isData tells whether a key is data rather than a name: an e-mail or network
// address, a number, a date, an identifier, a token. Such keys are never kept.
//
// A wrong "name" costs privacy and a wrong "data" only precision, so doubt goes
// to data. Where both look the same, as for the keys "alice" and "amount", nothing
// can be told from one key; objects with more than [MaxProperties] of them are
// maps all the same.
func isData(key string) bool {
	plain := true
	for i := range len(key) {
		if c := key[i]; !isLower(c) && c != '_' {
			plain = false
			break
		}
	}
	if len(key) > maxKeyBytes {
		return true
	}
	if plain {
		return false
	}
	return isAddress(key) || isNumeric(key) || hasToken(key)
}

// isAddress knows addresses and what has one of the formats.
func isAddress(key string) bool {
	for i := range len(key) {
		switch c := key[i]; {
		case c == '@' && i > 0:
			return true
		case c == ':' && i+2 < len(key) && key[i+1] == '/' && key[i+2] == '/':
			return true
		case c == '=' && i == len(key)-1 && i >= 8: // Base64's padding
			return true
		case c < ' ' || c == 0x7f:
			return true
		}
	}
	return formatOfText([]byte(key)) > formatPlain
}

// isNumeric knows keys that are digits and what stands between digits: numbers,
// dates, telephone numbers, addresses with a port.
func isNumeric(key string) bool {
	digits := 0
	for i := range len(key) {
		switch c := key[i]; {
		case isDigit(c):
			digits++
		case isLetter(c) || c >= 0x80 || c == '_' || c == '$':
			return false
		}
	}
	return digits > 0
}

// hasToken knows identifiers and tokens by the words they are made of: runs of
// letters and digits between other characters.
func hasToken(key string) bool {
	start := 0
	for i := 0; i <= len(key); i++ {
		if i < len(key) && (isLetter(key[i]) || isDigit(key[i])) {
			continue
		}
		if isToken(key[start:i]) {
			return true
		}
		start = i + 1
	}
	return false
}

// isToken knows a word that nobody would have chosen: a long run of digits, a
// hexadecimal number that is long or mixes letters and digits, or letters of both cases and digits in quick change. A single
// capital that opens a word, as in camelCase, is no change of its own.
func isToken(word string) bool {
	if len(word) < 6 {
		return false
	}
	changes, digits, run, longest, hex := 0, 0, 0, 0, true
	for i := range len(word) {
		c := word[i]
		hex = hex && isHex(c)
		if isDigit(c) {
			digits++
			run++
			longest = max(longest, run)
		} else {
			run = 0
		}
		if i == 0 {
			continue
		}
		before := word[i-1]
		switch {
		case isDigit(c) != isDigit(before):
			changes++
		case isUpper(c) && isLower(before):
			changes++
		case isLower(c) && isUpper(before) && i >= 2 && isUpper(word[i-2]):
			changes++ // the end of a run of capitals
		}
	}
	switch {
	case longest >= 6:
		return true
	case hex && digits >= 2 && (len(word) >= 12 || changes >= 2):
		return true
	case digits >= 2 && (changes >= 4 || changes >= 3 && len(word) >= 8):
		return true
	}
	return len(word) >= 12 && changes*3 >= len(word)
}
