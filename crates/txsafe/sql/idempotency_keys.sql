-- txsafe: one row per committed transaction that was given an idempotency key.
CREATE TABLE IF NOT EXISTS txsafe_idempotency_keys (
    transaction_name text NOT NULL,
    key              text NOT NULL,
    committed_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (transaction_name, key)
);
-- Old rows are deleted by age.
CREATE INDEX IF NOT EXISTS txsafe_idempotency_keys_committed_at
    ON txsafe_idempotency_keys (committed_at);
