//! The second layer: what a transaction is called, what it did, and how it ended.

pub mod error;
pub mod excused;
pub mod keyed;
pub mod name;
pub mod order;
pub mod outbox;
pub mod outcome;
pub mod pool;
pub mod report;
pub mod session_log;
pub mod times;
pub mod trail;
