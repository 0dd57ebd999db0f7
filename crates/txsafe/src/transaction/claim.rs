//! How an idempotency key is claimed: what the database is asked, and what its answers mean. Both run loops ask alike.

use super::{ending::Next, keyed::Keyed, progress::Progress};
use crate::{
    dialect::{
        Ask, Dialect, KEY_IN_PROGRESS,
        own_schema::{OwnSchema, in_schema},
    },
    driver::{account::Account, session::Question},
    error::{ErrorKind, trail::Trail},
};
use sha2::{Digest, Sha256};
use std::{borrow::Cow, ops::ControlFlow};

/// The idempotency key of one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallKey<'k> {
    pub(super) text: Cow<'k, str>,
    /// In hexadecimal.
    fingerprint: Option<String>,
    pub(super) nowait: bool,
}

impl<'k> CallKey<'k> {
    /// A key that comes without a fingerprint, and waits for another call that has it.
    #[must_use]
    pub fn new(text: &'k str) -> Self {
        Self { text: Cow::Borrowed(text), fingerprint: None, nowait: false }
    }

    /// With the fingerprint of this request. The hash is kept in the database for days, so it must not change between versions,
    /// and nobody may find a second request with the same hash.
    #[must_use]
    pub fn fingerprint(self, request: &[u8]) -> Self {
        let hash = Sha256::digest(request);
        let hex = hash.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
        let fingerprint = hex.map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]));
        Self { fingerprint: Some(fingerprint.collect()), ..self }
    }

    /// Without waiting for another call that has it.
    #[must_use]
    pub fn nowait(self) -> Self {
        Self { nowait: true, ..self }
    }

    pub(super) fn into_owned(self) -> CallKey<'static> {
        CallKey { text: Cow::Owned(self.text.into_owned()), ..self }
    }

    /// How it is claimed.
    pub(super) fn ask(&self) -> Ask {
        match self.fingerprint {
            Some(_) => Ask::ClaimKeyWithFingerprint,
            None => Ask::ClaimKey,
        }
    }

    /// What the questions about it bind: the name of the transaction, the key and the fingerprint.
    pub(super) fn binds(&self, name: &str) -> [String; 3] {
        let fingerprint = self.fingerprint.clone().unwrap_or_default();
        [name.to_owned(), self.text.clone().into_owned(), fingerprint]
    }
}

/// Why a key can't be claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken {
    /// An earlier call with it has committed.
    Committed,
    /// An earlier call has committed with it, of a request with another fingerprint.
    ByAnotherRequest,
    /// A call with it is still running, and isn't to be waited for.
    InProgress,
}

/// The claim of a key on its way: one question after the other.
pub(crate) struct Claim<'c> {
    dialect: &'static dyn Dialect,
    /// The question that claims it.
    claims: Ask,
    nowait: bool,
    binds: [&'c str; 3],
    /// Of the table of keys.
    schema: Option<OwnSchema>,
    /// The question that is asked now.
    ask: Ask,
    sql: Cow<'static, str>,
}

impl<'c> Claim<'c> {
    fn new(
        dialect: &'static dyn Dialect,
        claims: Ask,
        nowait: bool,
        binds: [&'c str; 3],
        schema: Option<OwnSchema>,
    ) -> Self {
        let Some(sql) = dialect.question(claims) else {
            unreachable!("a database that can't claim a key rejects the call");
        };
        let sql = in_schema(sql, schema.as_ref());
        Self { dialect, claims, nowait, binds, schema, ask: claims, sql }
    }

    /// What is asked now.
    pub(crate) fn question(&self) -> Question<'_> {
        let has_fingerprint = !matches!(self.ask, Ask::ClaimKey | Ask::AwaitKey);
        let binds = if has_fingerprint { self.binds.as_slice() } else { &self.binds[..2] };
        Question::new(&self.sql, binds)
    }

    /// Whether the next question waits for a call that has the key, and for nothing else.
    pub(crate) fn awaits_key(&self) -> bool {
        self.ask == Ask::AwaitKey
    }

    /// Takes the answer: goes on to the next question, or says why the key can't be claimed; `None` if it is claimed.
    pub(crate) fn takes(&mut self, answer: Option<&str>) -> ControlFlow<Option<Taken>> {
        let (next, otherwise) = match (self.ask, answer) {
            // Whoever has waited has the lock of the key, and so it is never in progress twice.
            (Ask::AwaitKey, _) => (Some(self.claims), Taken::InProgress),
            (Ask::OtherFingerprint, Some(_)) => (None, Taken::ByAnotherRequest),
            (Ask::OtherFingerprint, None) => (None, Taken::Committed),
            (_, Some(KEY_IN_PROGRESS)) => {
                ((!self.nowait).then_some(Ask::AwaitKey), Taken::InProgress)
            }
            (_, Some(_)) => return ControlFlow::Break(None),
            (Ask::ClaimKeyWithFingerprint, None) => (Some(Ask::OtherFingerprint), Taken::Committed),
            (_, None) => (None, Taken::Committed),
        };
        let next = next.and_then(|ask| Some((ask, self.dialect.question(ask)?)));
        let Some((ask, sql)) = next else { return ControlFlow::Break(Some(otherwise)) };
        (self.ask, self.sql) = (ask, in_schema(sql, self.schema.as_ref()));
        ControlFlow::Continue(())
    }
}

impl<H> Progress<H> {
    /// What the questions about the key bind, if the call has one.
    pub(crate) fn key_binds(&self) -> Option<[String; 3]> {
        Some(self.call.key.as_ref()?.binds(&self.call.named.name))
    }

    /// The claim of the key, if the call has one.
    pub(crate) fn claim<'c>(&self, binds: &'c [String; 3]) -> Option<Claim<'c>> {
        let key = self.call.key.as_ref()?;
        let nowait = key.nowait && !self.may_hold_key && self.in_doubt.is_none();
        let binds = binds.each_ref().map(String::as_str);
        let schema = self.call.shared.own_schema.clone();
        Some(Claim::new(self.dialect(), key.ask(), nowait, binds, schema))
    }

    /// The application's own settings, as a transaction with a key makes them, behind its claim: the role may not be allowed to
    /// write the key, and the search path may not lead to its table.
    pub(crate) fn sets_behind_claim(&self) -> Option<(&str, Vec<&str>)> {
        let local = self.call.settings.local_sql.as_ref()?;
        Some((&local.question, local.binds.iter().map(String::as_str).collect()))
    }

    /// What follows from a key that couldn't be claimed.
    pub(super) fn key_taken(&mut self, taken: Taken, account: Account<H>, trail: Trail) -> Next {
        let doubt = self.in_doubt.take();
        match (taken, doubt) {
            // It was our own COMMIT, whose answer was lost.
            (Taken::Committed, Some(doubt)) => self.committed(Keyed::Ran(()), doubt.account, trail),
            (Taken::Committed, None) => self.committed(Keyed::AlreadyCommitted, account, trail),
            (Taken::ByAnotherRequest, doubt) => {
                // The key is that of somebody else's COMMIT, so ours has rolled back.
                self.due.extend(doubt.map(|doubt| (doubt.account, false)));
                self.refuse(ErrorKind::IdempotencyKeyReused { key: self.key() }, None, trail)
            }
            (Taken::InProgress, doubt) => {
                self.in_doubt = doubt;
                self.refuse(self.key_in_progress(), None, trail)
            }
        }
    }

    pub(super) fn key_in_progress(&self) -> ErrorKind {
        ErrorKind::IdempotencyKeyInProgress { key: self.key() }
    }

    fn key(&self) -> String {
        self.call.key.as_ref().map_or_else(String::new, |key| key.text.clone().into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Source: FIPS 180-4, the examples of SHA-256.
    #[test]
    fn a_fingerprint_is_the_same_for_ever() {
        let fingerprint = |request: &str| {
            CallKey::new("k").fingerprint(request.as_bytes()).binds("pay")[2].clone()
        };
        assert_eq!(
            fingerprint("abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(
            fingerprint(""),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }
}
