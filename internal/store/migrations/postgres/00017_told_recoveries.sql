-- How many recovered events have been told: so far all of them.
-- +goose Up
ALTER TABLE fetches ADD COLUMN told_count bigint NOT NULL DEFAULT 0;
UPDATE fetches SET told_count = recovered_count;

-- +goose Down
ALTER TABLE fetches DROP COLUMN told_count;
