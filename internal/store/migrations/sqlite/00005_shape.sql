-- Transforms and the bodies they make; the rules of subscriptions as they stood.
-- +goose Up
ALTER TABLE subscriptions ADD COLUMN transform json NULL;
ALTER TABLE deliveries ADD COLUMN body_form text NOT NULL DEFAULT 'RECEIVED';
CREATE INDEX delivery_held ON deliveries (subscription_id) WHERE status = 'PENDING' AND reason <> '';

CREATE TABLE delivery_bodies (
    id text NOT NULL,
    content_type text NOT NULL,
    body blob NOT NULL,
    PRIMARY KEY (id)
);

CREATE TABLE subscription_revisions (
    id text NOT NULL,
    subscription_id text NOT NULL,
    revision integer NOT NULL,
    since integer NOT NULL,
    at integer NOT NULL,
    deleted bool NOT NULL,
    name text NOT NULL,
    endpoint_id text NOT NULL,
    event_types json NOT NULL,
    source_ids json NOT NULL,
    filter text NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX subscriptionrevision_subscription_id_revision ON subscription_revisions (subscription_id, revision);

-- What held before is not known; what holds now does so from here on.
INSERT INTO subscription_revisions (id, subscription_id, revision, since, at, deleted, name, endpoint_id, event_types, source_ids, filter)
SELECT 'rev_' || substr(s.id, 5), s.id, h.config_revision, h.sequence, s.updated_at, false, s.name, s.endpoint_id, s.event_types, s.source_ids, s.filter
FROM subscriptions AS s CROSS JOIN log_head AS h;

-- +goose Down
DROP TABLE subscription_revisions;
DROP TABLE delivery_bodies;
DROP INDEX delivery_held;
ALTER TABLE deliveries DROP COLUMN body_form;
ALTER TABLE subscriptions DROP COLUMN transform;
