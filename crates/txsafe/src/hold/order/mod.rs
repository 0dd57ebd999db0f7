#![doc = include_str!("../../../docs/lock-order.md")]

pub mod declare;
pub mod held;
pub mod key;
pub mod locked;
pub mod mode;
pub mod rank;
pub mod refusal;
pub mod relation;
#[cfg(feature = "sql")]
pub(crate) mod sql;
pub mod statement;
