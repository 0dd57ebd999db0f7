//! Evidence that rows are locked, for writes that ask for it.

use super::{
    locked::Locked,
    mode::{ForUpdate, Mode, NoKeyUpdate},
    rank::{Rank, Ranked, TableRank},
};

/// A mode in which a row may be written.
#[diagnostic::on_unimplemented(
    message = "a row that is locked by `{Self}` may not be updated",
    label = "doesn't lock for writing",
    note = "take it by `lock`, or by `lock_for::<NoKeyUpdate, _>`: the stronger mode first, since a lock isn't raised later"
)]
pub trait Writes: Mode {}

impl Writes for NoKeyUpdate {}
impl Writes for ForUpdate {}

/// A mode in which a row may be deleted, or its key changed: the strongest, because foreign keys' checks wait for it.
#[diagnostic::on_unimplemented(
    message = "a row that is locked by `{Self}` may not be deleted",
    label = "doesn't lock for deleting",
    note = "take it by `lock_for::<ForUpdate, _>`: foreign keys' checks of others don't wait for a weaker mode, and DELETE would raise it"
)]
pub trait Deletes: Mode {}

impl Deletes for ForUpdate {}

/// A table whose foreign keys are known. Declared by [`references!`](crate::references).
#[diagnostic::on_unimplemented(
    message = "it isn't known which rows an INSERT into `{Self}` locks",
    label = "has foreign keys, or not: nobody said",
    note = "add `references!({Self} => (Parent, OtherParent))` next to the rank, with the ranks that its foreign keys point at, or `()`"
)]
pub trait References: TableRank {
    /// The ranks that its foreign keys point at, as a tuple.
    type Parents;
}

/// Evidence that a row of rank `R` is locked: a `&Locked`, or an `Option` of one where the foreign key may be NULL.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no evidence that a row of `{R}` is locked",
    label = "not a locked row of `{R}`",
    note = "lock it by `tx.at::<{R}>()` and `lock`, before what comes behind it in the order; the mode `KeyShare` is enough"
)]
pub trait LockOf<'c, R: Rank> {}

impl<'c, R, T, M> LockOf<'c, R> for &Locked<'c, T, M>
where
    R: Rank,
    T: Ranked<Rank = R>,
    M: Mode,
{
}

impl<'c, R, T, M> LockOf<'c, R> for Option<&Locked<'c, T, M>>
where
    R: Rank,
    T: Ranked<Rank = R>,
    M: Mode,
{
}

/// Evidence that the rows which an INSERT's foreign keys point at are locked, in the order of
/// [`references!`](crate::references): a tuple of `&Locked`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no evidence that the rows are locked which the foreign keys point at",
    label = "not a tuple with one `&Locked` for each of `{Parents}`",
    note = "an INSERT locks those rows behind your back: lock them before, and pass them in the order of `references!`"
)]
pub trait ParentsLocked<'c, Parents> {}

impl ParentsLocked<'_, ()> for () {}

macro_rules! parents {
    ($($rank:ident $evidence:ident),+) => {
        impl<'c, $($rank: Rank, $evidence: LockOf<'c, $rank>),+> ParentsLocked<'c, ($($rank,)+)>
            for ($($evidence,)+)
        {
        }
    };
}

parents!(A Ea);
parents!(A Ea, B Eb);
parents!(A Ea, B Eb, C Ec);
parents!(A Ea, B Eb, C Ec, D Ed);
parents!(A Ea, B Eb, C Ec, D Ed, F Ef);
parents!(A Ea, B Eb, C Ec, D Ed, F Ef, G Eg);
