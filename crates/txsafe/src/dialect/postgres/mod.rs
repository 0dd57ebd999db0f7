//! PostgreSQL: the texts that it is sent, and what is read from the texts of others.

mod begin;
pub(crate) mod changes;
mod clause;
pub(crate) mod codes;
pub(crate) mod limits;
pub(crate) mod literal;
mod local;
pub(crate) mod locks;
mod mark;
pub mod messages;
mod questions;
pub(crate) mod savepoints;
pub(crate) mod session_state;

use super::{
    Ask, Dialect,
    begin::{Begin, BeginSettings},
    failure::Failure,
    limits::Limits,
    local::{LocalSettings, LocalSql},
    mark::{Identity, Mark},
};

/// PostgreSQL, and what speaks its language.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_structs, reason = "it has nothing to set")]
pub struct Postgres;

impl Dialect for Postgres {
    fn system(&self) -> &'static str {
        "postgresql"
    }

    fn cheap_subtransactions(&self) -> Option<usize> {
        Some(savepoints::MOST_CACHED_SUBTRANSACTIONS)
    }

    fn begin(&self, settings: &BeginSettings<'_>, mark: Mark) -> Begin {
        begin::begin(settings, mark)
    }

    fn set_local(&self, settings: &LocalSettings) -> Option<LocalSql> {
        Some(local::set_local(settings))
    }

    fn question(&self, ask: Ask) -> Option<&'static str> {
        Some(match ask {
            Ask::Database => questions::DATABASE_SQL,
            Ask::Limits => limits::QUESTION_SQL,
            Ask::Mark => mark::QUESTION_SQL,
            Ask::Witness => questions::WITNESS_SQL,
            Ask::CommitStatus => questions::STATUS_SQL,
            Ask::EndSession => questions::END_SESSION_SQL,
            Ask::Opponents => questions::OPPONENTS_SQL,
            Ask::ClaimKey => questions::CLAIM_KEY_SQL,
            Ask::ClaimKeyWithFingerprint => questions::CLAIM_KEY_WITH_FINGERPRINT_SQL,
            Ask::OtherFingerprint => questions::OTHER_FINGERPRINT_SQL,
            Ask::AwaitKey => questions::AWAIT_KEY_SQL,
            Ask::DeferredConstraints => "SET CONSTRAINTS ALL IMMEDIATE",
            Ask::UnlockAll => questions::UNLOCK_ALL_SQL,
        })
    }

    fn limits(&self, answer: &str) -> Option<Limits> {
        limits::read(answer)
    }

    fn identity(&self, mark: &Mark, answer: &Result<Option<String>, Failure>) -> Option<Identity> {
        let answer = answer.as_ref().ok()?.as_ref()?;
        mark::read(mark, answer)
    }
}
