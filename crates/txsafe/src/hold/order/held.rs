//! The locks that an attempt holds, and what they refuse at run time: what types can't see.

use super::{
    key::LockKey,
    mode::Mode,
    rank::Rank,
    refusal::{LockOrderRefusal, Reason},
    relation::{LockOrder, Position},
    statement::LockStatement,
};
use crate::hold::error::{Error, ErrorKind};
use std::{cmp::Ordering, fmt, panic::Location};

/// The locks that an attempt took through its types, in the order in which it took them.
#[derive(Debug, Default)]
pub struct HeldLocks(Vec<Held>);

#[derive(Debug)]
struct Held {
    position: u32,
    rank: &'static str,
    key: Vec<u8>,
    /// The key as it was given, for messages.
    shown: Box<dyn fmt::Debug + Send + Sync>,
    strength: u8,
    at: &'static Location<'static>,
}

impl HeldLocks {
    /// Plans to lock `keys` of rank `R` in mode `M` for the code at `at`, waiting where others hold them.
    ///
    /// They count as held from now on: a caller that goes away may leave them granted on the server.
    ///
    /// # Errors
    /// [`ErrorKind::LockOrder`], where waiting for them could close a cycle.
    pub fn plan<O, R, M>(
        &mut self,
        keys: &[R::Key],
        at: &'static Location<'static>,
    ) -> Result<LockStatement, Error>
    where
        O: LockOrder + Position<R>,
        R: Rank,
        M: Mode,
    {
        let keys = sorted(keys);
        self.expect::<O, R, M>(&keys, at)?;
        Ok(LockStatement::new::<R, M>(&keys, false))
    }

    /// The same for keys that a statement of the caller's locks: one, or several in ascending order.
    ///
    /// # Errors
    /// As for [`plan`](Self::plan).
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
        let mut greatest = self.greatest();
        for key in keys {
            let wanted = Held::new::<O, R, M>(key, at);
            // Nearly always; what is greater than all isn't among them.
            if greatest.is_none_or(|greatest| wanted > self.0[greatest]) {
                greatest = Some(self.0.len());
                self.0.push(wanted);
                continue;
            }
            match self.0.iter().find(|held| held.is_same_row(&wanted)) {
                Some(held) if held.strength >= wanted.strength => {}
                Some(held) => return Err(wanted.refused::<O>(Reason::Upgrade, held)),
                None => {
                    let Some(held) = greatest.map(|greatest| &self.0[greatest]) else {
                        unreachable!("what isn't greater is less than something");
                    };
                    let is_key = held.position == wanted.position;
                    let reason = if is_key { Reason::Key } else { Reason::Rank };
                    return Err(wanted.refused::<O>(reason, held));
                }
            }
        }
        Ok(())
    }

    /// Plans to lock `key` of rank `R` if nobody else holds it. Since it can't wait, it may be of any rank.
    ///
    /// # Errors
    /// [`ErrorKind::LockOrder`], where the row is held in a weaker mode.
    pub fn plan_try<O, R, M>(
        &mut self,
        key: &R::Key,
        at: &'static Location<'static>,
    ) -> Result<Tried, Error>
    where
        O: LockOrder + Position<R>,
        R: Rank,
        M: Mode,
    {
        let statement = LockStatement::new::<R, M>(std::slice::from_ref(key), true);
        let wanted = Held::new::<O, R, M>(key, at);
        let is_new = match self.0.iter().find(|held| held.is_same_row(&wanted)) {
            Some(held) if held.strength >= wanted.strength => false,
            Some(held) => return Err(wanted.refused::<O>(Reason::Upgrade, held)),
            None => true,
        };
        let mark = self.mark();
        if is_new {
            self.0.push(wanted);
        }
        Ok(Tried { statement, mark })
    }

    /// The index of the lock that is greatest by rank and key.
    fn greatest(&self) -> Option<usize> {
        (0..self.0.len()).reduce(|one, other| if self.0[other] > self.0[one] { other } else { one })
    }

    /// Where the list stands now, for [`rolled_back_to`](Self::rolled_back_to).
    #[must_use]
    pub fn mark(&self) -> usize {
        self.0.len()
    }

    /// A savepoint was rolled back, or nothing was locked: PostgreSQL has released the locks taken since `mark`.
    /// Source: PostgreSQL manual, section 13.3.1, "Table-Level Locks".
    pub fn rolled_back_to(&mut self, mark: usize) {
        self.0.truncate(mark);
    }
}

/// An attempt at a lock that doesn't wait.
#[derive(Debug)]
#[non_exhaustive]
pub struct Tried {
    /// The statement that tries.
    pub statement: LockStatement,
    /// Where the list stood before, for [`HeldLocks::rolled_back_to`] if it locked nothing.
    pub mark: usize,
}

impl Held {
    fn new<O: Position<R>, R: Rank, M: Mode>(key: &R::Key, at: &'static Location<'static>) -> Self {
        Self {
            position: O::POSITION,
            rank: R::NAME,
            key: key.to_sortable(),
            shown: Box::new(key.clone()),
            strength: M::STRENGTH,
            at,
        }
    }

    fn is_same_row(&self, other: &Self) -> bool {
        (self.position, &self.key) == (other.position, &other.key)
    }

    fn refused<O: LockOrder>(self, reason: Reason, held: &Self) -> Error {
        let lock = |lock: &Self| (lock.rank, format!("{:?}", lock.shown), lock.at);
        let (order, held, wanted) = ((O::NAME, O::TEXT), lock(held), lock(&self));
        let refusal = LockOrderRefusal { reason, order, held, wanted };
        Error::new(ErrorKind::LockOrder(refusal), None, None)
    }
}

impl PartialEq for Held {
    fn eq(&self, other: &Self) -> bool {
        self.is_same_row(other)
    }
}

impl PartialOrd for Held {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some((self.position, &self.key).cmp(&(other.position, &other.key)))
    }
}

/// In ascending order, each once.
fn sorted<K: LockKey>(keys: &[K]) -> Vec<K> {
    let mut keys = keys.to_vec();
    keys.sort();
    keys.dedup();
    keys
}
