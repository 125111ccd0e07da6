package shape

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// scanner walks over a document that is known to be valid JSON, which spares it
// all questions of syntax. It keeps nothing but its place.
type scanner struct {
	data []byte
	pos  int
}

// next returns the first byte of the next token, and stays in front of it.
func (s *scanner) next() byte {
	for {
		switch c := s.data[s.pos]; c {
		case ' ', '\t', '\r', '\n':
			s.pos++
		default:
			return c
		}
	}
}

// opened enters an object or an array and tells whether there is anything in it.
func (s *scanner) opened() bool {
	s.pos++
	if c := s.next(); c == '}' || c == ']' {
		s.pos++
		return false
	}
	return true
}

// more tells whether another member or item follows, and goes past the comma or
// the closing bracket.
func (s *scanner) more() bool {
	c := s.next()
	s.pos++
	return c == ','
}

// key returns the key of a member in its quotes, and goes past the colon.
func (s *scanner) key() []byte {
	s.next()
	token := s.text()
	s.next()
	s.pos++
	return token
}

// text returns a string in its quotes, as it was written.
func (s *scanner) text() []byte {
	start := s.pos
	s.pos++
	for {
		s.pos += bytes.IndexByte(s.data[s.pos:], '"')
		before := s.pos - 1
		for s.data[before] == '\\' {
			before--
		}
		s.pos++
		if (s.pos-before)%2 == 0 { // an even number of backslashes
			return s.data[start:s.pos]
		}
	}
}

// scalar returns a number or a literal.
func (s *scanner) scalar() []byte {
	start := s.pos
	for s.pos < len(s.data) {
		switch s.data[s.pos] {
		case ',', '}', ']', ' ', '\t', '\r', '\n':
			return s.data[start:s.pos]
		}
		s.pos++
	}
	return s.data[start:]
}

// skip goes past a value, however deep it is.
func (s *scanner) skip() {
	depth := 0
	for {
		switch s.next() {
		case '{', '[':
			depth++
			s.pos++
		case '}', ']':
			depth--
			s.pos++
		case '"':
			s.text()
		case ',', ':':
			s.pos++
			continue
		default:
			s.scalar()
		}
		if depth == 0 {
			return
		}
	}
}

// decoded returns what a string in quotes says, in valid UTF-8, as encoding/json
// reads it.
func decoded(token []byte) string {
	if bytes.IndexByte(token, '\\') < 0 && utf8.Valid(token) {
		return string(token[1 : len(token)-1])
	}
	var text string
	if json.Unmarshal(token, &text) != nil {
		return "" // cannot be: the document is valid
	}
	return text
}
