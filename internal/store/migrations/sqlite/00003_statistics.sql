-- Statistics, and the log of what became of deliveries.
-- +goose Up
CREATE TABLE rollups (
    id text NOT NULL,
    start integer NOT NULL,
    width integer NOT NULL,
    source_id text NOT NULL,
    endpoint_id text NOT NULL,
    subscription_id text NOT NULL,
    partner_id text NOT NULL,
    received integer NOT NULL,
    duplicates integer NOT NULL,
    rejected integer NOT NULL,
    deliveries_created integer NOT NULL,
    delivered integer NOT NULL,
    dead integer NOT NULL,
    attempts integer NOT NULL,
    failed_attempts integer NOT NULL,
    latency blob NOT NULL,
    end_to_end blob NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX rollup_width_start ON rollups (width, start);

CREATE TABLE delivery_changes (
    sequence integer NOT NULL,
    delivery_id text NOT NULL,
    status text NOT NULL,
    reason text NOT NULL,
    attempt_count integer NOT NULL,
    next_attempt_at integer NOT NULL,
    completed_at integer NOT NULL,
    changed_at integer NOT NULL,
    PRIMARY KEY (sequence)
);

ALTER TABLE log_head ADD COLUMN change_sequence integer NOT NULL DEFAULT 0;

-- +goose Down
ALTER TABLE log_head DROP COLUMN change_sequence;
DROP TABLE delivery_changes;
DROP TABLE rollups;
