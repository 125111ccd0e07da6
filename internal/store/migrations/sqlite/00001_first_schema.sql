-- The first schema. The payload columns of events come last, so that lists never walk overflow pages.
-- +goose Up
CREATE TABLE api_keys (
    id text NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    scopes json NOT NULL,
    prefix text NOT NULL,
    hash blob NOT NULL,
    created_at integer NOT NULL,
    expires_at integer NOT NULL,
    revoked_at integer NOT NULL,
    last_used_at integer NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE attempts (
    id text NOT NULL,
    delivery_id text NOT NULL,
    number integer NOT NULL,
    started_at integer NOT NULL,
    duration integer NOT NULL,
    outcome text NOT NULL,
    status_code integer NOT NULL,
    error text NOT NULL,
    request_url text NOT NULL,
    request_headers blob NOT NULL,
    response_headers blob NOT NULL,
    response_body blob NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX attempt_delivery_id_number ON attempts (delivery_id, number);

CREATE TABLE dedupe_keys (
    id text NOT NULL,
    event_id text NOT NULL,
    sequence integer NOT NULL,
    first_seen_at integer NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE deliveries (
    id text NOT NULL,
    event_id text NOT NULL,
    subscription_id text NOT NULL,
    endpoint_id text NOT NULL,
    status text NOT NULL,
    reason text NOT NULL,
    attempt_count integer NOT NULL,
    schedule_position integer NOT NULL,
    next_attempt_at integer NOT NULL,
    due_at integer NOT NULL,
    lease_token text NOT NULL,
    created_at integer NOT NULL,
    completed_at integer NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX delivery_pending ON deliveries (endpoint_id, subscription_id, due_at) WHERE status = 'PENDING';
CREATE INDEX delivery_undelivered ON deliveries (status, id) WHERE status <> 'DELIVERED';
CREATE INDEX delivery_dead_of_endpoint ON deliveries (endpoint_id, status, id) WHERE status IN ('DEAD', 'CANCELED');
CREATE INDEX delivery_dead_of_subscription ON deliveries (subscription_id, status, id) WHERE status IN ('DEAD', 'CANCELED');
CREATE INDEX delivery_event_id ON deliveries (event_id);
CREATE INDEX delivery_endpoint_id_id ON deliveries (endpoint_id, id);
CREATE INDEX delivery_subscription_id_id ON deliveries (subscription_id, id);

CREATE TABLE endpoints (
    id text NOT NULL,
    created_at integer NOT NULL,
    updated_at integer NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    url text NOT NULL,
    state text NOT NULL,
    state_reason text NOT NULL,
    timeout integer NOT NULL,
    max_concurrency integer NOT NULL,
    rate_limit json NULL,
    retry_policy json NOT NULL,
    headers blob NOT NULL,
    signing text NOT NULL,
    signing_secrets blob NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE endpoint_health (
    id text NOT NULL,
    breaker text NOT NULL,
    breaker_until integer NOT NULL,
    probes integer NOT NULL,
    consecutive_failures integer NOT NULL,
    failing_since integer NOT NULL,
    last_success_at integer NOT NULL,
    last_failure_at integer NOT NULL,
    paced_until integer NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE events (
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
CREATE UNIQUE INDEX events_sequence_key ON events (sequence);
CREATE INDEX event_source_id_sequence ON events (source_id, sequence);
CREATE INDEX event_type_sequence ON events (type, sequence);
CREATE INDEX event_received_at ON events (received_at);
CREATE INDEX event_dedupe_key ON events (dedupe_key) WHERE dedupe_key <> '';
CREATE INDEX event_ordering_key_sequence ON events (ordering_key, sequence) WHERE ordering_key <> '';

CREATE TABLE log_head (
    id integer NOT NULL PRIMARY KEY AUTOINCREMENT,
    sequence integer NOT NULL,
    config_revision integer NOT NULL,
    epoch text NOT NULL
);

CREATE TABLE rejections (
    id text NOT NULL,
    source_id text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    method text NOT NULL,
    received_at integer NOT NULL,
    size integer NOT NULL,
    headers blob NOT NULL,
    body blob NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX rejection_source_id_id_size ON rejections (source_id, id, size);

CREATE TABLE sources (
    id text NOT NULL,
    created_at integer NOT NULL,
    updated_at integer NOT NULL,
    name text NOT NULL,
    slug text NOT NULL,
    kind text NOT NULL,
    state text NOT NULL,
    provider text NOT NULL,
    secrets blob NOT NULL,
    provider_config blob NOT NULL,
    verification json NULL,
    allow_unverified bool NOT NULL,
    event_type text NOT NULL,
    dedupe_key text NOT NULL,
    occurred_at text NOT NULL,
    ordering_key text NOT NULL,
    response json NOT NULL,
    max_body_bytes integer NOT NULL,
    dedupe_window integer NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX sources_slug_key ON sources (slug);

CREATE TABLE subscriptions (
    id text NOT NULL,
    created_at integer NOT NULL,
    updated_at integer NOT NULL,
    name text NOT NULL,
    endpoint_id text NOT NULL,
    state text NOT NULL,
    event_types json NOT NULL,
    source_ids json NOT NULL,
    filter text NOT NULL,
    PRIMARY KEY (id)
);

INSERT INTO log_head (id, sequence, config_revision, epoch) VALUES (1, 0, 0, lower(hex(randomblob(8))));

-- +goose Down
DROP TABLE subscriptions;
DROP TABLE sources;
DROP TABLE rejections;
DROP TABLE log_head;
DROP TABLE events;
DROP TABLE endpoint_health;
DROP TABLE endpoints;
DROP TABLE deliveries;
DROP TABLE dedupe_keys;
DROP TABLE attempts;
DROP TABLE api_keys;
