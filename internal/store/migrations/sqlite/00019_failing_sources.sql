-- Since when fetching from a source has failed, how often in a row, and what of that has been told. Rhythms take a day now.
-- +goose Up
ALTER TABLE fetches ADD COLUMN failing_since integer NOT NULL DEFAULT 0;
ALTER TABLE fetches ADD COLUMN failures integer NOT NULL DEFAULT 0;
ALTER TABLE watches ADD COLUMN failing_since integer NOT NULL DEFAULT 0;
UPDATE fetches SET failing_since = last_at, failures = 1 WHERE error <> '';
UPDATE watches SET measured_at = 0;

-- +goose Down
ALTER TABLE watches DROP COLUMN failing_since;
ALTER TABLE fetches DROP COLUMN failures;
ALTER TABLE fetches DROP COLUMN failing_since;
