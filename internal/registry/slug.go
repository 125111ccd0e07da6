package registry

import (
	"fmt"
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"

	"github.com/hookgraph/hookgraph/internal/hub"
)

// maxSlugLength is the longest slug, as long as a label of a host name.
const maxSlugLength = 63

// fallbackSlug stands for names that have nothing to make a slug of.
const fallbackSlug = "source"

// foreign are letters that do not come apart into a Latin letter and a mark.
var foreign = map[rune]string{'ß': "ss", 'æ': "ae", 'œ': "oe", 'ø': "o", 'ł': "l", 'đ': "d", 'ð': "d", 'þ': "th", 'ı': "i"}

// deriveSlug makes a slug of a name.
func deriveSlug(name string) string {
	var b strings.Builder
	dash := false
	for _, r := range norm.NFKD.String(strings.ToLower(name)) {
		piece := foreign[r]
		switch {
		case r >= 'a' && r <= 'z' || r >= '0' && r <= '9':
			piece = string(r)
		case piece == "" && unicode.Is(unicode.Mn, r):
			continue // an accent, which NFKD has taken off its letter
		}
		if piece == "" {
			dash = b.Len() > 0
			continue
		}
		if dash {
			b.WriteByte('-')
			dash = false
		}
		b.WriteString(piece)
	}
	slug := b.String()
	if len(slug) > maxSlugLength {
		slug = strings.TrimRight(slug[:maxSlugLength], "-")
	}
	if slug == "" {
		return fallbackSlug
	}
	return slug
}

// freeSlug returns the slug itself if no source has it, else the first of slug-2,
// slug-3 and so on that none has.
func freeSlug(cfg *hub.Configuration, slug string) string {
	free := slug
	for n := 2; cfg.SourcesBySlug[free] != nil; n++ {
		suffix := fmt.Sprintf("-%d", n)
		free = strings.TrimRight(slug[:min(len(slug), maxSlugLength-len(suffix))], "-") + suffix
	}
	return free
}

// checkSlug notes what is wrong with a slug that was given.
func checkSlug(cfg *hub.Configuration, slug string, p *problems) {
	valid := slug != "" && len(slug) <= maxSlugLength && slug[0] != '-' && slug[len(slug)-1] != '-'
	for _, c := range []byte(slug) {
		valid = valid && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-')
	}
	switch {
	case !valid:
		p.add(hub.InputInvalid, fmt.Sprintf(
			"a slug has 1 to %d lower-case letters, digits and dashes and begins and ends without a dash, such as %s",
			maxSlugLength, deriveSlug(slug)), "slug")
	case cfg.SourcesBySlug[slug] != nil:
		slugTaken(cfg, slug, p)
	}
}

func slugTaken(cfg *hub.Configuration, slug string, p *problems) {
	p.add(hub.InputConflict, fmt.Sprintf("another source has the slug %s; %s is free", slug, freeSlug(cfg, slug)), "slug")
}
