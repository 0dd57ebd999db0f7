-- txsafe: one row per committed transaction that was given an idempotency key.
--
-- One statement, which may run again, in a transaction, and in many sessions at once: `IF NOT EXISTS` alone fails when another
-- session creates the same thing. It waits for that session then, and looks again.
DO $txsafe$
BEGIN
    FOR attempt IN 1..100 LOOP
        BEGIN
            CREATE TABLE IF NOT EXISTS txsafe_idempotency_keys (
                transaction_name text NOT NULL,
                key              text NOT NULL,
                committed_at     timestamptz NOT NULL DEFAULT now(),
                fingerprint      bytea, -- the SHA-256 of the request, where the call gave it one
                PRIMARY KEY (transaction_name, key)
            );
            -- A table of an earlier version gets its new column. Without a look, the statement locks out everybody.
            IF NOT EXISTS (
                SELECT FROM pg_attribute
                WHERE attrelid = 'txsafe_idempotency_keys'::regclass AND attname = 'fingerprint' AND NOT attisdropped
            ) THEN
                ALTER TABLE txsafe_idempotency_keys ADD COLUMN IF NOT EXISTS fingerprint bytea;
            END IF;
            -- Old rows are deleted by age.
            IF NOT EXISTS (
                SELECT FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid
                WHERE indrelid = 'txsafe_idempotency_keys'::regclass
                AND relname = 'txsafe_idempotency_keys_committed_at'
            ) THEN
                CREATE INDEX IF NOT EXISTS txsafe_idempotency_keys_committed_at
                    ON txsafe_idempotency_keys (committed_at);
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
