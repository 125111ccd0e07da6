-- Trusted documents, which are part of the configuration.
-- +goose Up
CREATE TABLE documents (
    id text NOT NULL,
    name text NOT NULL,
    hash text NOT NULL,
    text text NOT NULL,
    created_at integer NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX documents_name_key ON documents (name);

-- +goose Down
DROP TABLE documents;
