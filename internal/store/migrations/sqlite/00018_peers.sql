-- The nodes of the hub, which share what endpoints permit. With SQLite there is one, and none is noted.
-- +goose Up
CREATE TABLE peers (
    id text NOT NULL,
    seen_at integer NOT NULL,
    session integer NOT NULL,
    counted json NOT NULL,
    PRIMARY KEY (id)
);

-- +goose Down
DROP TABLE peers;
