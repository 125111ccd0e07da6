-- Partners, and what belongs to them. Events are written anew, so that their payload columns stay the last.
-- +goose Up
CREATE TABLE partners (
    id text NOT NULL,
    created_at integer NOT NULL,
    updated_at integer NOT NULL,
    name text NOT NULL,
    event_types json NOT NULL,
    PRIMARY KEY (id)
);

ALTER TABLE api_keys ADD COLUMN partner_id text NOT NULL DEFAULT '';
ALTER TABLE endpoints ADD COLUMN partner_id text NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN partner_id text NOT NULL DEFAULT '';
CREATE INDEX delivery_partner_id_id ON deliveries (partner_id, id) WHERE partner_id <> '';

CREATE TABLE addressed_events (
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
    headers blob NOT NULL,
    query blob NOT NULL,
    body blob NOT NULL,
    PRIMARY KEY (id)
);
INSERT INTO addressed_events
SELECT id, sequence, source_id, '', type, dedupe_key, ordering_key, occurred_at, received_at, content_type,
    duplicate_count, last_duplicate_at, headers, query, body
FROM events;
DROP TABLE events;
ALTER TABLE addressed_events RENAME TO events;
CREATE UNIQUE INDEX events_sequence_key ON events (sequence);
CREATE INDEX event_source_id_sequence ON events (source_id, sequence);
CREATE INDEX event_type_sequence ON events (type, sequence);
CREATE INDEX event_received_at ON events (received_at);
CREATE INDEX event_dedupe_key ON events (dedupe_key) WHERE dedupe_key <> '';
CREATE INDEX event_ordering_key_sequence ON events (ordering_key, sequence) WHERE ordering_key <> '';
CREATE INDEX event_partner_id_sequence ON events (partner_id, sequence) WHERE partner_id <> '';

-- +goose Down
CREATE TABLE unaddressed_events (
    id text NOT NULL,
    sequence integer NOT NULL,
    source_id text NOT NULL,
    type text NOT NULL,
    dedupe_key text NOT NULL,
    ordering_key text NOT NULL,
    occurred_at integer NOT NULL,
    received_at integer NOT NULL,
    content_type text NOT NULL,
    duplicate_count integer NOT NULL,
    last_duplicate_at integer NOT NULL,
    headers blob NOT NULL,
    query blob NOT NULL,
    body blob NOT NULL,
    PRIMARY KEY (id)
);
INSERT INTO unaddressed_events
SELECT id, sequence, source_id, type, dedupe_key, ordering_key, occurred_at, received_at, content_type,
    duplicate_count, last_duplicate_at, headers, query, body
FROM events;
DROP TABLE events;
ALTER TABLE unaddressed_events RENAME TO events;
CREATE UNIQUE INDEX events_sequence_key ON events (sequence);
CREATE INDEX event_source_id_sequence ON events (source_id, sequence);
CREATE INDEX event_type_sequence ON events (type, sequence);
CREATE INDEX event_received_at ON events (received_at);
CREATE INDEX event_dedupe_key ON events (dedupe_key) WHERE dedupe_key <> '';
CREATE INDEX event_ordering_key_sequence ON events (ordering_key, sequence) WHERE ordering_key <> '';
DROP INDEX delivery_partner_id_id;
ALTER TABLE deliveries DROP COLUMN partner_id;
ALTER TABLE endpoints DROP COLUMN partner_id;
ALTER TABLE api_keys DROP COLUMN partner_id;
DROP TABLE partners;
