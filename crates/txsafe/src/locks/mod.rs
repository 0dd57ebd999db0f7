#![doc = include_str!("../../docs/lock-order.md")]

pub(crate) mod advisory;
pub mod declare;
pub mod evidence;
pub mod graph;
pub mod held;
pub mod key;
pub mod lock;
pub mod lock_set;
pub mod locked;
pub mod mode;
pub mod rank;
pub mod relation;
pub mod sequence;
pub mod set;
pub mod statement;
