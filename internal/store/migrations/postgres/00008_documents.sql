-- Trusted documents, which are part of the configuration.
-- +goose Up
CREATE TABLE documents (
    id varchar COLLATE "C" NOT NULL,
    name varchar COLLATE "C" NOT NULL,
    hash varchar COLLATE "C" NOT NULL,
    text varchar COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX documents_name_key ON documents (name);

-- +goose Down
DROP TABLE documents;
