//! Sets of locks, taken at once in their order.

use super::{
    advisory,
    held::Wanted,
    lock::{self, Locks, Reads},
    locked::Locked,
    mode::Mode,
    rank::{AdvisoryRank, Ranked},
    relation::{Allows, Higher, LockOrder, Unlocked},
    set::{ManyRows, OneKey, OneRow, Plan, disentangled, row_calls, wanted_rows},
    statement::LockCall,
};
use crate::error::Error;
use futures_util::future::BoxFuture;
use std::{fmt, panic::Location};

/// What can be locked at once, while `Held` is the highest rank that is locked: [`row`](crate::row),
/// [`rows`](crate::rows), [`advisory`](crate::advisory), an array of rows, or a tuple of two to four of these, which
/// may be tuples themselves.
///
/// Elements are locked by rank and key, however they stand. Rows of one rank are best one element: one statement.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no set of locks",
    label = "can't be locked at once",
    note = "a set is `row::<Row>(key)`, `rows::<Row>(keys)`, `advisory::<Rank>(key)`, an array of `row`s, or a tuple of these"
)]
pub trait LockSet<D: Locks, O, Held>: Send + Sync {
    /// What was read: [`Locked`] for a row, a `Vec` for rows, `()` for an advisory lock, and arrays and tuples of them.
    type Rows<'c>: Send;
    /// The highest rank of the set.
    type Highest;
    /// What has been read so far.
    #[doc(hidden)]
    type Found<'c>: Default + Send;

    /// How many elements it has.
    #[doc(hidden)]
    const ELEMENTS: usize = 1;

    #[doc(hidden)]
    fn plan(&self, plan: &mut Plan, at: &'static Location<'static>);

    /// The single locks of all elements, for the case that they are entangled.
    #[doc(hidden)]
    fn calls(&self, at: &'static Location<'static>) -> Vec<(Wanted, LockCall)>;

    /// Locks one element.
    #[doc(hidden)]
    fn lock<'t, 'c: 't>(
        &'t self,
        element: usize,
        tx: &'t mut D::Tx<'c, O, Held>,
        found: &'t mut Self::Found<'c>,
        at: &'static Location<'static>,
    ) -> BoxFuture<'t, Result<(), Error>>
    where
        O: LockOrder;

    #[doc(hidden)]
    fn rows<'c>(found: Self::Found<'c>) -> Self::Rows<'c>;
}

/// A transaction, and the rows that it locked first thing: what the closure of `transaction_locking` gets.
///
/// It is one value because a closure's argument must have one lifetime.
#[non_exhaustive]
pub struct Holding<'c, D: Locks, O: LockOrder, S: LockSet<D, O, Unlocked>> {
    /// The transaction, which holds the locks of the set.
    pub tx: D::Tx<'c, O, S::Highest>,
    /// What was read.
    pub rows: S::Rows<'c>,
}

impl<'c, D: Locks, O: LockOrder, S: LockSet<D, O, Unlocked>> Holding<'c, D, O, S> {
    /// For adapters: locks the set.
    ///
    /// # Errors
    /// As for [`lock_all`].
    pub async fn lock(
        tx: D::Tx<'c, O, Unlocked>,
        set: &S,
        at: &'static Location<'static>,
    ) -> Result<Self, Error> {
        let (rows, tx) = lock_all::<D, O, Unlocked, S>(tx, set, at).await?;
        Ok(Self { tx, rows })
    }
}

impl<D: Locks, O: LockOrder, S: LockSet<D, O, Unlocked>> fmt::Debug for Holding<'_, D, O, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Holding").finish_non_exhaustive()
    }
}

/// Locks a set.
///
/// # Errors
/// A row isn't there; a lock is refused at run time; what the server said.
pub async fn lock_all<'c, D, O, Held, S>(
    mut tx: D::Tx<'c, O, Held>,
    set: &S,
    at: &'static Location<'static>,
) -> Result<(S::Rows<'c>, D::Tx<'c, O, S::Highest>), Error>
where
    D: Locks,
    O: LockOrder,
    S: LockSet<D, O, Held>,
{
    let mut plan = Plan::default();
    set.plan(&mut plan, at);
    let order = match plan.order() {
        Ok(order) => order,
        Err(order) => {
            for (wanted, call) in disentangled(set.calls(at)) {
                D::held(&mut tx).admit::<O>(wanted)?;
                D::call(&mut tx, call).await?;
            }
            order
        }
    };
    let mut found = S::Found::default();
    for element in order {
        set.lock(element, &mut tx, &mut found, at).await?;
    }
    Ok((S::rows(found), D::with_rank(tx)))
}

impl<D, O, Held, T, M> LockSet<D, O, Held> for OneRow<T, M>
where
    D: Reads<T>,
    O: LockOrder + Allows<Held, T::Rank>,
    T: Ranked + Send + 'static,
    M: Mode,
{
    type Rows<'c> = Locked<'c, T, M>;
    type Highest = T::Rank;
    type Found<'c> = Option<Locked<'c, T, M>>;

    fn plan(&self, plan: &mut Plan, at: &'static Location<'static>) {
        plan.add(wanted_rows::<O, T::Rank, M>(std::slice::from_ref(&self.key), at));
    }

    fn calls(&self, at: &'static Location<'static>) -> Vec<(Wanted, LockCall)> {
        row_calls::<O, T::Rank, M>(std::slice::from_ref(&self.key), at)
    }

    fn lock<'t, 'c: 't>(
        &'t self,
        _element: usize,
        tx: &'t mut D::Tx<'c, O, Held>,
        found: &'t mut Self::Found<'c>,
        at: &'static Location<'static>,
    ) -> BoxFuture<'t, Result<(), Error>> {
        Box::pin(async move {
            *found = Some(lock::row::<D, O, Held, T, M>(tx, &self.key, at).await?);
            Ok(())
        })
    }

    fn rows<'c>(found: Self::Found<'c>) -> Self::Rows<'c> {
        found.unwrap_or_else(|| unreachable!("each element has been locked"))
    }
}

impl<D, O, Held, T, M> LockSet<D, O, Held> for ManyRows<T, M>
where
    D: Reads<T>,
    O: LockOrder + Allows<Held, T::Rank>,
    T: Ranked + Send + 'static,
    M: Mode,
{
    type Rows<'c> = Vec<Locked<'c, T, M>>;
    type Highest = T::Rank;
    type Found<'c> = Vec<Locked<'c, T, M>>;

    fn plan(&self, plan: &mut Plan, at: &'static Location<'static>) {
        plan.add(wanted_rows::<O, T::Rank, M>(&self.keys, at));
    }

    fn calls(&self, at: &'static Location<'static>) -> Vec<(Wanted, LockCall)> {
        row_calls::<O, T::Rank, M>(&self.keys, at)
    }

    fn lock<'t, 'c: 't>(
        &'t self,
        _element: usize,
        tx: &'t mut D::Tx<'c, O, Held>,
        found: &'t mut Self::Found<'c>,
        at: &'static Location<'static>,
    ) -> BoxFuture<'t, Result<(), Error>> {
        Box::pin(async move {
            *found = lock::rows::<D, O, Held, T, M>(tx, &self.keys, at).await?;
            Ok(())
        })
    }

    fn rows<'c>(found: Self::Found<'c>) -> Self::Rows<'c> {
        found
    }
}

impl<D, O, Held, T, M, const N: usize> LockSet<D, O, Held> for [OneRow<T, M>; N]
where
    D: Reads<T>,
    O: LockOrder + Allows<Held, T::Rank>,
    T: Ranked + Send + 'static,
    M: Mode,
{
    type Rows<'c> = [Locked<'c, T, M>; N];
    type Highest = T::Rank;
    type Found<'c> = Vec<Locked<'c, T, M>>;

    fn plan(&self, plan: &mut Plan, at: &'static Location<'static>) {
        let keys = self.each_ref().map(|row| row.key.clone());
        plan.add(wanted_rows::<O, T::Rank, M>(&keys, at));
    }

    fn calls(&self, at: &'static Location<'static>) -> Vec<(Wanted, LockCall)> {
        row_calls::<O, T::Rank, M>(&self.each_ref().map(|row| row.key.clone()), at)
    }

    fn lock<'t, 'c: 't>(
        &'t self,
        _element: usize,
        tx: &'t mut D::Tx<'c, O, Held>,
        found: &'t mut Self::Found<'c>,
        at: &'static Location<'static>,
    ) -> BoxFuture<'t, Result<(), Error>> {
        Box::pin(async move {
            let keys = self.each_ref().map(|row| row.key.clone());
            let rows = lock::rows::<D, O, Held, T, M>(tx, &keys, at).await?;
            *found = if rows.len() == N {
                as_written(&keys, rows)
            } else {
                // One is missing, or was written twice. None of these has to wait.
                let mut rows = Vec::with_capacity(N);
                for key in &keys {
                    rows.push(lock::row::<D, O, Held, T, M>(tx, key, at).await?);
                }
                rows
            };
            Ok(())
        })
    }

    fn rows<'c>(found: Self::Found<'c>) -> Self::Rows<'c> {
        let rows = found.try_into();
        rows.unwrap_or_else(|_: Vec<_>| unreachable!("there is a row for each key"))
    }
}

/// Rows in ascending order of their keys, in the order of `keys`.
fn as_written<K: Ord, T>(keys: &[K], rows: Vec<T>) -> Vec<T> {
    let mut places: Vec<usize> = (0..keys.len()).collect();
    places.sort_by_key(|&place| &keys[place]);
    let mut placed: Vec<_> = places.into_iter().zip(rows).collect();
    placed.sort_by_key(|(place, _)| *place);
    placed.into_iter().map(|(_, row)| row).collect()
}

impl<D, O, Held, R> LockSet<D, O, Held> for OneKey<R>
where
    D: Locks,
    O: LockOrder + Allows<Held, R>,
    R: AdvisoryRank,
{
    type Rows<'c> = ();
    type Highest = R;
    type Found<'c> = ();

    fn plan(&self, plan: &mut Plan, at: &'static Location<'static>) {
        let id = lock::identified::<R>(&self.key);
        plan.add(vec![Wanted::advisory::<O, R>(id, &self.key, false, at)]);
    }

    fn calls(&self, at: &'static Location<'static>) -> Vec<(Wanted, LockCall)> {
        let id = lock::identified::<R>(&self.key);
        vec![(Wanted::advisory::<O, R>(id, &self.key, false, at), advisory::lock(&[id.id], false))]
    }

    fn lock<'t, 'c: 't>(
        &'t self,
        _element: usize,
        tx: &'t mut D::Tx<'c, O, Held>,
        _found: &'t mut Self::Found<'c>,
        at: &'static Location<'static>,
    ) -> BoxFuture<'t, Result<(), Error>> {
        Box::pin(async move {
            let keys = std::slice::from_ref(&self.key);
            lock::advisory::<D, O, Held, R>(tx, keys, false, at).await
        })
    }

    fn rows<'c>((): Self::Found<'c>) -> Self::Rows<'c> {}
}

/// The higher one of two ranks.
type Highest<O, One, Other> = <O as Higher<One, Other>>::Rank;

macro_rules! tuple {
    ($($set:ident $place:tt),+; $highest:ty; $($bound:tt)*) => {
        impl<D, O, Held, $($set),+> LockSet<D, O, Held> for ($($set,)+)
        where
            D: Locks,
            O: LockOrder + $($bound)*,
            $($set: LockSet<D, O, Held>,)+
        {
            type Rows<'c> = ($($set::Rows<'c>,)+);
            type Highest = $highest;
            type Found<'c> = ($($set::Found<'c>,)+);

            const ELEMENTS: usize = 0 $(+ $set::ELEMENTS)+;

            fn plan(&self, plan: &mut Plan, at: &'static Location<'static>) {
                $(self.$place.plan(plan, at);)+
            }

            fn calls(&self, at: &'static Location<'static>) -> Vec<(Wanted, LockCall)> {
                let mut calls = Vec::new();
                $(calls.extend(self.$place.calls(at));)+
                calls
            }

            fn lock<'t, 'c: 't>(
                &'t self,
                mut element: usize,
                tx: &'t mut D::Tx<'c, O, Held>,
                found: &'t mut Self::Found<'c>,
                at: &'static Location<'static>,
            ) -> BoxFuture<'t, Result<(), Error>> {
                $(
                    if element < $set::ELEMENTS {
                        return self.$place.lock(element, tx, &mut found.$place, at);
                    }
                    element -= $set::ELEMENTS;
                )+
                unreachable!("element {element} behind the last one")
            }

            fn rows<'c>(found: Self::Found<'c>) -> Self::Rows<'c> {
                ($($set::rows(found.$place),)+)
            }
        }
    };
}

tuple!(A 0, B 1; Highest<O, A::Highest, B::Highest>; Higher<A::Highest, B::Highest>);
tuple!(
    A 0, B 1, C 2;
    Highest<O, Highest<O, A::Highest, B::Highest>, C::Highest>;
    Higher<A::Highest, B::Highest> + Higher<Highest<O, A::Highest, B::Highest>, C::Highest>
);
tuple!(
    A 0, B 1, C 2, E 3;
    Highest<O, Highest<O, A::Highest, B::Highest>, Highest<O, C::Highest, E::Highest>>;
    Higher<A::Highest, B::Highest>
        + Higher<C::Highest, E::Highest>
        + Higher<Highest<O, A::Highest, B::Highest>, Highest<O, C::Highest, E::Highest>>
);
