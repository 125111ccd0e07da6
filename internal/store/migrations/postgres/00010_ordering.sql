-- The order of deliveries with one ordering key. What exists is in none.
-- +goose Up
ALTER TABLE subscriptions ADD COLUMN ordering varchar COLLATE "C" NOT NULL DEFAULT 'NONE';
ALTER TABLE subscriptions ADD COLUMN ordering_key varchar COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE subscriptions ADD COLUMN poison varchar COLLATE "C" NOT NULL DEFAULT 'PARK_KEY';
ALTER TABLE deliveries ADD COLUMN line varchar COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN mark varchar COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN place bigint NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN turn varchar COLLATE "C" NOT NULL DEFAULT '';
CREATE INDEX delivery_line ON deliveries (line, turn, place, id) WHERE turn <> '';
CREATE INDEX delivery_parked ON deliveries (subscription_id) WHERE status = 'DEAD' AND turn <> '';
CREATE INDEX delivery_mark ON deliveries (mark, place) WHERE status = 'PENDING' AND mark <> '';

CREATE TABLE ordering_marks (
    id varchar COLLATE "C" NOT NULL,
    subscription_id varchar COLLATE "C" NOT NULL,
    occurred_at bigint NOT NULL,
    sequence bigint NOT NULL,
    delivery_id varchar COLLATE "C" NOT NULL,
    PRIMARY KEY (id)
);
CREATE INDEX orderingmark_subscription_id ON ordering_marks (subscription_id);

-- +goose Down
DROP TABLE ordering_marks;
DROP INDEX delivery_mark;
DROP INDEX delivery_parked;
DROP INDEX delivery_line;
ALTER TABLE deliveries DROP COLUMN turn;
ALTER TABLE deliveries DROP COLUMN place;
ALTER TABLE deliveries DROP COLUMN mark;
ALTER TABLE deliveries DROP COLUMN line;
ALTER TABLE subscriptions DROP COLUMN poison;
ALTER TABLE subscriptions DROP COLUMN ordering_key;
ALTER TABLE subscriptions DROP COLUMN ordering;
