-- Sources that the hub fetches from, their limits, and captured requests. Events are written anew, so that their
-- payload columns stay the last.
-- +goose Up
ALTER TABLE sources ADD COLUMN settings blob NULL;
ALTER TABLE sources ADD COLUMN capturing integer NOT NULL DEFAULT 0;
CREATE TABLE marked_events (
    id text NOT NULL,
    sequence integer NOT NULL,
    source_id text NOT NULL,
    partner_id text NOT NULL DEFAULT '',
    type text NOT NULL,
    dedupe_key text NOT NULL,
    ordering_key text NOT NULL,
    occurred_at integer NOT NULL,
    received_at integer NOT NULL,
    content_type text NOT NULL,
    duplicate_count integer NOT NULL,
    last_duplicate_at integer NOT NULL,
    recovered bool NOT NULL DEFAULT false,
    out_of_order bool NOT NULL DEFAULT false,
    headers blob NOT NULL,
    query blob NOT NULL,
    body blob NOT NULL,
    PRIMARY KEY (id)
);
INSERT INTO marked_events
SELECT id, sequence, source_id, partner_id, type, dedupe_key, ordering_key, occurred_at, received_at, content_type,
    duplicate_count, last_duplicate_at, false, false, headers, query, body
FROM events;
DROP TABLE events;
ALTER TABLE marked_events RENAME TO events;
CREATE UNIQUE INDEX events_sequence_key ON events (sequence);
CREATE INDEX event_source_id_sequence ON events (source_id, sequence);
CREATE INDEX event_type_sequence ON events (type, sequence);
CREATE INDEX event_received_at ON events (received_at);
CREATE INDEX event_dedupe_key ON events (dedupe_key) WHERE dedupe_key <> '';
CREATE INDEX event_ordering_key_sequence ON events (ordering_key, sequence) WHERE ordering_key <> '';
CREATE INDEX event_partner_id_sequence ON events (partner_id, sequence) WHERE partner_id <> '';
CREATE TABLE fetches (
    id text NOT NULL,
    progress blob NOT NULL,
    last_at integer NOT NULL,
    next_at integer NOT NULL,
    error text NOT NULL,
    fetched_count integer NOT NULL,
    recovered_count integer NOT NULL,
    asked_at integer NOT NULL,
    lease_token text NOT NULL,
    lease_until integer NOT NULL,
    PRIMARY KEY (id)
);

-- +goose Down
DROP TABLE fetches;
ALTER TABLE events DROP COLUMN out_of_order;
ALTER TABLE events DROP COLUMN recovered;
ALTER TABLE sources DROP COLUMN capturing;
ALTER TABLE sources DROP COLUMN settings;
