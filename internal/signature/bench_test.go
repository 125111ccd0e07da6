package signature_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/hookgraph/hookgraph/internal/signature"
)

func BenchmarkSignStandard(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 1024)
	at := time.Unix(vectorTime, 0)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := signature.SignStandard(vectorSecret, vectorID, at, body); err != nil {
			b.Fatal(err)
		}
	}
}
