package signature_test

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/hookgraph/hookgraph/internal/hub"
	"github.com/hookgraph/hookgraph/internal/signature"
)

func TestSignAsymmetric(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		secret := signature.GeneratePrivateKey()
		id, body := rapid.String().Draw(t, "id"), rapid.SliceOf(rapid.Byte()).Draw(t, "body")
		at := time.Unix(rapid.Int64Range(0, 1<<33).Draw(t, "at"), 0)
		item, err := signature.SignStandard(secret, id, at, body)
		if err != nil {
			t.Fatal(err)
		}
		public, err := signature.PublicKey(secret)
		if err != nil {
			t.Fatal(err)
		}
		key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(public, "whpk_"))
		if err != nil || len(key) != ed25519.PublicKeySize || !strings.HasPrefix(public, "whpk_") {
			t.Fatalf("the public key is %q", public)
		}
		signed, found := strings.CutPrefix(item, "v1a,")
		raw, err := base64.StdEncoding.DecodeString(signed)
		if !found || err != nil || !ed25519.Verify(key, fmt.Appendf(nil, "%s.%d.%s", id, at.Unix(), body), raw) {
			t.Fatalf("%s does not verify", item)
		}
	})
}

// The first test of RFC 8032, section 7.1.
const (
	seed   = "nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A="
	public = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
)

func TestPublicKey(t *testing.T) {
	t.Parallel()
	raw, _ := base64.StdEncoding.DecodeString(seed)
	full := ed25519.NewKeyFromSeed(raw)
	broken := append([]byte{}, full...)
	broken[40] ^= 1
	encode := base64.StdEncoding.EncodeToString
	for secret, want := range map[string]error{
		"whsk_" + seed: nil, "whsk_" + encode(full): nil,
		seed: signature.ErrPrivateKeyPrefix, "whsec_" + seed: signature.ErrPrivateKeyPrefix, "": signature.ErrPrivateKeyPrefix,
		"whsk_*":                 signature.ErrPrivateKeyBase64,
		"whsk_":                  signature.ErrPrivateKeyLength,
		"whsk_AAAA":              signature.ErrPrivateKeyLength,
		"whsk_" + encode(broken): signature.ErrPrivateKeyHalves,
	} {
		got, err := signature.PublicKey(hub.Secret(secret))
		if !errors.Is(err, want) || err == nil && got != "whpk_"+public {
			t.Errorf("%q: %q, %v", secret, got, err)
		}
		if err != nil && len(secret) > 10 && strings.Contains(err.Error(), secret[5:]) {
			t.Errorf("the error tells the key: %v", err)
		}
	}
}
