//! Advisory locks: their 64-bit ids, and the statements that take them.

use super::{
    key::{self, LockKey},
    rank::{AdvisoryRank, Target},
    statement::LockCall,
};
use sha2::{Digest, Sha256};
use std::collections::HashMap;

/// Which lock an advisory key stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct AdvisoryId {
    pub(crate) id: i64,
    /// Tells keys apart whose ids are the same.
    fingerprint: u64,
}

impl AdvisoryId {
    /// Of a key in the namespace of `R`.
    ///
    /// A key of at most 32 bits stands behind its namespace as it is. Others are hashed with it: the first 8 bytes of
    /// SHA-256 over both, because PostgreSQL computes that too, and any other program.
    pub(crate) fn of<R: AdvisoryRank>(key: &R::Key) -> Self {
        let Target::Advisory { namespace } = R::TARGET else {
            unreachable!("`rank!` gives advisory ranks a namespace");
        };
        if let Some(narrow) = key.to_narrow() {
            let id = i64::from(namespace) << 32 | i64::from(narrow.cast_unsigned());
            return Self { id, fingerprint: 0 };
        }
        let hash = Sha256::new().chain_update(namespace.to_be_bytes()).chain_update(key.to_sent());
        let hash = hash.finalize();
        let word = |at| hash[at..at + 8].iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
        Self { id: word(0).cast_signed(), fingerprint: word(8) }
    }
}

/// The keys that were locked lately, by their ids, to notice two that share one.
#[derive(Debug, Default)]
pub(crate) struct Ids(HashMap<i64, (u64, String)>);

/// Keys are forgotten, all at once, when there are so many.
const MOST_IDS: usize = 10_000;

impl Ids {
    /// Notes a key; the name of another one that has the same id, where there is one, and once.
    pub(crate) fn note(
        &mut self,
        id: AdvisoryId,
        name: impl FnOnce() -> String,
    ) -> Option<(String, String)> {
        let AdvisoryId { id, fingerprint } = id;
        match self.0.get(&id) {
            Some((known, _)) if *known == fingerprint => None,
            Some(_) => {
                let name = name();
                let (_, other) = self.0.insert(id, (fingerprint, name.clone()))?;
                Some((other, name))
            }
            None => {
                if self.0.len() == MOST_IDS {
                    self.0.clear();
                }
                self.0.insert(id, (fingerprint, name()));
                None
            }
        }
    }
}

/// The statement that locks these, one after the other.
/// Source: PostgreSQL manual, section 9.27.10, "Advisory Lock Functions".
pub(crate) fn lock(ids: &[i64], shared: bool) -> LockCall {
    LockCall::new(if shared { LOCK_SHARED } else { LOCK }, key::array(ids))
}

/// The statement that locks this if nobody else does; it answers `true` if it did.
pub(crate) fn try_lock(id: i64, shared: bool) -> LockCall {
    LockCall::new(if shared { TRY_LOCK_SHARED } else { TRY_LOCK }, id.to_string())
}

/// Whether a statement is one of these, whose locks are told by their ranks.
#[cfg(feature = "sql")]
pub(crate) fn is_ours(sql: &str) -> bool {
    [LOCK, LOCK_SHARED, TRY_LOCK, TRY_LOCK_SHARED].contains(&sql)
}

const LOCK: &str =
    "SELECT pg_advisory_xact_lock(id)::text FROM unnest(CAST($1 AS text)::bigint[]) AS id";
const LOCK_SHARED: &str =
    "SELECT pg_advisory_xact_lock_shared(id)::text FROM unnest(CAST($1 AS text)::bigint[]) AS id";
const TRY_LOCK: &str = "SELECT pg_try_advisory_xact_lock(CAST($1 AS text)::bigint)::text";
const TRY_LOCK_SHARED: &str =
    "SELECT pg_try_advisory_xact_lock_shared(CAST($1 AS text)::bigint)::text";

#[cfg(test)]
mod tests {
    use super::*;

    crate::rank!(Import: advisory 42 as String);
    crate::rank!(Tenant: advisory 42 as i32);
    crate::rank!(Below: advisory -1 as i16);
    crate::rank!(Wide: advisory 42 as i64);

    #[test]
    fn narrow_keys_stand_as_they_are() {
        assert_eq!(AdvisoryId::of::<Tenant>(&7).id, 42 << 32 | 7);
        assert_eq!(AdvisoryId::of::<Tenant>(&-1).id, 42 << 32 | 0xffff_ffff);
        assert_eq!(AdvisoryId::of::<Below>(&-1).id, -1);
    }

    #[test]
    fn ids_never_change() {
        // What PostgreSQL says; the suite asks it.
        assert_eq!(AdvisoryId::of::<Wide>(&7).id, WIDE_7);
        assert_eq!(AdvisoryId::of::<Import>(&"é".into()).id, IMPORT_E);
    }

    const WIDE_7: i64 = 1_575_454_248_236_664_896;
    const IMPORT_E: i64 = -1_501_027_952_267_056_689;

    #[test]
    fn two_keys_with_one_id_are_noticed_once() {
        let mut ids = Ids::default();
        let mut note = |fingerprint, name: &str| {
            ids.note(AdvisoryId { id: 1, fingerprint }, || name.to_owned())
        };
        assert_eq!(note(5, "a"), None);
        assert_eq!(note(5, "a"), None);
        assert_eq!(note(6, "b"), Some(("a".into(), "b".into())));
        assert_eq!(note(6, "b"), None);
        for id in 0..30_000 {
            ids.note(AdvisoryId { id, fingerprint: 0 }, String::new);
        }
        assert!(ids.0.len() <= MOST_IDS);
    }
}
