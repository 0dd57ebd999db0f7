//! What the run loops ask PostgreSQL.

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

/// Writes the key; answers a row only where the key is new.
pub(super) const CLAIM_KEY_SQL: &str = "INSERT INTO txsafe_idempotency_keys (transaction_name, key) VALUES ($1, $2) \
                                        ON CONFLICT DO NOTHING RETURNING key AS answer";

/// Releases the advisory locks of a session.
pub(super) const UNLOCK_ALL_SQL: &str = "SELECT pg_advisory_unlock_all()::text AS answer";
