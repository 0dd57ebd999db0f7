//! The calls, one file for each client.

mod async_nats;
mod aws;
mod hyper;
mod lapin;
mod lettre;
mod pool;
mod redis;
mod reqwest;
mod tonic;
mod ureq;

use crate::plain::Case;

/// The cases of all clients.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    [
        reqwest::CASES,
        hyper::CASES,
        tonic::CASES,
        aws::CASES,
        ureq::CASES,
        lettre::CASES,
        redis::CASES,
        lapin::CASES,
        async_nats::CASES,
    ]
    .into_iter()
    .flatten()
}
