package poll

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"time"
)

const (
	// maxStates bounds the states of items that are remembered, those that were listed last.
	// Older ones are told by their dedupe keys.
	maxStates = 5000
	// nameBytes of a digest tell items apart, and as many tell their states apart.
	nameBytes  = 8
	stateBytes = 2*nameBytes + 4 + 4
)

// name stands for an item, or for what one says.
type name [nameBytes]byte

func nameOf(digest [sha256.Size]byte) name { return name(digest[:nameBytes]) }

// state is what an item said when it was handed over.
type state struct {
	item, says name
	run        uint32 // the last one in which it was listed
	at         uint32 // its time in Unix seconds; 0: not known
}

// memory is what is known of the states of items, oldest first. It is what makes an event
// of an item that becomes again what it was before: that state was not listed in the last
// run in which another one of the same item was. Rows that share what is taken for their
// ID are listed beside one another, and so are no changes of one item.
type memory struct {
	states []state
	items  map[name][]int // places in states
}

func newMemory(states []state) *memory {
	m := &memory{states: states}
	m.index()
	return m
}

func (m *memory) index() {
	m.items = make(map[name][]int, len(m.states))
	for at, s := range m.states {
		m.items[s.item] = append(m.items[s.item], at)
	}
}

// find returns the place of what an item says now; -1 where it never said so, as far as is
// known.
func (m *memory) find(i *item) int {
	item, says := i.names()
	for _, at := range m.items[item] {
		if m.states[at].says == says {
			return at
		}
	}
	return -1
}

// What an item is to a run.
type standing int

const (
	unknown   standing = iota // it has not been handed over as it is
	unchanged                 // it has, and was so ever since
	returned                  // it has, and was something else since
	late                      // it is older than what it would follow: an old answer, or another row that shares the ID
)

// look says what an item is to a run, and of one that has returned the run in which it was
// listed last before: that is the same however often the hub begins anew before it has
// stored that the item is back. Its time is to be known where that can be.
func (m *memory) look(i *item, run uint32) (standing, uint32) {
	found := m.find(i)
	if found < 0 {
		return unknown, 0
	}
	one := m.states[found]
	replaced, latest := false, uint32(0)
	for _, at := range m.items[one.item] {
		if other := m.states[at]; other.run < run && other.run > one.run {
			replaced, latest = true, max(latest, other.at)
		}
	}
	switch {
	case !replaced:
		return unchanged, 0
	case !i.at.IsZero() && unixOf(i.at) < latest:
		return late, 0
	}
	return returned, one.run
}

// note remembers that a run has listed an item, which was handed over as it is.
func (m *memory) note(i *item, run uint32) {
	if found := m.find(i); found >= 0 {
		m.states[found].run = run
		return
	}
	item, says := i.names()
	m.items[item] = append(m.items[item], len(m.states))
	m.states = append(m.states, state{item: item, says: says, run: run, at: unixOf(i.at)})
}

// forget drops what was listed longest ago, beyond what is kept.
func (m *memory) forget() {
	over := len(m.states) - maxStates
	if over <= 0 {
		return
	}
	slices.SortStableFunc(m.states, func(a, b state) int { return cmp.Compare(a.run, b.run) })
	m.states = slices.Clone(m.states[over:])
	m.index()
}

// encode writes the memory down, decodeStates reads it; what is cut off counts for nothing.
func (m *memory) encode() []byte {
	text := make([]byte, 0, len(m.states)*stateBytes)
	for _, s := range m.states {
		text = append(append(text, s.item[:]...), s.says[:]...)
		text = binary.BigEndian.AppendUint32(text, s.run)
		text = binary.BigEndian.AppendUint32(text, s.at)
	}
	return text
}

func decodeStates(text []byte) []state {
	states := make([]state, 0, len(text)/stateBytes)
	for r := bytes.NewBuffer(text); r.Len() >= stateBytes; {
		s := state{item: name(r.Next(nameBytes)), says: name(r.Next(nameBytes))}
		s.run, s.at = binary.BigEndian.Uint32(r.Next(4)), binary.BigEndian.Uint32(r.Next(4))
		states = append(states, s)
	}
	return states
}

// unixOf writes a time in 32 bits; 0 where it is not known or does not fit.
func unixOf(at time.Time) uint32 {
	if at.IsZero() || at.Unix() < 0 || at.Unix() > 1<<32-1 {
		return 0
	}
	return uint32(at.Unix())
}
