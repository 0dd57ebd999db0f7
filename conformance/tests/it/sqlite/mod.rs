//! SQLite on SQLx: the cases that a database with one writer and no server can have.

mod acquire;
mod bank;
mod busy;
mod by_hand;
mod connections;
mod endings;
mod failures;
mod rerun;
mod unseen;
