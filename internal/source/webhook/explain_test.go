package webhook

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/internal/hub"
)

func TestWrongSignaturesAreExplained(t *testing.T) {
	t.Parallel()
	const secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQ="
	decoded, _ := base64.StdEncoding.DecodeString(secret)
	const digits = "00112233445566778899aabbccddeeff"
	raw, _ := hex.DecodeString(digits)
	for _, c := range []struct {
		name           string
		key            []byte // what the sender signs with
		signed, came   string
		secret         hub.Secret
		says, saysNone string
	}{
		{"blanks added", []byte(secret), `{"a":1}`, "{\"a\":1}\n", secret, "something on the way has added them", ""},
		{"line break taken off", []byte(secret), "{\"a\":1}\n", `{"a":1}`, secret, "has taken it off", ""},
		{"line breaks changed", []byte(secret), "a\nb", "a\r\nb", secret, "line breaks of one character", ""},
		{"written anew", []byte(secret), `{"a":1,"b":[1,2]}`, `{ "a": 1, "b": [1, 2] }`, secret, "written it anew", ""},
		{"body not signed", []byte(secret), ``, `{"a":1}`, secret, "For an empty body it is right", ""},
		{"secret meant as base64", decoded, `{"a":1}`, `{"a":1}`, secret, "decoded from base64", ""},
		{"secret meant as hex", raw, `{"a":1}`, `{"a":1}`, digits, "decoded from hex", ""},
		{"prefix of the secret", []byte("abc"), `{"a":1}`, `{"a":1}`, "whsec_abc", "without its prefix", ""},
		{"another secret", []byte("other"), `{"a":1}`, `{"a":1}`, secret, "Usually the secret at the sender is another one", "it is right"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mac := hmac.New(sha256.New, c.key)
			mac.Write([]byte(c.signed))
			signature := hex.EncodeToString(mac.Sum(nil))
			src := &hub.Source{
				ID: "src_a", Kind: hub.SourceWebhook, Secrets: []hub.Secret{c.secret},
				Verification: &hub.Verification{HMAC: &hub.HMACVerification{Header: "X-Signature", Algorithm: "SHA256", Encoding: "HEX"}},
			}
			r := &Request{
				Method: "POST", Header: http.Header{"X-Signature": {signature}}, Body: []byte(c.came), ReceivedAt: tokenNow,
				Fingerprint: func(hub.Secret) string { return "f1f2f3f4f5f6" },
			}
			verdict := New(NewTable(), nil).Verify(t.Context(), src, r)
			if verdict.Reason != hub.RejectedSignatureInvalid || !strings.Contains(verdict.Detail, c.says) || c.saysNone != "" && strings.Contains(verdict.Detail, c.saysNone) {
				t.Errorf("%s: %s", verdict.Reason, verdict.Detail)
			}
			if !strings.Contains(verdict.Detail, "f1f2f3f4f5f6") || strings.Contains(verdict.Detail, signature) || strings.Contains(verdict.Detail, c.secret.Reveal()) {
				t.Errorf("it tells too much or too little: %s", verdict.Detail)
			}
		})
	}
}
