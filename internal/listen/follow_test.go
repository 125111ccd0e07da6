package listen

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestPositionsAreRemembered(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "deep", "state.json")
	s, err := openState(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := openState(path, false); err == nil || !strings.Contains(err.Error(), "another hookgraph listen") {
		t.Errorf("a second run of it: %v", err)
	}
	for _, p := range []position{{Cursor: "c1"}, {Cursor: "c1", Done: []string{"evt_1"}}, {Cursor: "c2", Done: []string{"evt_2", "evt_3"}}} {
		if err := s.keep("a=http://x", p); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.keep("b=http://x", position{Cursor: "other"}); err != nil {
		t.Fatal(err)
	}
	s.close()

	s, err = openState(path, false)
	if err != nil {
		t.Fatal(err)
	}
	if p := s.of("a=http://x"); p.Cursor != "c2" || !slices.Equal(p.Done, []string{"evt_2", "evt_3"}) || s.of("b=http://x").Cursor != "other" || s.of("c").Cursor != "" {
		t.Errorf("remembered: %+v", s.positions)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file is %v %v", info.Mode(), err)
	}
	s.close()

	if err := os.WriteFile(path, []byte(`{"a=`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openState(path, false); err == nil || !strings.Contains(err.Error(), "--restart begins anew") {
		t.Errorf("what cannot be read: %v", err)
	}
	s, err = openState(path, true) // which the failure before has not locked
	if err != nil || s.of("a=http://x").Cursor != "" {
		t.Errorf("anew: %+v %v", s, err)
	}
	s.close()
}

func TestAPositionThatCannotBeKeptEndsTheRun(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "gone")
	s, err := openState(filepath.Join(dir, "state.json"), false)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := s.keep("a", position{Cursor: "c"}); !isFatal(err) { // or it would forward without end what it cannot remember
		t.Errorf("it goes on after %v", err)
	}
}
