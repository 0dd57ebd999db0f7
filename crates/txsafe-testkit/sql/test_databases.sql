-- One row for each database of a role's tests, in a schema of that role's own.
--
-- Unlogged: claims cost no fsync, and after a crash of the server nothing is remembered that might not be true.
CREATE SCHEMA IF NOT EXISTS AUTHORIZATION CURRENT_USER;
CREATE UNLOGGED TABLE IF NOT EXISTS databases (
    name text PRIMARY KEY,
    suite text NOT NULL,
    fingerprint text NOT NULL,
    -- migrating → template; making → ready → taken
    state text NOT NULL,
    -- The key of the advisory lock that the owner's session holds. NULL where no process owns it.
    owner int,
    test text,
    used_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS databases_ready ON databases (fingerprint, state, used_at);
