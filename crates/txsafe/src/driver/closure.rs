//! The bounds on transaction closures: async closures whose futures are `Send`.
//!
//! `AsyncFnMut::CallRefFuture` can't be bounded on stable Rust. These traits name the future a second way, through
//! `FnMut`, so that a bound can say `Fut: Send`. They are implemented for every async closure and async function that
//! takes one argument; there is nothing to implement by hand.

use std::future::Future;

/// An async closure that can be called again: the body of a retried transaction.
pub trait AsyncFuncMut<A, R>:
    AsyncFnMut(A) -> R + FnMut(A) -> <Self as AsyncFuncMut<A, R>>::Fut
{
    /// The future that a call returns.
    type Fut: Future<Output = R>;
}

impl<F, A, Fut, R> AsyncFuncMut<A, R> for F
where
    F: AsyncFnMut(A) -> R + FnMut(A) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}

/// An async closure that is called at most once, and may give away what it captured.
pub trait AsyncFuncOnce<A, R>:
    AsyncFnOnce(A) -> R + FnOnce(A) -> <Self as AsyncFuncOnce<A, R>>::Fut
{
    /// The future that a call returns.
    type Fut: Future<Output = R>;
}

impl<F, A, Fut, R> AsyncFuncOnce<A, R> for F
where
    F: AsyncFnOnce(A) -> R + FnOnce(A) -> Fut,
    Fut: Future<Output = R>,
{
    type Fut = Fut;
}
