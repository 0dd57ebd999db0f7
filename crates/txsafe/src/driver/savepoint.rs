//! Savepoints: what an adapter does for one, and what is done with it on every driver.

use super::{account::HasAccount, closure::AsyncFuncOnce};
use crate::{
    dialect::failure::Failure,
    error::Error,
    guard::within,
    locks::{
        lock::ready,
        relation::{LockOrder, Unlocked},
    },
};
use futures_util::future::BoxFuture;

/// A driver through whose transactions savepoints are set. A blocking one's futures are ready when they are made, as those of
/// [`Locks`](super::Locks) are.
pub trait Savepoints: HasAccount {
    /// Sets a savepoint.
    fn set<'t, O: LockOrder, Held>(
        tx: &'t mut Self::Tx<'_, O, Held>,
    ) -> BoxFuture<'t, Result<(), Error>>;

    /// Waits until nothing is in flight; then the failure of a statement behind the savepoint that nobody has undone.
    fn settle<'t, O: LockOrder, Held>(
        tx: &'t mut Self::Tx<'_, O, Held>,
    ) -> BoxFuture<'t, Option<Failure>>;

    /// Releases the savepoint.
    fn release<'t, O: LockOrder, Held>(
        tx: &'t mut Self::Tx<'_, O, Held>,
    ) -> BoxFuture<'t, Result<(), Error>>;

    /// Rolls back to the savepoint and releases it. If that fails, the transaction is aborted or lost, and its end tells.
    fn roll_back<'t, O: LockOrder, Held>(tx: &'t mut Self::Tx<'_, O, Held>) -> BoxFuture<'t, ()>;

    /// The same transaction, lent to the savepoint's closure.
    fn lend<'t, O: LockOrder, Held>(tx: &'t mut Self::Tx<'_, O, Held>) -> Self::Tx<'t, O, Held>;
}

/// An open transaction that work can join: a `Tx`, or one that was begun by hand.
pub trait Joinable<D: Savepoints, O: LockOrder>: Send {
    /// The same transaction, as if nothing were locked in it yet. Locks against the order are errors at run time, because the
    /// transaction knows what it holds.
    fn lend(&mut self) -> D::Tx<'_, O, Unlocked>;
}

/// Runs `body` behind a savepoint.
///
/// # Errors
/// What `body` returned; the savepoint couldn't be set or released; `body` kept a failure to itself.
pub async fn savepoint<D, O, Held, T, E, F>(tx: &mut D::Tx<'_, O, Held>, body: F) -> Result<T, E>
where
    D: Savepoints,
    O: LockOrder,
    F: for<'c> AsyncFnOnce(D::Tx<'c, O, Held>) -> Result<T, E>
        + for<'c> AsyncFuncOnce<D::Tx<'c, O, Held>, Result<T, E>, Fut: Send>,
    E: From<Error>,
{
    let depth = D::account(tx).savepoints();
    D::set(tx).await?;
    let mark = D::account(tx).savepoint_set(depth);
    let result = within::savepoint(body(D::lend(tx))).await;
    let swallowed = D::settle(tx).await;
    match outcome(result, swallowed) {
        Ok(value) => {
            D::release(tx).await?;
            D::account(tx).savepoint_released(&mark);
            Ok(value)
        }
        Err(error) => {
            D::roll_back(tx).await;
            D::account(tx).savepoint_rolled_back(mark);
            Err(error)
        }
    }
}

/// The blocking twin of [`savepoint`].
///
/// # Errors
/// As there.
pub fn savepoint_blocking<D, O, Held, T, E, F>(tx: &mut D::Tx<'_, O, Held>, body: F) -> Result<T, E>
where
    D: Savepoints,
    O: LockOrder,
    F: for<'c> FnOnce(D::Tx<'c, O, Held>) -> Result<T, E>,
    E: From<Error>,
{
    let depth = D::account(tx).savepoints();
    ready(D::set(tx))?;
    let mark = D::account(tx).savepoint_set(depth);
    let result = within::savepoint_blocking(|| body(D::lend(tx)));
    let swallowed = ready(D::settle(tx));
    match outcome(result, swallowed) {
        Ok(value) => {
            ready(D::release(tx))?;
            D::account(tx).savepoint_released(&mark);
            Ok(value)
        }
        Err(error) => {
            ready(D::roll_back(tx));
            D::account(tx).savepoint_rolled_back(mark);
            Err(error)
        }
    }
}

/// A closure that returned `Ok` although a statement had failed hasn't done what it says.
fn outcome<T, E: From<Error>>(result: Result<T, E>, swallowed: Option<Failure>) -> Result<T, E> {
    match swallowed {
        Some(failure) if result.is_ok() => Err(Error::swallowed(failure).into()),
        Some(_) | None => result,
    }
}

/// The method that runs a closure behind a savepoint.
#[doc(hidden)]
#[macro_export]
macro_rules! __savepoint_method {
    ($mode:ident $tx:ident on $driver:ident) => {
        $crate::__savepoint_method! {
            $mode $tx on $driver
            /// Runs `body` behind a savepoint: if it returns `Err`, what it did is undone and the transaction goes on.
            ///
            /// A savepoint isn't tried again by itself: after a serialization failure its snapshot would be the same. Return
            /// the error, and the whole transaction is.
            ///
            /// # Errors
            /// What `body` returned; or [`Error`](crate::Error), where the savepoint couldn't be set or released, as when `body`
            /// swallowed a failed statement.
        }
    };
    (async $tx:ident on $driver:ident $(#[$doc:meta])+) => {
        impl<O: $crate::LockOrder, Held: 'static> $tx<'_, O, Held> {
            $(#[$doc])+
            pub fn savepoint<'t, T, E, F>(
                &'t mut self,
                body: F,
            ) -> impl ::std::future::Future<Output = Result<T, E>> + Send + 't
            where
                F: for<'c> AsyncFnOnce($tx<'c, O, Held>) -> Result<T, E>
                    + for<'c> $crate::AsyncFuncOnce<$tx<'c, O, Held>, Result<T, E>, Fut: Send>
                    + Send
                    + 't,
                T: Send + 't,
                E: From<$crate::Error> + Send + 't,
            {
                $crate::driver::savepoint::<$driver, O, Held, T, E, F>(self, body)
            }
        }
    };
    (blocking $tx:ident on $driver:ident $(#[$doc:meta])+) => {
        impl<O: $crate::LockOrder, Held> $tx<'_, O, Held> {
            $(#[$doc])+
            pub fn savepoint<T, E, F>(&mut self, body: F) -> Result<T, E>
            where
                F: for<'c> FnOnce($tx<'c, O, Held>) -> Result<T, E>,
                E: From<$crate::Error>,
            {
                $crate::driver::savepoint_blocking::<$driver, O, Held, T, E, F>(self, body)
            }
        }
    };
}

/// The trait of an adapter by which helpers begin a transaction or join one, and how its `Tx` is joined.
#[doc(hidden)]
#[macro_export]
macro_rules! __transact {
    ($tx:ident on $driver:ident by $transact:ident) => {
        /// What a helper takes that runs in a transaction of its own, or as part of one that is open: a `&Database` begins, a
        /// `&mut Tx` joins by a savepoint.
        pub trait Transact<O: $crate::LockOrder = $crate::NoOrder>:
            $crate::$transact<$driver, O>
        {
        }

        impl<O: $crate::LockOrder, B: $crate::$transact<$driver, O>> Transact<O> for B {}

        impl<O: $crate::LockOrder, Held: 'static> $crate::driver::Joinable<$driver, O>
            for $tx<'_, O, Held>
        {
            fn lend(&mut self) -> $tx<'_, O> {
                <$driver as $crate::driver::Savepoints>::lend::<O, Held>(self).with_rank()
            }
        }
    };
}
