//! What is remembered of the limits of a session of PostgreSQL.
//!
//! SQLx's connection has no field for us and no id. But it caches prepared statements, and the description of one of ours is an
//! allocation that no other connection shares while we hold it.
//!
//! A connection without that cache, as behind a pooler, isn't remembered, and its limits are read for each transaction. Then those of
//! all connections are, because nothing tells which pool it is of.

use super::{
    postgres::failure_of,
    sealed::{Known, Place},
};
use sqlx::{
    Connection, Error as SqlxError, Executor, PgConnection, SqlStr, Statement,
    postgres::{PgColumn, PgStatement},
};
use std::{
    collections::HashMap,
    sync::{
        LazyLock, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};
use txsafe::{
    Condition,
    driver::{KnownLimits, Limits, lock_mutex},
};

/// By its cached statement a connection is known.
const SQL: &str = "SELECT 'txsafe knows this connection by this statement'";

/// So many connections are remembered. Most of those that are forgotten were closed long ago.
const MOST_CONNECTIONS: usize = 4_096;

static REMEMBERED: LazyLock<Mutex<HashMap<Place, Remembered>>> = LazyLock::new(Mutex::default);

struct Remembered {
    limits: KnownLimits,
    /// Held, so that its address stays its own.
    _statement: PgStatement,
}

/// The place of this connection, if it has one, and what is remembered there. A new connection is asked to prepare a statement.
pub(crate) async fn known_of(conn: &mut PgConnection) -> Result<Known, SqlxError> {
    /// Some connection of this process has no cache, or leads through a pooler that mixes up the names of statements.
    static IS_REFUSED: AtomicBool = AtomicBool::new(false);
    if IS_REFUSED.load(Ordering::Relaxed) {
        return Ok(Known::default());
    }
    let statement = match conn.prepare(SqlStr::from_static(SQL)).await {
        Ok(statement) if conn.cached_statements_size() > 0 => statement,
        Err(error) if failure_of(&error).condition() != Condition::StaleSession => {
            return Err(error);
        }
        Ok(_) | Err(_) => {
            IS_REFUSED.store(true, Ordering::Relaxed);
            return Ok(Known::default());
        }
    };
    let columns: &[PgColumn] = statement.columns();
    let place = Place(columns.as_ptr().addr());
    let mut remembered = lock_mutex(&REMEMBERED);
    if remembered.len() >= MOST_CONNECTIONS {
        remembered.clear();
    }
    let entry = remembered
        .entry(place)
        .or_insert_with(|| Remembered { limits: KnownLimits::default(), _statement: statement });
    Ok(Known { place: Some(place), limits: entry.limits.get() })
}

/// The limits of this connection were read.
pub(crate) fn keep(place: Place, limits: Limits) {
    change(place, |known| known.keep(limits));
}

/// Something may have changed them.
pub(crate) fn forget(place: Place) {
    change(place, KnownLimits::forget);
}

fn change(place: Place, change: impl FnOnce(&mut KnownLimits)) {
    if let Some(remembered) = lock_mutex(&REMEMBERED).get_mut(&place) {
        change(&mut remembered.limits);
    }
}
