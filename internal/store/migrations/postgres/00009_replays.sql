-- Replays, and hub events on their way to the log.
-- +goose Up
CREATE TABLE replays (
    id varchar COLLATE "C" NOT NULL,
    partner_id varchar COLLATE "C" NOT NULL,
    state varchar COLLATE "C" NOT NULL,
    reason varchar COLLATE "C" NOT NULL,
    selection jsonb NOT NULL,
    fingerprint varchar COLLATE "C" NOT NULL,
    idempotency_key varchar COLLATE "C" NOT NULL,
    rate bigint NOT NULL,
    stage varchar COLLATE "C" NOT NULL,
    progress varchar COLLATE "C" NOT NULL,
    bound bigint NOT NULL,
    total bigint NOT NULL,
    begun bigint NOT NULL,
    done bigint NOT NULL,
    failed bigint NOT NULL,
    paced_at bigint NOT NULL,
    lease_token varchar COLLATE "C" NOT NULL,
    lease_until bigint NOT NULL,
    created_at bigint NOT NULL,
    completed_at bigint NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX replay_partner_id_id ON replays (partner_id, id);
CREATE UNIQUE INDEX replay_running ON replays (partner_id, fingerprint) WHERE state = 'RUNNING';
CREATE UNIQUE INDEX replay_asked ON replays (partner_id, idempotency_key) WHERE idempotency_key <> '';
CREATE INDEX replay_open ON replays (id) WHERE completed_at = 0;

CREATE TABLE replay_items (
    id varchar COLLATE "C" NOT NULL,
    replay_id varchar COLLATE "C" NOT NULL,
    endpoint_id varchar COLLATE "C" NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX replayitem_replay_id_id ON replay_items (replay_id, id);

CREATE TABLE announcements (
    id varchar COLLATE "C" NOT NULL,
    type varchar COLLATE "C" NOT NULL,
    partner_id varchar COLLATE "C" NOT NULL,
    occurred_at bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (id)
);

ALTER TABLE deliveries ADD COLUMN replay_id varchar COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX delivery_replaying ON deliveries (endpoint_id, subscription_id, due_at) WHERE status = 'PENDING' AND replay_id <> '';
CREATE INDEX delivery_of_replay ON deliveries (replay_id, status) WHERE replay_id <> '';

-- +goose Down
DROP INDEX delivery_of_replay;
DROP INDEX delivery_replaying;
ALTER TABLE deliveries DROP COLUMN replay_id;
DROP TABLE announcements;
DROP TABLE replay_items;
DROP TABLE replays;
