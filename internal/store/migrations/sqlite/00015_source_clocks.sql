-- When the latest event of each source happened. Events that are stored already are not looked at.
-- +goose Up
CREATE TABLE source_clocks (
    id text NOT NULL,
    newest_at integer NOT NULL,
    PRIMARY KEY (id)
);

-- +goose Down
DROP TABLE source_clocks;
