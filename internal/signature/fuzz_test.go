package signature_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

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
	for _, seed := range []string{
		"", "0", "1614265330", "1614265330000", "99999999999999", "-1", "2021-02-25T16:02:10Z", "2021-02-25T16:02:10.5+14:00", "9999-12-31T23:59:59Z",
		"1614265330.5", "1614265330.", "1614265330.1234567891", ".5", "2021-02-25T16:02:10.000", "2021-02-25T16:02:10ZZ", "1e9", "2021-02-25 16:02:10 UTC", "Thu, 25 Feb 2021 16:02:10 +0000",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		for _, form := range []signature.TimeForm{signature.UnixSeconds, signature.UnixMillis, signature.RFC3339, signature.UnixFraction, signature.NoZone, signature.SpacedUTC, signature.RFC5322} {
			at, err := form.Parse(text)
			if err != nil {
				if !at.IsZero() {
					t.Fatalf("%s reads %q as %s beside an error", form, text, at)
				}
				continue
			}
			if at.Year() < -1 || at.Year() > 9999 || at.Location() != time.UTC {
				t.Fatalf("%s reads %q as %s", form, text, at)
			}
			if whole, _, _ := strings.Cut(text, "."); form == signature.UnixSeconds || form == signature.UnixFraction {
				if n, err := strconv.ParseInt(whole, 10, 64); err != nil || n != at.Unix() {
					t.Fatalf("%s reads %q as %d", form, text, at.Unix())
				}
			}
		}
	})
}

// FuzzDecode states that a signature is read as what it says and as nothing else:
// written anew it is the same text, but for case and padding.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{"", "ab", "AB", "abc", "0x00", "YQ==", "YQ", "-_-_", "+/+/", "-/+_", "YR==", "Y Q", "YQ=\n=", "\xff"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if raw, err := signature.Hex.Decode(text); err == nil && !strings.EqualFold(signature.Hex.Encode(raw), text) {
			t.Fatalf("%q is read as %x", text, raw)
		}
		raw, err := signature.Base64.Decode(text)
		if err != nil {
			return
		}
		plain := strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(text), "=")
		if written := strings.TrimRight(signature.Base64.Encode(raw), "="); written != plain {
			t.Fatalf("%q is read as %x, which is %q", text, raw, written)
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
