//! How many transactions and savepoints Diesel counts on a connection.

#[cfg(feature = "async")]
pub(crate) use asynchronous::{change_depth, depth};

/// Releases the savepoint that Diesel sets where it counts so many, the transaction included.
pub(crate) fn release(depth: u32) -> String {
    format!("RELEASE SAVEPOINT diesel_savepoint_{depth}")
}

#[cfg(feature = "async")]
mod asynchronous {
    use crate::failure::failure_of;
    use diesel::connection::{TransactionDepthChange, TransactionManagerStatus};
    use diesel_async::{AnsiTransactionManager as Manager, AsyncPgConnection, TransactionManager};
    use txsafe::Failure;

    pub(crate) fn depth(conn: &mut AsyncPgConnection) -> Option<u32> {
        match Manager::transaction_manager_status_mut(conn) {
            TransactionManagerStatus::Valid(status) => status.transaction_depth().map(u32::from),
            TransactionManagerStatus::InError => None,
        }
    }

    pub(crate) fn change_depth(
        conn: &mut AsyncPgConnection,
        change: TransactionDepthChange,
    ) -> Result<(), Failure> {
        match Manager::transaction_manager_status_mut(conn) {
            TransactionManagerStatus::Valid(status) => {
                status.change_transaction_depth(change).map_err(|error| failure_of(&error))
            }
            TransactionManagerStatus::InError => Err(Failure::lost(
                None,
                "earlier work left the connection's transaction state unknown",
            )),
        }
    }
}
