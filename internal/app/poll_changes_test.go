package app_test

import (
	"database/sql"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/hookgraph/hookgraph/internal/config"
)

// progressOf reads or, given one, writes how far a source has come, in the database of a
// hub that does not run.
func progressOf(t *testing.T, o config.Server, sourceID string, set []byte) (stored []byte) {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+strings.TrimPrefix(o.DatabaseURL, "sqlite:"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if set != nil {
		if _, err := db.ExecContext(t.Context(), `UPDATE fetches SET progress = ? WHERE id = ?`, set, sourceID); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.QueryRowContext(t.Context(), `SELECT progress FROM fetches WHERE id = ?`, sourceID).Scan(&stored); err != nil {
		t.Fatal(err)
	}
	return stored
}

// TestAnItemThatReturnsToAnEarlierStateIsAnEvent has an item change, and change back, with
// restarts in between and with an end between what is stored and how far the source has come.
func TestAnItemThatReturnsToAnEarlierStateIsAnEvent(t *testing.T) {
	t.Parallel()
	o := options(t)
	c := start(t, o)
	says := func(state string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			write(w, fmt.Sprintf(`[{"id":1,"state":%q,"created_at":"2026-03-01T00:00:00Z"},{"id":2,"state":"calm"},{"id":2,"state":"beside"}]`, state))
		}
	}
	a := newAPI(t, says("on"))
	id := c.poll("switch", fmt.Sprintf(`url: %q, interval: "PT24H"`, a.URL), "")
	c.until(id, "all are events", func(p polled) bool { return p.Fetch.FetchedCount == 3 && p.Fetch.LastAt != nil })
	var want []string
	expect := func(when, state string, again bool) {
		t.Helper()
		a.now(says(state))
		if again {
			want = append(want, state)
		}
		p := c.fetchNow(id)
		if p.Fetch.Error != nil || p.Fetch.FetchedCount != 3+len(want) {
			t.Fatalf("%s: %+v, not %d events", when, p.Fetch, 3+len(want))
		}
		var got []string
		for _, e := range slices.Backward(p.Events.Nodes[:len(want)]) {
			got = append(got, strings.Split(string(e.Payload), `"`)[5])
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%s: the events say %q, not %q", when, got, want)
		}
	}
	expect("unchanged", "on", false)
	expect("a change", "off", true)
	expect("back", "on", true)
	expect("still", "on", false)
	expect("once more", "off", true)
	c.stop()
	before := progressOf(t, o, id, nil)
	c = start(t, o)
	expect("after a restart", "off", false)
	expect("back after a restart", "on", true)
	c.stop()
	progressOf(t, o, id, before) // as if the hub had been killed before it was stored
	c = start(t, o)
	expect("what was stored already", "on", false)
	expect("and goes on", "off", true)
	expect("in both directions", "on", true)
}
