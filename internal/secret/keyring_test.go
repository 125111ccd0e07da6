package secret_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/secret"
)

func key(b byte) []byte { return bytes.Repeat([]byte{b}, secret.KeySize) }

func ring(t interface {
	Helper()
	Fatal(...any)
}, keys ...[]byte,
) *secret.Keyring {
	t.Helper()
	r, err := secret.NewKeyring(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestWhatIsSealedOpensInItsPlaceAlone(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		bound := rapid.SliceOf(rapid.Byte()).Draw(t, "bound")
		other := rapid.SliceOf(rapid.Byte()).Draw(t, "other")
		r := ring(t, key(1))

		sealed, err := r.Seal(plain, bound)
		if err != nil {
			t.Fatal(err)
		}
		got, err := r.Open(sealed, bound)
		if err != nil || !bytes.Equal(got, plain) {
			t.Fatalf("opened %x, %v", got, err)
		}
		if !bytes.Equal(bound, other) {
			if _, err := r.Open(sealed, other); !errors.Is(err, secret.ErrTampered) {
				t.Fatalf("opened elsewhere: %v", err)
			}
		}
	})
}

func TestAnyChangeOfASealedSecretIsNoticed(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.SliceOf(rapid.Byte()).Draw(t, "plain")
		r := ring(t, key(1), key(2))
		sealed, err := r.Seal(plain, []byte("sources/src_1"))
		if err != nil {
			t.Fatal(err)
		}
		changed := bytes.Clone(sealed)
		switch rapid.IntRange(0, 2).Draw(t, "change") {
		case 0: // one bit
			at := rapid.IntRange(0, len(changed)*8-1).Draw(t, "bit")
			changed[at/8] ^= 1 << (at % 8)
		case 1: // shorter
			changed = changed[:rapid.IntRange(0, len(changed)-1).Draw(t, "length")]
		case 2: // longer
			changed = append(changed, rapid.Byte().Draw(t, "more"))
		}
		if got, err := r.Open(changed, []byte("sources/src_1")); err == nil {
			t.Fatalf("opened as %x", got)
		}
	})
}

func TestTheSameSecretIsNeverSealedTheSameWayTwice(t *testing.T) {
	t.Parallel()
	r := ring(t, key(1))
	a, _ := r.Seal([]byte("whsec"), nil)
	b, _ := r.Seal([]byte("whsec"), nil)
	if bytes.Equal(a, b) {
		t.Fatal("two seals are equal")
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	bound := []byte("endpoints/end_1")
	sealed, err := ring(t, key(1)).Seal([]byte("s3cret"), bound)
	if err != nil {
		t.Fatal(err)
	}
	t.Run("an old key still opens behind the new one", func(t *testing.T) {
		t.Parallel()
		got, err := ring(t, key(2), key(1)).Open(sealed, bound)
		if err != nil || string(got) != "s3cret" {
			t.Fatalf("opened %q, %v", got, err)
		}
	})
	t.Run("the new key seals", func(t *testing.T) {
		t.Parallel()
		anew, err := ring(t, key(2), key(1)).Seal([]byte("s3cret"), bound)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ring(t, key(2)).Open(anew, bound); err != nil {
			t.Fatal(err)
		}
		if _, err := ring(t, key(1)).Open(anew, bound); !errors.Is(err, secret.ErrUnknownKey) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("without the old key the error says what to do", func(t *testing.T) {
		t.Parallel()
		_, err := ring(t, key(2)).Open(sealed, bound)
		if !errors.Is(err, secret.ErrUnknownKey) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("bytes that were never sealed are malformed", func(t *testing.T) {
		t.Parallel()
		for _, b := range [][]byte{nil, {}, {1}, []byte("plain text"), make([]byte, 100)} {
			if _, err := ring(t, key(1)).Open(b, nil); !errors.Is(err, secret.ErrMalformed) {
				t.Errorf("%q: got %v", b, err)
			}
		}
	})
}

func TestFingerprintsTellSecretsApartToThoseWhoHoldTheKey(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		plain := rapid.String().Draw(t, "secret")
		got := ring(t, key(1)).Fingerprint(hub.Secret(plain))
		if raw, err := hex.DecodeString(got); err != nil || len(got) != 12 || len(raw) != 6 {
			t.Fatalf("%q is not twelve hexadecimal characters", got)
		}
		if again := ring(t, key(1), key(2)).Fingerprint(hub.Secret(plain)); again != got {
			t.Fatalf("one secret under one key is %s and %s", got, again)
		}
		if other := ring(t, key(1)).Fingerprint(hub.Secret(plain + "x")); other == got {
			t.Fatalf("two secrets are %s", got)
		}
		if rotated := ring(t, key(2), key(1)).Fingerprint(hub.Secret(plain)); rotated == got {
			t.Fatalf("under two keys a secret is %s", got)
		}
		sum, keyed := sha256.Sum256([]byte(plain)), hmac.New(sha256.New, key(1))
		keyed.Write([]byte(plain))
		if strings.HasPrefix(hex.EncodeToString(sum[:]), got) || strings.HasPrefix(hex.EncodeToString(keyed.Sum(nil)), got) {
			t.Fatal("the fingerprint can be made without a key of its own")
		}
	})
}

func TestNewKeyringRefusesWrongKeys(t *testing.T) {
	t.Parallel()
	for _, keys := range [][][]byte{nil, {key(1), nil}, {key(1)[:16]}} {
		if _, err := secret.NewKeyring(keys...); err == nil {
			t.Errorf("%d keys were taken", len(keys))
		}
	}
}

func TestParseKeys(t *testing.T) {
	t.Parallel()
	raw := bytes.Repeat([]byte{0xfb, 0xff}, 16)
	forms := map[string]string{
		"base64":              base64.StdEncoding.EncodeToString(raw),
		"base64 without pad":  base64.RawStdEncoding.EncodeToString(raw),
		"base64 for URLs":     base64.URLEncoding.EncodeToString(raw),
		"hexadecimal":         hex.EncodeToString(raw),
		"upper hexadecimal":   strings.ToUpper(hex.EncodeToString(raw)),
		"a file's final line": "  " + hex.EncodeToString(raw) + "\r\n",
	}
	for name, text := range forms {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			keys, err := secret.ParseKeys(text)
			if err != nil || len(keys) != 1 || !bytes.Equal(keys[0], raw) {
				t.Fatalf("got %x, %v", keys, err)
			}
		})
	}
	t.Run("several are kept in order", func(t *testing.T) {
		t.Parallel()
		a, b, c := secret.GenerateKey(), secret.GenerateKey(), secret.GenerateKey()
		keys, err := secret.ParseKeys(a + ", " + b + "\n" + c + "\n")
		if err != nil || len(keys) != 3 {
			t.Fatalf("got %d keys, %v", len(keys), err)
		}
		for i, text := range []string{a, b, c} {
			if base64.StdEncoding.EncodeToString(keys[i]) != text {
				t.Errorf("key %d differs", i+1)
			}
		}
	})
	wrong := map[string]struct{ text, message string }{
		"nothing":       {" \n,", "the secret key is empty: make one with: openssl rand -base64 32"},
		"a pass phrase": {"correct horse battery staple", "secret key 1 of 1 is neither base64 nor hexadecimal: make one with: openssl rand -base64 32"},
		"a short key":   {secret.GenerateKey() + ",c2hvcnQ=", "secret key 2 of 2 has 5 bytes and needs 32: make one with: openssl rand -base64 32"},
	}
	for name, c := range wrong {
		t.Run(name+" is refused", func(t *testing.T) {
			t.Parallel()
			if _, err := secret.ParseKeys(c.text); err == nil || err.Error() != c.message {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func FuzzParseKeys(f *testing.F) {
	f.Add(secret.GenerateKey())
	f.Add("00,ff\n==")
	f.Fuzz(func(t *testing.T, text string) {
		keys, err := secret.ParseKeys(text)
		if err != nil {
			if len(text) > 24 && strings.Contains(err.Error(), text) {
				t.Fatal("the error shows the key")
			}
			return
		}
		if _, err := secret.NewKeyring(keys...); err != nil {
			t.Fatalf("keys that were read are refused: %v", err)
		}
	})
}
