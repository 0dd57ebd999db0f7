-- txsafe: messages that were written in a transaction, and are delivered after its COMMIT.
CREATE TABLE IF NOT EXISTS txsafe_outbox (
    topic      text NOT NULL,
    key        text NOT NULL DEFAULT gen_random_uuid()::text, -- the same at every delivery
    payload    text NOT NULL, -- that of the last write
    written_at timestamptz NOT NULL DEFAULT clock_timestamp(), -- by the first write that no delivery has covered yet
    last_write text NOT NULL DEFAULT 'inserted', -- what the last write did with the row: inserted, joined, revived
    due_at     timestamptz NOT NULL DEFAULT clock_timestamp(), -- of the next attempt; while there is a lease, its end
    lease      uuid, -- the worker's that has the message, or had it last and said nothing since
    again_at   timestamptz, -- written again under this lease: when it is due after this delivery
    attempts   integer NOT NULL DEFAULT 0,
    last_error text,
    dead_at    timestamptz, -- given up: nobody claims it until it is requeued
    PRIMARY KEY (topic, key)
) WITH (
    -- A queue is short, and full of rows that are gone: it is vacuumed by their number and not by their share.
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 1000
);
-- Workers claim by topic, what is due longest first.
CREATE INDEX IF NOT EXISTS txsafe_outbox_due ON txsafe_outbox (topic, due_at) WHERE dead_at IS NULL;
CREATE INDEX IF NOT EXISTS txsafe_outbox_dead ON txsafe_outbox (topic, dead_at) WHERE dead_at IS NOT NULL;
