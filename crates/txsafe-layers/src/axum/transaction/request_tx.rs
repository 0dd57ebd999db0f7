//! The transaction of a request, as handlers and middleware take it.

use super::{
    error::RequestTxError,
    slot::{Slot, Tx},
};
use axum_core::extract::FromRequestParts;
use http::request::Parts;
use std::{
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
};
use txsafe::{
    LockOrder, Unlocked,
    driver::{AsyncDriver, Joinable, Locks, Savepoints},
};

/// The database of a request's transaction: the `Database` of an adapter, or a marker for one of several.
///
/// # Examples
/// A second database on the same driver; its layer is `TransactionLayer::new(reports).marked::<Reports>()`, and handlers take a
/// `RequestTx<Reports>`:
/// ```
/// use txsafe_layers::RequestDatabase;
///
/// enum Reports {}
///
/// impl RequestDatabase for Reports {
///     type Driver = txsafe_sqlx::Driver;
///     type Order = txsafe_sqlx::NoOrder;
/// }
/// ```
pub trait RequestDatabase: 'static {
    /// The driver of its adapter.
    type Driver: AsyncDriver;
    /// Its lock order; `NoOrder` where it has none.
    type Order: LockOrder;
}

impl<D: AsyncDriver, O: LockOrder> RequestDatabase for txsafe::Database<D, O> {
    type Driver = D;
    type Order = O;
}

/// The transaction of a request: an extractor for handlers, and for middleware that is made by `from_fn`.
///
/// `Db` is the `Database` of an adapter, so an application names it once: `type Tx = RequestTx<txsafe_sqlx::Database>`. It needs
/// [`TransactionLayer`](crate::TransactionLayer) around the handler, and begins the transaction if nothing of this request has done it
/// before. It dereferences to the `Tx` of the adapter: statements run on `&mut *tx`, helpers that take `&mut Tx<'_>` or
/// `impl Transact` get `&mut tx`, and savepoints, `after_commit` and `set_rollback_only` are there as in a closure.
///
/// **It can't commit.** The layer does, when the response is there. Dropped before that, it waits in the request for the next
/// extractor. Dropped after the response, or while the thread panics, it is rolled back.
///
/// **One at a time.** A middleware drops it before `next.run(request)`, and a handler takes it once; otherwise the second one is
/// rejected with [`AlreadyTaken`](crate::RequestTxErrorKind::AlreadyTaken). To handle a rejection in the handler, take
/// `Result<RequestTx<_>, RequestTxError>`.
pub struct RequestTx<Db: RequestDatabase> {
    /// None while it is dropped.
    tx: Option<Tx<Db>>,
    slot: Arc<Slot<Db>>,
}

impl<Db: RequestDatabase> RequestTx<Db> {
    pub(super) fn new(tx: Tx<Db>, slot: Arc<Slot<Db>>) -> Self {
        Self { tx: Some(tx), slot }
    }

    /// Lends the transaction by value, which is how ranks are climbed: `tx.lend().at::<R>()`. See
    /// [`OwnedTx::lend`](txsafe::OwnedTx::lend).
    #[track_caller]
    pub fn lend(&mut self) -> <Db::Driver as Locks>::Tx<'_, Db::Order, Unlocked>
    where
        Db::Driver: Savepoints,
    {
        self.owned().lend()
    }

    fn owned(&mut self) -> &mut Tx<Db> {
        self.tx.as_mut().unwrap_or_else(|| unreachable!("it is there until it is dropped"))
    }
}

impl<S: Send + Sync, Db: RequestDatabase> FromRequestParts<S> for RequestTx<Db> {
    type Rejection = RequestTxError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, RequestTxError> {
        Slot::of(&parts.extensions)?.take(parts).await
    }
}

impl<Db: RequestDatabase> Deref for RequestTx<Db> {
    type Target = <Db::Driver as Locks>::Tx<'static, Db::Order, Unlocked>;

    fn deref(&self) -> &Self::Target {
        self.tx.as_ref().unwrap_or_else(|| unreachable!("it is there until it is dropped"))
    }
}

impl<Db: RequestDatabase> DerefMut for RequestTx<Db> {
    #[track_caller]
    fn deref_mut(&mut self) -> &mut Self::Target {
        self.owned()
    }
}

impl<D, O, Db> Joinable<D, O> for RequestTx<Db>
where
    D: AsyncDriver + Savepoints,
    O: LockOrder,
    Db: RequestDatabase<Driver = D, Order = O>,
{
    #[track_caller]
    fn lend(&mut self) -> D::Tx<'_, O, Unlocked> {
        Self::lend(self)
    }
}

impl<Db: RequestDatabase> Drop for RequestTx<Db> {
    fn drop(&mut self) {
        if let Some(tx) = self.tx.take() {
            self.slot.give_back(tx);
        }
    }
}

impl<Db: RequestDatabase> fmt::Debug for RequestTx<Db> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestTx").field(&self.tx).finish()
    }
}
