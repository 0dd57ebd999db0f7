//! The locks that an attempt holds, and what they refuse at run time: what types can't see.

use super::{
    advisory::{self, AdvisoryId},
    graph::{class::Class, log::LockLog},
    key::LockKey,
    mode::{ForUpdate, Mode, NoKeyUpdate, Share},
    rank::{AdvisoryRank, Rank, SequenceRank, TableRank},
    relation::{LockOrder, Position},
    sequence,
    statement::{LockCall, LockStatement},
};
use crate::{
    dialect::own_schema::OwnSchema,
    error::{
        Error, ErrorKind,
        refusal::{LockOrderRefusal, Reason},
    },
};
use std::{cmp::Ordering, fmt, panic::Location};

/// The locks that an attempt took through its types, in the order in which it took them.
#[derive(Debug, Default)]
pub struct HeldLocks {
    list: Vec<Wanted>,
    /// The index of the greatest, by rank and key.
    greatest: Option<usize>,
    log: LockLog,
    own_schema: Option<OwnSchema>,
}

/// Where the list of locks stood.
#[derive(Debug, Clone, Copy)]
pub struct Mark {
    list: usize,
    log: u64,
}

/// A lock that is wanted, or held.
#[derive(Debug)]
pub struct Wanted {
    pub(super) position: u32,
    pub(super) rank: &'static str,
    pub(super) class: &'static Class,
    /// See [`LockKey::to_prefix`].
    pub(super) prefix: u64,
    pub(super) key: Vec<u8>,
    /// The key as it was given, for messages.
    pub(super) shown: Box<dyn fmt::Debug + Send + Sync>,
    pub(super) strength: u8,
    pub(super) at: &'static Location<'static>,
    /// The step of the log at which it was taken.
    pub(super) step: u64,
}

impl HeldLocks {
    /// Plans to lock `keys` of rank `R` in mode `M` for the code at `at`, waiting where others hold them.
    ///
    /// They count as held from now on: a caller that goes away may leave them granted on the server.
    pub(crate) fn plan<O, R, M>(
        &mut self,
        keys: &[R::Key],
        at: &'static Location<'static>,
    ) -> Result<LockStatement, Error>
    where
        O: LockOrder + Position<R>,
        R: TableRank,
        M: Mode,
    {
        let keys = sorted(keys);
        self.expect::<O, R, M>(&keys, at)?;
        Ok(LockStatement::new::<R, M>(&keys, false))
    }

    /// Expects that a statement of the caller's locks `keys` of rank `R`: one, or several in ascending order.
    ///
    /// # Errors
    /// [`ErrorKind::LockOrder`], where waiting for them could close a cycle.
    pub fn expect<O, R, M>(
        &mut self,
        keys: &[R::Key],
        at: &'static Location<'static>,
    ) -> Result<(), Error>
    where
        O: LockOrder + Position<R>,
        R: Rank,
        M: Mode,
    {
        keys.iter().try_for_each(|key| self.admit::<O>(Wanted::row::<O, R, M>(key, at)))
    }

    /// Plans to lock advisory keys of rank `R`, in ascending order of their ids.
    pub(crate) fn plan_advisory<O, R>(
        &mut self,
        keys: &[(AdvisoryId, R::Key)],
        is_shared: bool,
        at: &'static Location<'static>,
    ) -> Result<LockCall, Error>
    where
        O: LockOrder + Position<R>,
        R: AdvisoryRank,
    {
        let mut keys: Vec<_> = keys.iter().collect();
        keys.sort_by_key(|(id, _)| id.id);
        for (id, key) in &keys {
            self.admit::<O>(Wanted::advisory::<O, R>(*id, key, is_shared, at))?;
        }
        let ids: Vec<_> = keys.iter().map(|(id, _)| id.id).collect();
        Ok(advisory::lock(&ids, is_shared))
    }

    /// Where txsafe's own tables are.
    pub(crate) fn set_own_schema(&mut self, schema: Option<&OwnSchema>) {
        self.own_schema = schema.cloned();
    }

    /// Where txsafe's own tables are, if the search path isn't to say.
    pub(crate) fn own_schema(&self) -> Option<&OwnSchema> {
        self.own_schema.as_ref()
    }

    /// Plans to take the next number of a scope.
    pub(crate) fn plan_sequence<O, R>(
        &mut self,
        scope: &R::Key,
        at: &'static Location<'static>,
    ) -> Result<LockCall, Error>
    where
        O: LockOrder + Position<R>,
        R: SequenceRank,
    {
        self.expect::<O, R, NoKeyUpdate>(std::slice::from_ref(scope), at)?;
        Ok(sequence::next::<R>(scope).in_schema(self.own_schema.as_ref()))
    }

    /// Plans to lock `key` of rank `R` if nobody else holds it. Since it can't wait, it may be of any rank.
    pub(crate) fn plan_try<O, R, M>(
        &mut self,
        key: &R::Key,
        at: &'static Location<'static>,
    ) -> Result<Tried<LockStatement>, Error>
    where
        O: LockOrder + Position<R>,
        R: TableRank,
        M: Mode,
    {
        let statement = LockStatement::new::<R, M>(std::slice::from_ref(key), true);
        self.tried::<O, _>(Wanted::row::<O, R, M>(key, at), statement)
    }

    /// The same for an advisory lock.
    pub(crate) fn plan_try_advisory<O, R>(
        &mut self,
        (id, key): (AdvisoryId, &R::Key),
        is_shared: bool,
        at: &'static Location<'static>,
    ) -> Result<Tried<LockCall>, Error>
    where
        O: LockOrder + Position<R>,
        R: AdvisoryRank,
    {
        let call = advisory::try_lock(id.id, is_shared);
        self.tried::<O, _>(Wanted::advisory::<O, R>(id, key, is_shared, at), call)
    }

    fn tried<O: LockOrder, S>(&mut self, wanted: Wanted, statement: S) -> Result<Tried<S>, Error> {
        self.give_back();
        let mark = self.mark();
        match self.list.iter().find(|held| held.is_same(&wanted)) {
            Some(held) if held.strength >= wanted.strength => {}
            Some(held) => return Err(wanted.refused::<O>(Reason::Upgrade, held)),
            None => self.push(wanted, false),
        }
        Ok(Tried { statement, mark })
    }

    /// Counts a lock that may have to wait as held, unless waiting for it could close a cycle.
    pub(crate) fn admit<O: LockOrder>(&mut self, wanted: Wanted) -> Result<(), Error> {
        self.give_back();
        // Nearly always; what is greater than all isn't among them.
        let greatest = self.greatest.map(|greatest| &self.list[greatest]);
        let Some(greatest) = greatest.filter(|greatest| wanted <= **greatest) else {
            self.push(wanted, true);
            return Ok(());
        };
        match self.list.iter().find(|held| held.is_same(&wanted)) {
            Some(held) if held.strength >= wanted.strength => Ok(()),
            Some(held) => Err(wanted.refused::<O>(Reason::Upgrade, held)),
            None => {
                let is_key = greatest.position == wanted.position;
                let reason = if is_key { Reason::Key } else { Reason::Rank };
                Err(wanted.refused::<O>(reason, greatest))
            }
        }
    }

    fn push(&mut self, mut wanted: Wanted, waits: bool) {
        wanted.step = self.log.wants(wanted.class, wanted.prefix, wanted.at, waits);
        if self.greatest.is_none_or(|greatest| wanted > self.list[greatest]) {
            self.greatest = Some(self.list.len());
        }
        self.list.push(wanted);
    }

    /// Where the list stands now, for [`rolled_back_to`](Self::rolled_back_to).
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { list: self.list.len(), log: self.log.mark() }
    }

    /// A savepoint was rolled back, or nothing was locked: PostgreSQL has released the locks taken since `mark`.
    /// Source: PostgreSQL manual, section 13.3.1, "Table-Level Locks".
    pub fn rolled_back_to(&mut self, mark: Mark) {
        self.list.truncate(mark.list);
        self.find_greatest();
        self.log.rolled_back_to(mark.log);
    }

    /// Forgets what plain SQL has given back by ROLLBACK TO, behind the types' back.
    fn give_back(&mut self) {
        if let Some(step) = self.log.take_given_back() {
            self.list.retain(|held| held.step <= step);
            self.find_greatest();
        }
    }

    fn find_greatest(&mut self) {
        let greater =
            |one: usize, other: usize| if self.list[other] > self.list[one] { other } else { one };
        self.greatest = (0..self.list.len()).reduce(greater);
    }

    /// Tells a graph from now on.
    pub(crate) fn watch(&mut self, log: LockLog) {
        self.log = log;
    }

    /// For adapters: where plain SQL is noted.
    #[must_use]
    pub fn log(&self) -> LockLog {
        self.log.clone()
    }
}

/// An attempt at a lock that doesn't wait.
#[derive(Debug)]
pub(crate) struct Tried<S> {
    /// The statement that tries.
    pub(crate) statement: S,
    /// Where the list stood before, for [`HeldLocks::rolled_back_to`] if it locked nothing.
    pub(crate) mark: Mark,
}

impl Wanted {
    pub(crate) fn row<O, R, M>(key: &R::Key, at: &'static Location<'static>) -> Self
    where
        O: Position<R>,
        R: Rank,
        M: Mode,
    {
        Self {
            position: O::POSITION,
            rank: R::NAME,
            class: R::class(),
            prefix: key.to_prefix(),
            key: key.to_sortable(),
            shown: Box::new(key.clone()),
            strength: M::STRENGTH,
            at,
            step: 0,
        }
    }

    /// Advisory locks are sorted by what the server knows them by.
    pub(crate) fn advisory<O, R>(
        id: AdvisoryId,
        key: &R::Key,
        is_shared: bool,
        at: &'static Location<'static>,
    ) -> Self
    where
        O: Position<R>,
        R: AdvisoryRank,
    {
        Self {
            position: O::POSITION,
            rank: R::NAME,
            class: R::class(),
            prefix: id.id.to_prefix(),
            key: id.id.to_sortable(),
            shown: Box::new(key.clone()),
            strength: if is_shared { Share::STRENGTH } else { ForUpdate::STRENGTH },
            at,
            step: 0,
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        (self.position, &self.key) == (other.position, &other.key)
    }

    fn refused<O: LockOrder>(self, reason: Reason, held: &Self) -> Error {
        let lock = |lock: &Self| (lock.rank, format!("{:?}", lock.shown), lock.at);
        let (order, held, wanted) = ((O::NAME, O::TEXT), lock(held), lock(&self));
        let refusal = LockOrderRefusal { reason, order, held, wanted };
        Error::new(ErrorKind::LockOrder(refusal), None, None)
    }
}

impl PartialEq for Wanted {
    fn eq(&self, other: &Self) -> bool {
        self.is_same(other)
    }
}

impl PartialOrd for Wanted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some((self.position, &self.key).cmp(&(other.position, &other.key)))
    }
}

/// In ascending order, each once.
pub(crate) fn sorted<K: LockKey>(keys: &[K]) -> Vec<K> {
    let mut keys = keys.to_vec();
    keys.sort();
    keys.dedup();
    keys
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::locks::graph::edges::LockGraph;

    crate::rank!(First: table "held_first" key "id" as i64);
    crate::rank!(Second: table "held_second" key "id" as i64);
    crate::lock_order! { pub(super) Both: First => Second }

    #[test]
    fn what_plain_sql_has_given_back_is_in_nobodys_way() {
        let here = Location::caller();
        let mut held = HeldLocks::default();
        held.watch(LockLog::new(&LockGraph::off(), &"types".into(), None, |_| {}));
        held.expect::<Both, First, NoKeyUpdate>(&[1], here).unwrap();
        held.log().will_run("SAVEPOINT a", |_| None);
        held.expect::<Both, Second, NoKeyUpdate>(&[9], here).unwrap();
        assert!(held.expect::<Both, Second, NoKeyUpdate>(&[3], here).is_err());
        held.log().will_run("ROLLBACK TO a", |_| None);
        held.expect::<Both, Second, NoKeyUpdate>(&[3], here).unwrap();
        assert!(held.expect::<Both, First, NoKeyUpdate>(&[0], here).is_err(), "3 is held");
        held.log().will_run("ROLLBACK TO a", |_| None);
        held.expect::<Both, First, NoKeyUpdate>(&[2], here).unwrap();
    }
}
