package webhook

import (
	"encoding/json"
	"strings"
	"testing"
)

// FuzzValidJSON holds the quick judgement against that of encoding/json.
func FuzzValidJSON(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "[]", `{"a":[1,2.5e-3,-0,true,false,null,"\u00e4\n"]}`, "{\"a\":\"\x01\"}", "{\"a\":\"\xff\"}", `{"a":01}`, `{"a":1.}`, `{"a":.1}`, `{"a":+1}`,
		`{"a" :1 , "b":{ } }`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a":"\x"}`, `{"a":"\u12"}`, `{"a":tru}`, "{}{}", "{} x", `{"a":-}`, `{"a":1e}`, "\v{}", strings.Repeat("[", 20_000),
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if got, want := validJSON(text), json.Valid(text); got != want {
			t.Fatalf("validJSON(%q) = %v, encoding/json says %v", text, got, want)
		}
	})
}

func TestDeepJSONIsJudgedWithoutRecursion(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{100, 9_999} {
		if !validJSON([]byte(strings.Repeat("[", depth) + strings.Repeat("]", depth))) {
			t.Errorf("%d levels are refused", depth)
		}
	}
	const deep = 16 << 19
	if validJSON([]byte(strings.Repeat("[", deep) + strings.Repeat("]", deep))) {
		t.Error("eight million levels pass")
	}
	if wide := "[" + strings.Repeat("[],", 20_000) + "[]]"; !validJSON([]byte(wide)) {
		t.Error("a wide document is refused")
	}
}
