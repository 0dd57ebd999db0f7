//! Sets of locks that are taken at once, in their order, however they were written down.

use super::{
    held::{Wanted, sorted},
    mode::{Mode, NoKeyUpdate},
    rank::{AdvisoryRank, Rank, Ranked, TableRank},
    relation::Position,
    statement::LockCall,
};
use std::{cmp::Ordering, fmt, marker::PhantomData, panic::Location};

/// A row to be locked; made by [`row`].
pub struct OneRow<T: Ranked, M = NoKeyUpdate> {
    pub(crate) key: <T::Rank as Rank>::Key,
    mode: PhantomData<fn() -> M>,
}

/// Rows to be locked; made by [`rows`].
pub struct ManyRows<T: Ranked, M = NoKeyUpdate> {
    pub(crate) keys: Vec<<T::Rank as Rank>::Key>,
    mode: PhantomData<fn() -> M>,
}

/// An advisory lock to be taken; made by [`advisory`].
pub struct OneKey<R: AdvisoryRank> {
    pub(crate) key: R::Key,
}

/// In a set: the row with this key, which must be there.
pub fn row<T: Ranked>(key: <T::Rank as Rank>::Key) -> OneRow<T> {
    OneRow { key, mode: PhantomData }
}

/// In a set: the rows with these keys, those that are there, in ascending order of their keys.
pub fn rows<T: Ranked>(keys: impl IntoIterator<Item = <T::Rank as Rank>::Key>) -> ManyRows<T> {
    ManyRows { keys: keys.into_iter().collect(), mode: PhantomData }
}

/// In a set: an advisory lock.
pub fn advisory<R: AdvisoryRank>(key: R::Key) -> OneKey<R> {
    OneKey { key }
}

impl<T: Ranked, M> OneRow<T, M> {
    /// The same, in another mode. Default: [`NoKeyUpdate`].
    #[must_use]
    pub fn in_mode<Other: Mode>(self) -> OneRow<T, Other> {
        OneRow { key: self.key, mode: PhantomData }
    }
}

impl<T: Ranked, M> ManyRows<T, M> {
    /// The same, in another mode. Default: [`NoKeyUpdate`].
    #[must_use]
    pub fn in_mode<Other: Mode>(self) -> ManyRows<T, Other> {
        ManyRows { keys: self.keys, mode: PhantomData }
    }
}

impl<T: Ranked, M> fmt::Debug for OneRow<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", T::Rank::NAME, self.key)
    }
}

impl<T: Ranked, M> fmt::Debug for ManyRows<T, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", T::Rank::NAME, self.keys)
    }
}

impl<R: AdvisoryRank> fmt::Debug for OneKey<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {:?}", R::NAME, self.key)
    }
}

/// The elements of a set, with the locks that each of them wants.
#[derive(Debug, Default)]
pub struct Plan(Vec<Element>);

#[derive(Debug)]
struct Element {
    index: usize,
    /// In ascending order.
    wanted: Vec<Wanted>,
}

impl Plan {
    /// Adds an element.
    pub(crate) fn add(&mut self, wanted: Vec<Wanted>) {
        self.0.push(Element { index: self.0.len(), wanted });
    }

    /// The elements in the order in which they can be locked one by one; `Err` where those of one rank are entangled.
    pub(crate) fn order(mut self) -> Result<Vec<usize>, Vec<usize>> {
        self.0.sort_by(|one, other| {
            let (one, other) = (one.wanted.first(), other.wanted.first());
            one.partial_cmp(&other).unwrap_or(Ordering::Equal).then_with(|| {
                // Of one row in two modes, the stronger one first.
                let strength = |wanted: Option<&Wanted>| wanted.map(|wanted| wanted.strength);
                strength(other).cmp(&strength(one))
            })
        });
        let ends = |pair: &[Element]| pair[0].wanted.last() > pair[1].wanted.first();
        let is_entangled = self.0.windows(2).any(ends);
        let order = self.0.into_iter().map(|element| element.index).collect();
        if is_entangled { Err(order) } else { Ok(order) }
    }
}

/// The locks of entangled elements, one by one, each once and in its strongest mode.
pub(crate) fn disentangled(mut calls: Vec<(Wanted, LockCall)>) -> Vec<(Wanted, LockCall)> {
    calls.sort_by(|(one, _), (other, _)| {
        let order = one.partial_cmp(other).unwrap_or(Ordering::Equal);
        order.then_with(|| other.strength.cmp(&one.strength))
    });
    calls.dedup_by(|(second, _), (first, _)| first == second);
    calls
}

pub(crate) fn wanted_rows<O, R, M>(keys: &[R::Key], at: &'static Location<'static>) -> Vec<Wanted>
where
    O: Position<R>,
    R: Rank,
    M: Mode,
{
    sorted(keys).iter().map(|key| Wanted::row::<O, R, M>(key, at)).collect()
}

/// For each row, a statement of its own.
pub(crate) fn row_calls<O, R, M>(
    keys: &[R::Key],
    at: &'static Location<'static>,
) -> Vec<(Wanted, LockCall)>
where
    O: Position<R>,
    R: TableRank,
    M: Mode,
{
    let call = |key| {
        let statement = LockCall::rows::<R, M>(std::slice::from_ref(key));
        (Wanted::row::<O, R, M>(key, at), statement)
    };
    keys.iter().map(call).collect()
}

#[cfg(test)]
mod tests {
    use super::super::mode::ForUpdate;
    use super::*;

    crate::rank!(Order: table "orders" key "id" as i64);
    crate::rank!(User: table "users" key "id" as i64);
    crate::lock_order! { pub(super) Shop: Order => User }

    fn order(elements: &[Vec<Wanted>]) -> Result<Vec<usize>, Vec<usize>> {
        let mut plan = Plan::default();
        for wanted in elements {
            plan.add(wanted.iter().map(copy).collect());
        }
        plan.order()
    }

    fn copy(wanted: &Wanted) -> Wanted {
        Wanted { shown: Box::new(()), key: wanted.key.clone(), ..*wanted }
    }

    fn orders<M: Mode>(keys: &[i64]) -> Vec<Wanted> {
        wanted_rows::<Shop, Order, M>(keys, Location::caller())
    }

    fn users(keys: &[i64]) -> Vec<Wanted> {
        wanted_rows::<Shop, User, NoKeyUpdate>(keys, Location::caller())
    }

    #[test]
    fn elements_are_locked_by_rank_and_key() {
        assert_eq!(order(&[users(&[1]), orders::<NoKeyUpdate>(&[9])]), Ok(vec![1, 0]));
        assert_eq!(order(&[users(&[9, 8]), users(&[1, 5])]), Ok(vec![1, 0]));
        assert_eq!(order(&[users(&[]), users(&[3]), users(&[])]), Ok(vec![0, 2, 1]));
        let (weak, strong) = (orders::<NoKeyUpdate>(&[4]), orders::<ForUpdate>(&[4]));
        assert_eq!(order(&[weak, strong]), Ok(vec![1, 0]));
    }

    #[test]
    fn what_is_entangled_is_locked_key_by_key() {
        assert_eq!(order(&[users(&[1, 5]), users(&[3])]), Err(vec![0, 1]));
        let call = |wanted: Wanted| (wanted, LockCall::new("", String::new()));
        let calls = users(&[1, 5]).into_iter().chain(users(&[3, 5])).map(call).collect();
        let keys: Vec<_> =
            disentangled(calls).iter().map(|(w, _)| format!("{:?}", w.shown)).collect();
        assert_eq!(keys, ["1", "3", "5"]);
    }
}
