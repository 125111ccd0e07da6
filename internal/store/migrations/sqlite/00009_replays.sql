-- Replays, and hub events on their way to the log.
-- +goose Up
CREATE TABLE replays (
    id text NOT NULL,
    partner_id text NOT NULL,
    state text NOT NULL,
    reason text NOT NULL,
    selection json NOT NULL,
    fingerprint text NOT NULL,
    idempotency_key text NOT NULL,
    rate integer NOT NULL,
    stage text NOT NULL,
    progress text NOT NULL,
    bound integer NOT NULL,
    total integer NOT NULL,
    begun integer NOT NULL,
    done integer NOT NULL,
    failed integer NOT NULL,
    paced_at integer NOT NULL,
    lease_token text NOT NULL,
    lease_until integer NOT NULL,
    created_at integer NOT NULL,
    completed_at integer NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX replay_partner_id_id ON replays (partner_id, id);
CREATE UNIQUE INDEX replay_running ON replays (partner_id, fingerprint) WHERE state = 'RUNNING';
CREATE UNIQUE INDEX replay_asked ON replays (partner_id, idempotency_key) WHERE idempotency_key <> '';
CREATE INDEX replay_open ON replays (id) WHERE completed_at = 0;

CREATE TABLE replay_items (
    id text NOT NULL,
    replay_id text NOT NULL,
    endpoint_id text NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX replayitem_replay_id_id ON replay_items (replay_id, id);

CREATE TABLE announcements (
    id text NOT NULL,
    type text NOT NULL,
    partner_id text NOT NULL,
    occurred_at integer NOT NULL,
    body blob NOT NULL,
    PRIMARY KEY (id)
);

ALTER TABLE deliveries ADD COLUMN replay_id text NOT NULL DEFAULT '';
CREATE INDEX delivery_replaying ON deliveries (endpoint_id, subscription_id, due_at) WHERE status = 'PENDING' AND replay_id <> '';
CREATE INDEX delivery_of_replay ON deliveries (replay_id, status) WHERE replay_id <> '';

-- +goose Down
DROP INDEX delivery_of_replay;
DROP INDEX delivery_replaying;
ALTER TABLE deliveries DROP COLUMN replay_id;
DROP TABLE announcements;
DROP TABLE replay_items;
DROP TABLE replays;
