#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

#[cfg(not(unix))]
compile_error!("txsafe-testkit starts PostgreSQL servers on Unix only; on Windows use WSL");

mod databases;
mod error;
mod lab;
mod name;
mod offload;
mod postgres;
mod schema;
mod sql;
mod url;

pub use databases::{TestDatabase, TestDatabases, TestDatabasesBuilder};
pub use error::Error;
pub use lab::{At, Fault, Lab, LabSession, words_of};
pub use postgres::{Postgres, PostgresBuilder};
pub use schema::Schema;
