package signature_test

import (
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

func FuzzParse(f *testing.F) {
	hexed := strings.Repeat("ab", 32)
	for _, seed := range []string{
		"", " ", ",", "=", "sha256=" + hexed, "t=1492774577,v1=" + hexed + ",v0=" + hexed, "t=1,t=2,v1=" + hexed,
		vectorSignature, vectorSignature + " v1a,xx", "v1,", "v1,=", "v1,\x00", "t=\xff,v1=" + hexed, strings.Repeat("v1,AAAA ", 17),
	} {
		f.Add(seed)
	}
	formats := []signature.Format{
		signature.Plain("sha256=", signature.Hex), signature.Plain("", signature.Base64),
		signature.Pairs(",", "t", "v1", signature.Hex), signature.Pairs(";", "ts", "h1", signature.Base64), signature.Standard(),
	}
	f.Fuzz(func(t *testing.T, header string) {
		for _, format := range formats {
			got, err := format.Parse(header)
			if err != nil {
				if len(got.Signatures) != 0 {
					t.Fatalf("%v: signatures beside an error", format)
				}
				continue
			}
			if n := len(got.Signatures); n < 1 || n > signature.MaxSignatures || len(header) > signature.MaxHeaderBytes {
				t.Fatalf("%v: %d signatures of %d bytes", format, n, len(header))
			}
			for _, s := range got.Signatures {
				text := strings.ToLower(header)
				if len(s) == 0 || format.Encoding() == signature.Hex && !strings.Contains(text, signature.Hex.Encode(s)) {
					t.Fatalf("%v: %x does not stand in %q", format, s, header)
				}
			}
			if !strings.Contains(header, got.Timestamp) {
				t.Fatalf("%v: the time %q does not stand in %q", format, got.Timestamp, header)
			}
		}
	})
}

func FuzzTimestamp(f *testing.F) {
	for _, seed := range []string{"", "0", "1614265330", "1614265330000", "99999999999999", "-1", "2021-02-25T16:02:10Z", "2021-02-25T16:02:10.5+14:00", "9999-12-31T23:59:59Z"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, form := range []signature.TimeForm{signature.UnixSeconds, signature.UnixMillis, signature.RFC3339} {
			at, err := form.Parse(text)
			if err == nil && (at.Year() < -1 || at.Year() > 9999) {
				t.Fatalf("%s reads %q as the year %d", form, text, at.Year())
			}
		}
	})
}

func FuzzParseSecret(f *testing.F) {
	for _, seed := range []string{"", "whsec_", vectorSecret.Reveal(), vectorSecret.Reveal()[6:], "whsec_whsec_AAAA", "whsec_\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		key, err := signature.ParseSecret(hub.Secret(text))
		if err == nil && (len(key) < signature.MinSecretBytes || len(key) > signature.MaxSecretBytes) {
			t.Fatalf("%q gives a key of %d bytes", text, len(key))
		}
		if foreign, ferr := signature.ParseForeignSecret(hub.Secret(text)); err == nil && (ferr != nil || string(foreign) != string(key)) {
			t.Fatalf("%q: the lenient form disagrees: %v", text, ferr)
		}
	})
}
