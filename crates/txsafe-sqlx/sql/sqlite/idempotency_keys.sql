-- txsafe: one row per committed transaction that was given an idempotency key.
CREATE TABLE IF NOT EXISTS txsafe_idempotency_keys (
    transaction_name TEXT NOT NULL,
    key              TEXT NOT NULL,
    committed_at     INTEGER NOT NULL DEFAULT (unixepoch()),
    fingerprint      TEXT, -- the SHA-256 of the request in hexadecimal, where the call gave it one
    PRIMARY KEY (transaction_name, key)
) WITHOUT ROWID;
-- Old rows are deleted by age.
CREATE INDEX IF NOT EXISTS txsafe_idempotency_keys_committed_at
    ON txsafe_idempotency_keys (committed_at);
