-- Sources that the hub fetches from, their limits, and captured requests.
-- +goose Up
ALTER TABLE sources ADD COLUMN settings bytea NULL;
ALTER TABLE sources ADD COLUMN capturing bigint NOT NULL DEFAULT 0;
ALTER TABLE events ADD COLUMN recovered boolean NOT NULL DEFAULT false;
ALTER TABLE events ADD COLUMN out_of_order boolean NOT NULL DEFAULT false;
CREATE TABLE fetches (
    id varchar COLLATE "C" NOT NULL,
    progress bytea NOT NULL,
    last_at bigint NOT NULL,
    next_at bigint NOT NULL,
    error varchar COLLATE "C" NOT NULL,
    fetched_count bigint NOT NULL,
    recovered_count bigint NOT NULL,
    asked_at bigint NOT NULL,
    lease_token varchar COLLATE "C" NOT NULL,
    lease_until bigint NOT NULL,
    PRIMARY KEY (id)
);

-- +goose Down
DROP TABLE fetches;
ALTER TABLE events DROP COLUMN out_of_order;
ALTER TABLE events DROP COLUMN recovered;
ALTER TABLE sources DROP COLUMN capturing;
ALTER TABLE sources DROP COLUMN settings;
