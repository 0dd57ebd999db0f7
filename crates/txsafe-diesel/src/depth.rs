//! How many transactions and savepoints Diesel counts on a connection.

use diesel::connection::TransactionManagerStatus;
#[cfg(feature = "async")]
use {
    crate::failure::failure_of,
    diesel::connection::TransactionDepthChange,
    diesel_async::{AnsiTransactionManager as Manager, AsyncPgConnection, TransactionManager},
    txsafe::Failure,
};

#[cfg(feature = "async")]
pub(crate) fn depth(conn: &mut AsyncPgConnection) -> Option<u32> {
    depth_of(Manager::transaction_manager_status_mut(conn))
}

/// How many there are; `None` if there are none or the state is unknown.
pub(crate) fn depth_of(status: &TransactionManagerStatus) -> Option<u32> {
    match status {
        TransactionManagerStatus::Valid(status) => status.transaction_depth().map(u32::from),
        TransactionManagerStatus::InError => None,
    }
}

#[cfg(feature = "async")]
pub(crate) fn change_depth(
    conn: &mut AsyncPgConnection,
    change: TransactionDepthChange,
) -> Result<(), Failure> {
    match Manager::transaction_manager_status_mut(conn) {
        TransactionManagerStatus::Valid(status) => {
            status.change_transaction_depth(change).map_err(|error| failure_of(&error))
        }
        TransactionManagerStatus::InError => {
            Err(Failure::lost(None, "earlier work left the connection's transaction state unknown"))
        }
    }
}

/// Releases the savepoint that Diesel sets where it counts so many, the transaction included.
pub(crate) fn release(depth: u32) -> String {
    format!("RELEASE SAVEPOINT diesel_savepoint_{depth}")
}
