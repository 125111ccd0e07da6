-- The catalogue of event types, what was learned of them, and the watch over sources.
-- +goose Up
CREATE TABLE event_types (
    id text NOT NULL,
    name text NOT NULL,
    description text NOT NULL,
    schema blob NOT NULL,
    example blob NOT NULL,
    described bool NOT NULL,
    common bool NOT NULL,
    created_at integer NOT NULL,
    updated_at integer NOT NULL,
    PRIMARY KEY (id)
);
CREATE UNIQUE INDEX event_types_name_key ON event_types (name);
CREATE TABLE sightings (
    id text NOT NULL,
    source_id text NOT NULL,
    type_id text NOT NULL,
    event_count integer NOT NULL,
    sample_count integer NOT NULL,
    last_seen_at integer NOT NULL,
    drifted_at integer NOT NULL,
    told_at integer NOT NULL,
    size integer NOT NULL,
    drift blob NOT NULL,
    fingerprints blob NOT NULL,
    shape blob NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX sighting_source_id_type_id_size ON sightings (source_id, type_id, size);
CREATE INDEX sighting_type_id ON sightings (type_id);
CREATE INDEX sighting_untold ON sightings (told_at) WHERE length(drift) > 0;
CREATE TABLE watches (
    id text NOT NULL,
    since integer NOT NULL,
    usual_pause integer NOT NULL,
    measured_at integer NOT NULL,
    silent_since integer NOT NULL,
    rejecting_since integer NOT NULL,
    uncatalogued integer NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE learn_head (
    id integer NOT NULL,
    position integer NOT NULL,
    captured_at integer NOT NULL,
    watched_at integer NOT NULL,
    lease_token text NOT NULL,
    lease_until integer NOT NULL,
    PRIMARY KEY (id)
);
INSERT INTO learn_head (id, position, captured_at, watched_at, lease_token, lease_until) VALUES (1, 0, 0, 0, '', 0);

-- +goose Down
DROP TABLE learn_head;
DROP TABLE watches;
DROP TABLE sightings;
DROP TABLE event_types;
