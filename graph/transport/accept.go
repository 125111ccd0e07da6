package transport

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

// The media types in which answers are given.
const (
	mediaJSON    = "application/json"
	mediaGraphQL = "application/graphql-response+json"
	mediaStream  = "text/event-stream"
)

// accepted is what a client takes for an answer.
type accepted struct {
	preferred string // one of the media types; "" if it takes none of them
	single    string // the preferred one of the two for single answers; "" if it takes neither
	stream    bool   // whether it takes server-sent events at all
}

// offered are the media types of answers; where a client likes several equally
// well, it gets the first.
var offered = [...]string{mediaJSON, mediaGraphQL, mediaStream}

// negotiate reads the Accept headers. Of each media type counts the range that
// names it most closely (RFC 9110, section 12.5.1); the highest q wins, among
// equals the range that stands first. Without a header, and for wildcards, the
// answer is application/json: an event stream has to be asked for by name.
func negotiate(header http.Header) accepted {
	ranges := make([]string, 0, 4)
	for one := range strings.SplitSeq(strings.Join(header.Values("Accept"), ","), ",") {
		if strings.TrimSpace(one) != "" {
			ranges = append(ranges, one)
		}
	}
	if len(ranges) == 0 {
		return accepted{preferred: mediaJSON, single: mediaJSON}
	}
	var closest [len(offered)]choice
	for place, one := range ranges {
		media, q := mediaRange(one)
		for i, offer := range offered {
			if closeness := closenessTo(media, offer); closeness > closest[i].closeness {
				closest[i] = choice{closeness, q, place}
			}
		}
	}
	var out accepted
	var best, bestSingle choice
	for i, offer := range offered {
		if offer == mediaStream {
			out.stream = closest[i].q > 0
		} else if closest[i].before(bestSingle) {
			bestSingle, out.single = closest[i], offer
		}
		if closest[i].before(best) {
			best, out.preferred = closest[i], offer
		}
	}
	return out
}

// choice is the range that counts for a media type; the zero value is none.
type choice struct {
	closeness int
	q         float64
	place     int // among the ranges
}

// before reports whether a client would rather have this one.
func (c choice) before(other choice) bool {
	return c.q > other.q || c.q > 0 && c.q == other.q && c.place < other.place
}

// closenessTo says how closely a range names a media type, 0 if not at all.
func closenessTo(mediaRange, media string) int {
	switch {
	case mediaRange == media:
		return 3
	case mediaRange == "application/*" && media != mediaStream:
		return 2
	case mediaRange == "*/*" && media != mediaStream:
		return 1
	}
	return 0
}

// mediaRange returns a range without its parameters, "" for one that nothing
// offered satisfies, and its q-value.
func mediaRange(text string) (string, float64) {
	media, parameters, err := mime.ParseMediaType(text)
	if err != nil {
		return "", 0
	}
	if charset, ok := parameters["charset"]; ok && !strings.EqualFold(charset, "utf-8") {
		return "", 0
	}
	q := 1.0
	if value, ok := parameters["q"]; ok {
		if q, err = strconv.ParseFloat(value, 64); err != nil || !(q >= 0 && q <= 1) {
			return "", 0
		}
	}
	return media, q
}
