//! A PostgreSQL server that lives as long as the test.

mod account;
mod builder;
mod cluster;
mod locale;
mod own;
mod port;
mod postmaster;
mod programs;
mod reaper;
mod server;
mod settings;
mod translation;

pub use builder::PostgresBuilder;
pub use server::Postgres;
