//! The transaction of a request on axum: what its layer promises, on every driver whose transactions are futures.

mod answers;
mod commits;
mod guard;
mod joined;
mod keys;
mod names;
mod real_server;
mod rolled_back;
mod routes;
mod support;
mod taken;
