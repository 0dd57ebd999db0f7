//! What takes more than a script of the suite to try: each module is a concept, on every driver that has it.
//!
//! One program, because linking one takes as long as running most of them. What sets something for its whole process,
//! or needs the machine for itself, is a program of its own beside this one.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

mod by_hand;
mod captured_log;
mod custom_types;
mod driver_errors;
mod held;
mod hooks;
mod idle;
mod join;
mod lock_order;
mod logs;
mod outbox;
mod paused_clock;
mod pgbouncer;
mod pools;
mod request;
mod sandbox;
mod second;
mod sqlite;
mod sqlx_only;
mod standstill;
mod two_engines;
mod unread_rows;
mod words;
