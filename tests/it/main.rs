//! What txsafe promises, shown on a real PostgreSQL. Interleavings are stepped by gates; nothing sleeps.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

mod blocking;
mod bounds;
mod cancellation;
mod closures;
mod commits;
mod external_io;
mod findings;
mod hooks;
mod idempotency;
mod lost_commit;
mod misuse;
mod outbox;
mod remedies;
mod savepoints;
mod statements;
mod support;
mod telemetry;
mod tls;
mod unobserved;
