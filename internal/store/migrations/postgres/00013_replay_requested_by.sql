-- Who asked for a replay.
-- +goose Up
ALTER TABLE replays ADD COLUMN requested_by varchar COLLATE "C" NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE replays DROP COLUMN requested_by;
