//! Messages of the outbox: as they are written, delivered, and given up.

pub mod backlog;
pub mod message;
pub mod new_message;
pub mod table;
pub mod written_message;
