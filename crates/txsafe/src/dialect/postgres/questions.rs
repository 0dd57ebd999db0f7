//! What the run loops ask PostgreSQL.

use crate::dialect::key_in_progress;

/// The start of the server, which tells it from others and from its own standbys, and the database.
/// Source: PostgreSQL manual, section 9.27, "System Information Functions and Operators".
pub(super) const DATABASE_SQL: &str = "SELECT concat_ws('|', extract(epoch FROM pg_postmaster_start_time()), \
                                       current_database()) AS answer";

/// The fence, as SQL over `pg_stat_bgwriter`. A plain role may read both.
macro_rules! fence {
    () => {
        "extract(epoch FROM pg_postmaster_start_time()), coalesce(extract(epoch FROM stats_reset)::text, '-')"
    };
}

pub(super) const WITNESS_SQL: &str = concat!(
    "SELECT concat_ws('|', coalesce(pg_current_xact_id_if_assigned()::text, '-'), pg_backend_pid(), ",
    fence!(),
    ") AS answer FROM pg_stat_bgwriter"
);

pub(super) const STATUS_SQL: &str = concat!(
    "SELECT concat_ws('|', coalesce(pg_xact_status($1::text::xid8), 'forgotten'), ",
    fence!(),
    ") AS answer FROM pg_stat_bgwriter"
);

/// Ends the old backend, if it still waits in this very transaction for a COMMIT that never came. One that works on COMMIT
/// is left to it; and where standbys are waited for, all are: ended there, a COMMIT that comes in this moment would make
/// visible what isn't replicated.
/// Source: PostgreSQL manual, section 27.2.8, "Synchronous Replication".
pub(super) const END_SESSION_SQL: &str = "SELECT pg_terminate_backend(pid)::text AS answer FROM pg_stat_activity \
                                          WHERE pid = $1::text::int AND backend_xid = ($2::text::xid8)::xid \
                                          AND state <> 'active' AND current_setting('synchronous_standby_names') = ''";

/// The transactions of the sessions of a deadlock. Who began later than we ended isn't who we fought with.
pub(super) const OPPONENTS_SQL: &str = include_str!("../../../sql/opponents.sql");

/// The advisory lock of a key, which its transaction holds to its end. Schemas may each have a table of their own, so the id
/// depends on the table, too.
macro_rules! key_lock {
    () => {
        "hashtextextended($2, hashtextextended($1, 'txsafe_idempotency_keys'::regclass::oid::bigint))"
    };
}

/// Writes the key, unless the transaction of another call has its lock. The row alone would be waited for, and no error says
/// which lock it is that wasn't free in time.
macro_rules! claim_key {
    ($column:literal, $value:literal) => {
        concat!(
            "WITH free AS MATERIALIZED (SELECT pg_try_advisory_xact_lock(",
            key_lock!(),
            ") AS is_free), claimed AS (INSERT INTO txsafe_idempotency_keys (transaction_name, key",
            $column,
            ") SELECT $1::text, $2::text",
            $value,
            " FROM free WHERE is_free ON CONFLICT DO NOTHING RETURNING key) \
             SELECT CASE WHEN is_free THEN 'new' ELSE '",
            key_in_progress!(),
            "' END AS answer \
             FROM free LEFT JOIN claimed ON true WHERE NOT is_free OR key IS NOT NULL"
        )
    };
}

pub(super) const CLAIM_KEY_SQL: &str = claim_key!("", "");

pub(super) const CLAIM_KEY_WITH_FINGERPRINT_SQL: &str =
    claim_key!(", fingerprint", ", decode($3, 'hex')");

/// Asked behind the claim: only a new snapshot sees a row that was committed while the claim ran. A row without a fingerprint
/// is the same as any.
pub(super) const OTHER_FINGERPRINT_SQL: &str = "SELECT 'other' AS answer FROM txsafe_idempotency_keys \
                                                WHERE transaction_name = $1 AND key = $2 \
                                                AND fingerprint <> decode($3, 'hex')";

/// Waits for the lock of a key, which no statement takes besides; so a lock timeout tells that the key is in progress.
pub(super) const AWAIT_KEY_SQL: &str =
    concat!("SELECT pg_advisory_xact_lock(", key_lock!(), ")::text AS answer");

/// Releases the advisory locks of a session.
pub(super) const UNLOCK_ALL_SQL: &str = "SELECT pg_advisory_unlock_all()::text AS answer";
