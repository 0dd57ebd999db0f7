//! Servers that answer the clients: just enough of each protocol, always the same, each answer after
//! [`ANSWER_DELAY`](crate::plain::ANSWER_DELAY).

pub mod amqp;
pub mod grpc;
pub mod http;
pub mod nats;
pub mod redis;
pub mod smtp;
pub mod sts;

pub use crate::plain::{Server, line};
