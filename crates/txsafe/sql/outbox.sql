-- txsafe: messages that were written in a transaction, and are delivered after its COMMIT.
--
-- One statement, which may run again, in a transaction, and in many sessions at once: `IF NOT EXISTS` alone fails when another
-- session creates the same thing. It waits for that session then, and looks again.
DO $txsafe$
BEGIN
    FOR attempt IN 1..100 LOOP
        BEGIN
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
            -- Workers claim by topic, what is due longest first. Without a look, the statements lock out all writers.
            IF NOT EXISTS (
                SELECT FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
                WHERE indrelid = 'txsafe_outbox'::regclass AND relname = 'txsafe_outbox_due'
            ) THEN
                CREATE INDEX IF NOT EXISTS txsafe_outbox_due
                    ON txsafe_outbox (topic, due_at) WHERE dead_at IS NULL;
            END IF;
            IF NOT EXISTS (
                SELECT FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
                WHERE indrelid = 'txsafe_outbox'::regclass AND relname = 'txsafe_outbox_dead'
            ) THEN
                CREATE INDEX IF NOT EXISTS txsafe_outbox_dead
                    ON txsafe_outbox (topic, dead_at) WHERE dead_at IS NOT NULL;
            END IF;
            RETURN;
        EXCEPTION WHEN unique_violation OR duplicate_table OR duplicate_object THEN
            -- Something else of this name, such as a type, doesn't go away.
            IF attempt = 100 THEN
                RAISE;
            END IF;
        END;
    END LOOP;
END
$txsafe$;
