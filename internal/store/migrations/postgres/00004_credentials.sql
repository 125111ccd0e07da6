-- Credentials, maximum age, verification and what becomes of the backlog of endpoints; attempts of no delivery.
-- +goose Up
ALTER TABLE endpoints ADD COLUMN auth bytea NULL;
ALTER TABLE endpoints ADD COLUMN max_age bigint NULL;
ALTER TABLE endpoints ADD COLUMN verified_at bigint NULL;
ALTER TABLE endpoints ADD COLUMN backlog_choice varchar COLLATE "C" NULL;
ALTER TABLE endpoints ADD COLUMN backlog_before bigint NULL;
ALTER TABLE attempts ADD COLUMN endpoint_id varchar COLLATE "C" NULL;
ALTER TABLE attempts ADD COLUMN request_body bytea NULL;

-- +goose Down
ALTER TABLE attempts DROP COLUMN request_body;
ALTER TABLE attempts DROP COLUMN endpoint_id;
ALTER TABLE endpoints DROP COLUMN backlog_before;
ALTER TABLE endpoints DROP COLUMN backlog_choice;
ALTER TABLE endpoints DROP COLUMN verified_at;
ALTER TABLE endpoints DROP COLUMN max_age;
ALTER TABLE endpoints DROP COLUMN auth;
