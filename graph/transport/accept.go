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

// negotiate reads the Accept headers: the highest q wins, among equals the
// first. Without a header, and for wildcards, the answer is application/json.
func negotiate(header http.Header) accepted {
	ranges := strings.Split(strings.Join(header.Values("Accept"), ","), ",")
	var out accepted
	var best, bestSingle float64
	given := false
	for _, one := range ranges {
		if strings.TrimSpace(one) == "" {
			continue
		}
		given = true
		media, q := mediaRange(one)
		if media == "" || q <= 0 {
			continue
		}
		if media == mediaStream {
			out.stream = true
		} else if q > bestSingle {
			bestSingle, out.single = q, media
		}
		if q > best {
			best, out.preferred = q, media
		}
	}
	if !given {
		return accepted{preferred: mediaJSON, single: mediaJSON}
	}
	return out
}

// mediaRange returns the media type that a range stands for, "" for one that is
// not offered, and its q-value.
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
		if q, err = strconv.ParseFloat(value, 64); err != nil || q < 0 || q > 1 {
			return "", 0
		}
	}
	switch media {
	case mediaJSON, mediaGraphQL, mediaStream:
		return media, q
	case "*/*", "application/*":
		return mediaJSON, q
	}
	return "", 0
}
