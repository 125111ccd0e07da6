-- Partners, and what belongs to them.
-- +goose Up
CREATE TABLE partners (
    id varchar COLLATE "C" NOT NULL,
    created_at bigint NOT NULL,
    updated_at bigint NOT NULL,
    name varchar COLLATE "C" NOT NULL,
    event_types jsonb NOT NULL,
    PRIMARY KEY (id)
);

ALTER TABLE api_keys ADD COLUMN partner_id varchar COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE endpoints ADD COLUMN partner_id varchar COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN partner_id varchar COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN partner_id varchar COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX delivery_partner_id_id ON deliveries (partner_id, id) WHERE partner_id <> '';
CREATE INDEX event_partner_id_sequence ON events (partner_id, sequence) WHERE partner_id <> '';

-- +goose Down
ALTER TABLE events DROP COLUMN partner_id;
ALTER TABLE deliveries DROP COLUMN partner_id;
ALTER TABLE endpoints DROP COLUMN partner_id;
ALTER TABLE api_keys DROP COLUMN partner_id;
DROP TABLE partners;
