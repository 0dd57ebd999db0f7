//! A database for each test, cloned from a migrated template before the test asks for it.
//!
//! What exists is written in a table of the database `txsafe_tests`, which all test processes share. Whoever makes or uses a
//! database holds an advisory lock there: when its process dies, the lock is gone, and the next process clears up.

mod builder;
mod fingerprint;
mod keeping;
mod maker;
mod names;
mod registry;
mod session;
mod store;
mod suite;
mod sweep;
mod template;
mod test_database;
mod trouble;
mod worker;

pub use builder::TestDatabasesBuilder;
pub use suite::TestDatabases;
pub use test_database::TestDatabase;
