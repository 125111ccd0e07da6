-- The nodes of the hub, which share what endpoints permit.
-- +goose Up
CREATE TABLE peers (
    id varchar COLLATE "C" NOT NULL,
    seen_at bigint NOT NULL,
    session bigint NOT NULL,
    counted jsonb NOT NULL,
    PRIMARY KEY (id)
);

-- +goose Down
DROP TABLE peers;
