package signature_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

// The vector of the Standard Webhooks reference libraries.
const (
	vectorSecret    = hub.Secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	vectorID        = "msg_p5jXN8AQM9LWM0D4loKWxJek"
	vectorTime      = 1614265330
	vectorBody      = `{"test": 2432232314}`
	vectorSignature = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
)

func key(t testing.TB, secret hub.Secret) []byte {
	t.Helper()
	raw, err := signature.ParseSecret(secret)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestStandardVector(t *testing.T) {
	t.Parallel()
	got, err := signature.SignStandard(vectorSecret, vectorID, time.Unix(vectorTime, 999), []byte(vectorBody))
	if err != nil || got != vectorSignature {
		t.Fatalf("SignStandard = %q, %v; want %q", got, err, vectorSignature)
	}
	ok, err := verifyStandard([][]byte{key(t, vectorSecret)}, vectorID, strconv.Itoa(vectorTime), []byte(vectorBody), vectorSignature)
	if err != nil || !ok {
		t.Fatalf("verifyStandard = %v, %v", ok, err)
	}
}

func TestPublishedVectors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name      string
		algorithm signature.Algorithm
		key, text string
		want      string
	}{
		// GitHub, "Validating webhook deliveries".
		{"GitHub", signature.SHA256, "It's a Secret to Everybody", "Hello, World!", "757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
		// RFC 2202, case 2; RFC 4231, case 2.
		{"RFC 2202", signature.SHA1, "Jefe", "what do ya want for nothing?", "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"},
		{"RFC 4231 SHA-256", signature.SHA256, "Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
		{"RFC 4231 SHA-512", signature.SHA512, "Jefe", "what do ya want for nothing?", "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			want, _ := hex.DecodeString(c.want)
			if got := c.algorithm.Sign([]byte(c.key), []byte(c.text[:3]), []byte(c.text[3:])); !bytes.Equal(got, want) {
				t.Fatalf("Sign = %x, want %x", got, want)
			}
			if len(want) != c.algorithm.Size() {
				t.Fatalf("Size = %d, want %d", c.algorithm.Size(), len(want))
			}
			for _, spelling := range []string{c.want, strings.ToUpper(c.want)} {
				got, err := signature.Hex.Decode(spelling)
				if err != nil || !c.algorithm.Verify([][]byte{[]byte(c.key)}, [][]byte{got}, []byte(c.text)) {
					t.Fatalf("%q does not verify: %v", spelling, err)
				}
			}
		})
	}
}

func TestSecrets(t *testing.T) {
	t.Parallel()
	t.Run("a generated one is well-formed, 32 bytes long and new each time", func(t *testing.T) {
		t.Parallel()
		a, b := signature.GenerateSecret(), signature.GenerateSecret()
		if len(key(t, a)) != 32 || a.Reveal() == b.Reveal() || !strings.HasPrefix(a.Reveal(), signature.SecretPrefix) {
			t.Fatal("not two fresh secrets of 32 bytes")
		}
	})
	encoded := func(n int) string { return base64.StdEncoding.EncodeToString(make([]byte, n)) }
	for _, c := range []struct {
		name    string
		secret  string
		want    error
		foreign error
	}{
		{"24 bytes are enough", "whsec_" + encoded(24), nil, nil},
		{"64 bytes are allowed", "whsec_" + encoded(64), nil, nil},
		{"23 bytes are too few", "whsec_" + encoded(23), signature.ErrSecretLength, nil},
		{"65 bytes are too many", "whsec_" + encoded(65), signature.ErrSecretLength, nil},
		{"nothing after the prefix", "whsec_", signature.ErrSecretBase64, signature.ErrSecretBase64},
		{"an empty one", "", signature.ErrSecretPrefix, signature.ErrSecretBase64},
		{"one that is not base64", "whsec_!!!", signature.ErrSecretBase64, signature.ErrSecretBase64},
		{"a foreign one without prefix", encoded(32), signature.ErrSecretPrefix, nil},
		{"a line break within", "whsec_" + encoded(24)[:8] + "\n" + encoded(24)[8:], signature.ErrSecretBase64, signature.ErrSecretBase64},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if _, err := signature.ParseSecret(hub.Secret(c.secret)); !errors.Is(err, c.want) {
				t.Errorf("ParseSecret: %v, want %v", err, c.want)
			}
			if _, err := signature.ParseForeignSecret(hub.Secret(c.secret)); !errors.Is(err, c.foreign) {
				t.Errorf("ParseForeignSecret: %v, want %v", err, c.foreign)
			}
		})
	}
	t.Run("a bad one does not sign", func(t *testing.T) {
		t.Parallel()
		if got, err := signature.SignStandard("whsec_short", vectorID, time.Unix(vectorTime, 0), nil); err == nil {
			t.Fatalf("signed: %q", got)
		} else if strings.Contains(err.Error(), "short") {
			t.Fatalf("the error shows the secret: %v", err)
		}
	})
}

func TestParse(t *testing.T) {
	t.Parallel()
	hexed := strings.Repeat("ab", 32)
	stripe := signature.Pairs(",", "t", "v1", signature.Hex)
	plain := signature.Plain("sha256=", signature.Hex)
	for _, c := range []struct {
		name       string
		format     signature.Format
		header     string
		signatures int
		timestamp  string
		want       error
	}{
		{"a plain signature", plain, "sha256=" + hexed, 1, "", nil},
		{"upper-case hexadecimal", plain, "sha256=" + strings.ToUpper(hexed), 1, "", nil},
		{"a missing prefix", plain, hexed, 0, "", signature.ErrMalformed},
		{"nothing behind the prefix", plain, "sha256=", 0, "", signature.ErrNoSignature},
		{"half a byte", plain, "sha256=abc", 0, "", signature.ErrNoSignature},
		{"two joined by a proxy", plain, "sha256=" + hexed + ", sha256=" + hexed, 0, "", signature.ErrNoSignature},
		{"pairs", stripe, "t=1492774577,v1=" + hexed, 1, "1492774577", nil},
		{"pairs with blanks and an unknown key", stripe, "t=1492774577, v1=" + hexed + ", v0=" + hexed + ",v1=" + hexed, 2, "1492774577", nil},
		{"pairs with v0 alone", stripe, "t=1492774577,v0=" + hexed, 0, "", signature.ErrNoSignature},
		{"pairs without a timestamp", stripe, "v1=" + hexed, 0, "", signature.ErrMalformed},
		{"pairs with two timestamps", stripe, "t=1,t=2,v1=" + hexed, 0, "", signature.ErrMalformed},
		{"pairs with an empty timestamp", stripe, "t=,v1=" + hexed, 0, "", signature.ErrMalformed},
		{"an unreadable signature beside a good one", stripe, "t=1,v1=zz,v1=" + hexed, 1, "1", nil},
		{"a pair without =", stripe, "t=1,v1=" + hexed + ",", 0, "", signature.ErrMalformed},
		{"sixteen signatures", stripe, "t=1" + strings.Repeat(",v1="+hexed, 16), 16, "1", nil},
		{"seventeen signatures", stripe, "t=1" + strings.Repeat(",v1="+hexed, 17), 0, "", signature.ErrTooManySignatures},
		{"seventeen of which most are unknown", stripe, "t=1,v1=" + hexed + strings.Repeat(",v9=x", 16), 0, "", signature.ErrTooManySignatures},
		{"a list", signature.Standard(), vectorSignature + " v1a,abcd v2,zzzz " + vectorSignature, 2, "", nil},
		{"a list of other versions", signature.Standard(), "v1a,abcd", 0, "", signature.ErrNoSignature},
		{"a list item without a version", signature.Standard(), vectorSignature[3:], 0, "", signature.ErrNoSignature},
		{"a list of seventeen", signature.Standard(), strings.Repeat(vectorSignature+" ", 17), 0, "", signature.ErrTooManySignatures},
		{"an empty list", signature.Standard(), "   ", 0, "", signature.ErrNoSignature},
		{"a header beyond the bound", signature.Standard(), vectorSignature + strings.Repeat(" ", signature.MaxHeaderBytes), 0, "", signature.ErrHeaderTooLong},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			got, err := c.format.Parse(c.header)
			if !errors.Is(err, c.want) || len(got.Signatures) != c.signatures || got.Timestamp != c.timestamp {
				t.Fatalf("Parse = %d signatures, time %q, %v; want %d, %q, %v",
					len(got.Signatures), got.Timestamp, err, c.signatures, c.timestamp, c.want)
			}
		})
	}
}

func TestTimestamps(t *testing.T) {
	t.Parallel()
	at := time.Date(2021, 2, 25, 15, 2, 10, 0, time.UTC)
	for form, text := range map[signature.TimeForm]string{
		signature.UnixSeconds: "1614265330", signature.UnixMillis: "1614265330000", signature.RFC3339: "2021-02-25T16:02:10+01:00",
		signature.UnixFraction: "1614265330.000", signature.NoZone: "2021-02-25T15:02:10.0",
		signature.SpacedUTC: "2021-02-25 15:02:10 UTC", signature.RFC5322: "Thu, 25 Feb 2021 16:02:10 +0100",
	} {
		if got, err := form.Parse(text); err != nil || !got.Equal(at) {
			t.Errorf("%s: %v, %v; want %v", form, got, err, at)
		}
	}
	for _, text := range []string{"", "-1", "+1", " 1", "1.5", "1e9", "0x10", "١٢", "999999999999", "99999999999999999999", "2021-02-25"} {
		for _, form := range []signature.TimeForm{signature.UnixSeconds, signature.RFC3339} {
			if got, err := form.Parse(text); err == nil {
				t.Errorf("%s reads %q as %v", form, text, got)
			}
		}
	}
	for form, texts := range map[signature.TimeForm][]string{
		signature.UnixFraction: {"", ".5", "1.-5", "1.5.5", "1.0000000001", "1e9", "-1.5"}, signature.NoZone: {"", "2021-02-25T15:02:10+01:00", "2021-02-25T15:02:10Z"},
		signature.SpacedUTC: {"", "2021-02-25 15:02:10", "2021-02-25 15:02:10 CET", "2021-02-25T15:02:10Z"}, signature.RFC5322: {"", "2021-02-25", "Thu, 25 Feb"},
	} {
		for _, text := range texts {
			if got, err := form.Parse(text); err == nil {
				t.Errorf("%s reads %q as %v", form, text, got)
			}
		}
	}
	if got, err := signature.UnixFraction.Parse("1614265330.25"); err != nil || !got.Equal(at.Add(250*time.Millisecond)) {
		t.Errorf("a quarter of a second: %v, %v", got, err)
	}
	for _, c := range []struct {
		offset time.Duration
		want   bool
	}{{0, true}, {5 * time.Minute, true}, {-5 * time.Minute, true}, {5*time.Minute + time.Second, false}, {-5*time.Minute - time.Second, false}, {1 << 62, false}} {
		if got := signature.Within(at.Add(c.offset), at, 5*time.Minute); got != c.want {
			t.Errorf("Within at %v = %v, want %v", c.offset, got, c.want)
		}
	}
	if signature.Within(time.Time{}, time.Unix(1<<40, 0), time.Hour) {
		t.Error("times too far apart for a duration count as near")
	}
}

// TestSignatureLaws states what holds of every message: it verifies under its
// own secret, wherever that stands in the list, and under no other; and not one
// bit of it can be changed.
func TestSignatureLaws(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		bytesOf := rapid.SliceOfN(rapid.Byte(), 0, 200)
		body := bytesOf.Draw(t, "body")
		id := rapid.StringMatching(`[A-Za-z0-9_-]{1,40}`).Draw(t, "id")
		at := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "time"), 0)
		raw := rapid.SliceOfN(rapid.Byte(), 24, 64).Draw(t, "key")
		other := rapid.SliceOfN(rapid.Byte(), 24, 64).Filter(func(b []byte) bool { return !bytes.Equal(b, raw) }).Draw(t, "other key")
		secret := hub.Secret("whsec_" + base64.StdEncoding.EncodeToString(raw))

		list, err := signature.SignStandard(secret, id, at, body)
		if err != nil {
			t.Fatal(err)
		}
		verify := func(keys [][]byte, id, timestamp string, body []byte, list string) bool {
			ok, _ := verifyStandard(keys, id, timestamp, body, list)
			return ok
		}
		stamp := strconv.FormatInt(at.Unix(), 10)
		own := [][]byte{raw}
		if !verify(own, id, stamp, body, list) || !verify([][]byte{other, raw}, id, stamp, body, list) || !verify(own, id, stamp, body, "v1,AAAA v1a,BBBB "+list) {
			t.Fatal("a signature does not verify")
		}
		if verify([][]byte{other}, id, stamp, body, list) || verify(nil, id, stamp, body, list) || verify([][]byte{{}}, id, stamp, body, list) {
			t.Fatal("a signature verifies under another key, an empty one or none")
		}
		if verify(own, id+"x", stamp, body, list) || verify(own, id, stamp+"0", body, list) || verify(own, id, stamp, append([]byte{0}, body...), list) {
			t.Fatal("a signature verifies for another message")
		}
		if len(body) > 0 {
			bit := rapid.IntRange(0, len(body)*8-1).Draw(t, "bit of the body")
			flipped := bytes.Clone(body)
			flipped[bit/8] ^= 1 << (bit % 8)
			if verify(own, id, stamp, flipped, list) {
				t.Fatal("a flipped bit of the body goes unnoticed")
			}
		}
		bit := rapid.IntRange(0, len(list)*8-1).Draw(t, "bit of the signature")
		changed := []byte(list)
		changed[bit/8] ^= 1 << (bit % 8)
		if verify(own, id, stamp, body, string(changed)) {
			t.Fatalf("a flipped bit of the signature goes unnoticed: %q", changed)
		}
		// The padding alone may go: it is no part of the signature.
		cut := rapid.IntRange(0, len(strings.TrimRight(list, "="))-1).Draw(t, "length")
		if verify(own, id, stamp, body, list[:cut]) {
			t.Fatalf("a truncated signature verifies: %q", list[:cut])
		}
	})
}

func TestEncodingLaws(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		raw := rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")
		for _, e := range []signature.Encoding{signature.Hex, signature.Base64} {
			got, err := e.Decode(e.Encode(raw))
			if err != nil || !bytes.Equal(got, raw) {
				t.Fatalf("%s does not give back %x: %x, %v", e, raw, got, err)
			}
		}
	})
}

func TestUnknownNamesVerifyNothing(t *testing.T) {
	t.Parallel()
	unknown := signature.Algorithm("MD5")
	if unknown.Valid() || unknown.Size() != 0 || unknown.Sign([]byte("k"), nil) != nil || unknown.Verify([][]byte{[]byte("k")}, [][]byte{nil, {}}, nil) {
		t.Error("an unknown algorithm is of use")
	}
	if _, err := signature.Encoding("BASE32").Decode("aa"); err == nil || signature.Encoding("BASE32").Valid() {
		t.Error("an unknown encoding is of use")
	}
	if _, err := (signature.Format{}).Parse("aa"); !errors.Is(err, signature.ErrMalformed) {
		t.Error("the zero format reads a header")
	}
}

func ExampleSignStandard() {
	header, err := signature.SignStandard("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`))
	fmt.Println(header, err)
	// Output: v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE= <nil>
}

// verifyStandard reports whether the list of a webhook-signature header holds a
// v1 signature of the message under one of the keys. It does not judge the
// timestamp's age; the error says what is wrong with the list's form.
func verifyStandard(keys [][]byte, id, timestamp string, body []byte, list string) (bool, error) {
	parsed, err := signature.Standard().Parse(list)
	if err != nil {
		return false, err
	}
	head := make([]byte, 0, len(id)+len(timestamp)+2)
	head = append(head, id...)
	head = append(head, '.')
	head = append(head, timestamp...)
	head = append(head, '.')
	return signature.SHA256.Verify(keys, parsed.Signatures, head, body), nil
}
