package shape

import (
	"encoding/binary"
	"encoding/json"
	"math/bits"
)

// Fingerprint returns a hash of a document's shape, or 0 for what is not JSON. Two
// documents of one fingerprint teach the same: after the one, learning the other
// changes counts and nothing else. The order of keys, the values, and the keys that
// are data make no difference; that two documents of one shape can have different
// fingerprints (arrays of more than eight different shapes) costs learning once more.
//
// It takes one pass, builds nothing, and is the same on every machine. It does not
// withstand somebody who looks for collisions: all they win is not to be learned.
func Fingerprint(doc []byte) uint64 {
	if !json.Valid(doc) {
		return 0
	}
	f := fingerprinter{scanner{data: doc}}
	return max(f.value(0), 1)
}

type fingerprinter struct{ scanner }

// The first words of what is hashed. Types that a node tells apart are told apart.
const (
	hashNull = iota + 1
	hashBoolean
	hashNumber
	hashInteger
	hashString
	hashObject
	hashArray
	hashClosed
	hashRest
	hashKey
)

func (f *fingerprinter) value(depth int) uint64 {
	switch c := f.next(); c {
	case '{':
		return f.object(depth)
	case '[':
		return f.array(depth)
	case '"':
		return mix(hashString, uint64(formatOf(f.text())))
	case 't', 'f':
		f.scalar()
		return hashBoolean
	case 'n':
		f.scalar()
		return hashNull
	}
	if kinds, w := numberOf(f.scalar()); kinds == kindInteger {
		return mix(hashInteger, uint64(w))
	}
	return hashNumber
}

func (f *fingerprinter) object(depth int) uint64 {
	if depth >= MaxDepth {
		f.skip()
		return mix(hashObject, hashClosed)
	}
	sum := uint64(hashObject)
	var rest distinct
	for more := f.opened(); more; more = f.more() {
		token := f.key()
		key, data := keyHash(token)
		value := f.value(depth + 1)
		if data {
			rest.add(value)
		} else {
			sum += mix(key, value)
		}
	}
	return mix(sum, mix(rest.sum, hashRest))
}

func (f *fingerprinter) array(depth int) uint64 {
	if depth >= MaxDepth {
		f.skip()
		return mix(hashArray, hashClosed)
	}
	var items distinct
	for more := f.opened(); more; more = f.more() {
		items.add(f.value(depth + 1))
	}
	return mix(hashArray, items.sum)
}

// distinct adds hashes up, each once, as far as it can remember them.
type distinct struct {
	sum  uint64
	seen [8]uint64
	next int
}

func (d *distinct) add(hash uint64) {
	for _, seen := range d.seen {
		if seen == hash {
			return
		}
	}
	d.seen[d.next%len(d.seen)] = hash
	d.next++
	d.sum += mix(hash, hashArray)
}

// keyHash hashes a key in its quotes, or tells that it is data.
func keyHash(token []byte) (hash uint64, data bool) {
	key := token[1 : len(token)-1]
	name := true
	for _, c := range key {
		if !isLower(c) && c != '_' {
			name = false
			break
		}
	}
	if !name || len(key) > maxKeyBytes {
		text := decoded(token)
		if isData(text) {
			return 0, true
		}
		key = []byte(text)
	}
	hash = mix(hashKey, uint64(len(key)))
	for len(key) >= 8 {
		hash = mix(hash, binary.LittleEndian.Uint64(key))
		key = key[8:]
	}
	var last [8]byte
	copy(last[:], key)
	return mix(hash, binary.LittleEndian.Uint64(last[:])), false
}

// mix makes one well-spread word of two.
func mix(a, b uint64) uint64 {
	high, low := bits.Mul64(a^0x9e3779b97f4a7c15, b^0xd6e8feb86659fd93)
	return high ^ low
}
