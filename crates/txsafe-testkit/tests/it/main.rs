//! A server is started, used, broken and taken away, on the real thing.

#![expect(clippy::unwrap_used, reason = "helpers may fail like the tests that they help")]

mod database;
mod databases;
mod lab;
mod life;
mod locks;
mod options;
mod owner;
mod process;
mod schema;
mod trouble;
