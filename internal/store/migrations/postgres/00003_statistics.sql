-- Statistics, and the log of what became of deliveries.
-- +goose Up
CREATE TABLE rollups (
    id varchar COLLATE "C" NOT NULL,
    start bigint NOT NULL,
    width bigint NOT NULL,
    source_id varchar COLLATE "C" NOT NULL,
    endpoint_id varchar COLLATE "C" NOT NULL,
    subscription_id varchar COLLATE "C" NOT NULL,
    partner_id varchar COLLATE "C" NOT NULL,
    received bigint NOT NULL,
    duplicates bigint NOT NULL,
    rejected bigint NOT NULL,
    deliveries_created bigint NOT NULL,
    delivered bigint NOT NULL,
    dead bigint NOT NULL,
    attempts bigint NOT NULL,
    failed_attempts bigint NOT NULL,
    latency bytea NOT NULL,
    end_to_end bytea NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX rollup_width_start ON rollups (width, start);

CREATE TABLE delivery_changes (
    sequence bigint NOT NULL,
    delivery_id varchar COLLATE "C" NOT NULL,
    status varchar COLLATE "C" NOT NULL,
    reason varchar COLLATE "C" NOT NULL,
    attempt_count bigint NOT NULL,
    next_attempt_at bigint NOT NULL,
    completed_at bigint NOT NULL,
    changed_at bigint NOT NULL,
    PRIMARY KEY (sequence)
);

ALTER TABLE log_head ADD COLUMN change_sequence bigint NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE log_head DROP COLUMN change_sequence;
DROP TABLE delivery_changes;
DROP TABLE rollups;
