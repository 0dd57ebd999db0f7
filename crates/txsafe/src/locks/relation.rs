//! Orders, and the relation between what is held and what may be locked next.

use super::{graph::class::Class, rank::Rank};
use std::marker::PhantomData;

/// A lock order; declared by [`lock_order!`](crate::lock_order).
pub trait LockOrder: Send + Sync + 'static {
    /// Its name.
    const NAME: &'static str;
    /// The order in one line: `Organization => Order => User`.
    const TEXT: &'static str;
    /// The order as a Mermaid flowchart.
    const MERMAID: &'static str;
    /// The order as a Graphviz digraph.
    const DOT: &'static str;
    /// Neighbours in a chain.
    #[doc(hidden)]
    const NEIGHBOURS: &'static [Neighbours];
}

/// The classes of two ranks, of which the second comes directly after the first.
#[doc(hidden)]
pub type Neighbours = (fn() -> &'static Class, fn() -> &'static Class);

/// No order: the transactions of a database that declared none. Nothing can be locked through their types.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_enums, reason = "it is never made")]
pub enum NoOrder {}

impl LockOrder for NoOrder {
    const NAME: &'static str = "NoOrder";
    const TEXT: &'static str = "";
    const MERMAID: &'static str = "flowchart TD\n";
    const DOT: &'static str = "digraph NoOrder {\n}\n";
    const NEIGHBOURS: &'static [Neighbours] = &[];
}

/// The rank `R` has a place in this order.
#[diagnostic::on_unimplemented(
    message = "`{R}` has no place in lock order `{Self}`",
    label = "not listed in `{Self}`",
    note = "add `{R}` to the `lock_order!` of `{Self}`; a database has the order that its builder was given: `.lock_order::<…>()`"
)]
pub trait Position<R> {
    /// Where it stands among all ranks of the order; in a partial order, in one of the total orders that agree with it.
    const POSITION: u32;
}

/// While `Held` is the highest rank that a transaction holds, it may lock `Next`.
///
/// It is asked of the order and not of the ranks, so that an application can order the ranks of other crates.
#[diagnostic::on_unimplemented(
    message = "`{Next}` may not be locked here: `{Self}` has no place for it, or doesn't allow it while `{Held}` is locked",
    label = "`{Self}` doesn't allow it",
    note = "add `{Next}` to the `lock_order!` of `{Self}`; a database that has no order yet is given one by `Database::builder(pool).lock_order::<…>()`",
    note = "where the order is a type parameter, the bound `{Self}: Allows<{Held}, {Next}>` says what callers may hold already"
)]
pub trait Allows<Held, Next>: Position<Next> {}

/// `Earlier` was passed: it comes no later than `Held`.
#[diagnostic::on_unimplemented(
    message = "`{Earlier}` does not come before `{Held}` in `{Self}`",
    label = "`try_lock_earlier` is for ranks that were passed already",
    note = "to lock `{Earlier}` now, use `tx.at::<{Earlier}>()` and `lock`"
)]
pub trait Passed<Held, Earlier>: Position<Earlier> {}

/// A transaction whose highest rank is `Self` is at the rank `R`.
#[diagnostic::on_unimplemented(
    message = "`{R}` can't be locked here: the transaction is at `{Self}`",
    label = "not at `{R}`",
    note = "go to its rank first, where nothing behind it is locked yet: `let mut tx = tx.at::<{R}>();`"
)]
pub trait At<R> {}

impl<R: Rank> At<R> for R {}

/// With the impl above alone, the compiler would take a row's rank for that of the transaction, and then wonder about the
/// row. With a second one it waits for the row, and says what is wrong with the transaction.
impl<R: Rank> At<Nowhere> for R {}

/// No rank.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_enums, reason = "it is never made")]
pub enum Nowhere {}

/// Which of two ranks is the higher one.
#[diagnostic::on_unimplemented(
    message = "`{One}` and `{Other}` are never locked together: neither comes before the other in `{Self}`",
    label = "not in one set of `{Self}`",
    note = "in a `partial` order, ranks of different chains have no order among themselves"
)]
pub trait Higher<One, Other> {
    /// The higher one.
    type Rank;
}

/// For `lock_order!`: where a rank stands in a total order, as a type.
#[doc(hidden)]
pub trait Placed<R> {
    /// [`First`], or [`Behind`] the place before.
    type Place;
}

/// The first place.
#[doc(hidden)]
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "it is never made")]
pub enum First {}

/// The place behind another one.
#[doc(hidden)]
#[derive(Debug)]
pub struct Behind<P>(PhantomData<P>);

/// For `lock_order!`: of two places, `One` at the first and `Other` at the second, who stands higher. A comparison by
/// counting costs the compiler nothing where nobody asks; an impl for each pair of 60 ranks costs it a second and a half.
#[doc(hidden)]
pub trait Compared<One, Other> {
    /// The higher one.
    type Higher;
}

impl<One, Other> Compared<One, Other> for (First, First) {
    type Higher = One;
}

impl<One, Other, P> Compared<One, Other> for (Behind<P>, First) {
    type Higher = One;
}

impl<One, Other, P> Compared<One, Other> for (First, Behind<P>) {
    type Higher = Other;
}

impl<One, Other, P, Q> Compared<One, Other> for (Behind<P>, Behind<Q>)
where
    (P, Q): Compared<One, Other>,
{
    type Higher = <(P, Q) as Compared<One, Other>>::Higher;
}

/// Nothing is locked yet.
#[derive(Debug, Clone, Copy)]
#[expect(clippy::exhaustive_enums, reason = "it is never made")]
pub enum Unlocked {}
