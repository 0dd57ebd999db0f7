//! The layer that ends the transaction of a request.

use super::{
    error::{MapError, RequestTxError, RequestTxErrorKind},
    request_tx::RequestDatabase,
    settings::{Settings, setters},
    slot::{Left, Slot},
};
use crate::IdempotencyKey;
use axum_core::response::{IntoResponse, Response};
use http::{Request, request::Parts};
use std::{
    any::type_name,
    fmt,
    future::Future,
    mem,
    panic::Location,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service;
use txsafe::{Database, ErrorKind, LockOrder, Outcome, driver::AsyncDriver};

/// Gives each request one transaction, which [`RequestTx`](crate::RequestTx) begins when it is first taken. If the status of the
/// response is below 400, the layer commits before the client gets the response. Otherwise it rolls back.
///
/// It must be around everything that takes the transaction. In axum a layer that is added later is further outside, so call
/// `Router::layer` with it after the routes and after the middleware that takes the transaction.
///
/// | what happens | the transaction | the response |
/// |---|---|---|
/// | the status is below 400, redirects included | is committed | the handler's; if COMMIT failed, that of [`RequestTxError`] |
/// | the status is 400 or above | is rolled back | the handler's |
/// | the handler called `set_rollback_only` | is rolled back | the handler's |
/// | a panic that is caught around this layer, or nowhere | is rolled back, its connection closed | of the layer that catches it |
/// | a panic of code that holds `RequestTx`, caught inside this layer | is rolled back, its connection closed | of the layer that catches it; 500, if that would commit |
/// | a panic of other code, caught inside this layer | is committed or rolled back by the status of the response | of the layer that catches it |
/// | the guard found something that fails the transaction ([`Policy::test`](txsafe::guard::Policy::test)) | is rolled back | none if it would commit: this layer panics |
/// | the client goes away, or a timeout drops the handler | is rolled back in the background | |
/// | the client goes away during COMMIT, or while hooks run | is committed, and its hooks run to their end | |
/// | a task or the response's body still holds it | is rolled back when it is dropped there | 500, if the handler's would commit |
/// | nothing takes it | isn't begun | the handler's |
///
/// If the handler returns an error after a statement has ended the transaction, what was committed is unknown: the response is then
/// 500 and says so. What a streaming body does happens after COMMIT.
///
/// **Nothing is run again**, because the body of a request can be read only once. A handler that meets deadlocks or serialization
/// failures calls `db.transaction`, which runs its closure again; here such a failure becomes 503 with `Retry-After`, if the handler
/// answers with [`Answer`](crate::Answer).
///
/// # Examples
/// [With SQLx](crate#one-transaction-for-a-request-of-axum), and
/// [with diesel-async](https://github.com/txsafe/txsafe/blob/main/crates/txsafe-layers/docs/transaction.md).
pub struct TransactionLayer<Db: RequestDatabase> {
    shared: Shared<Db>,
    settings: Settings,
}

/// What all requests have in common.
pub(super) struct Shared<Db: RequestDatabase> {
    pub(super) db: Database<Db::Driver, Db::Order>,
    pub(super) place: &'static Location<'static>,
    pub(super) key_of: Option<KeyOf>,
    pub(super) map_error: Option<MapError>,
}

/// Makes the idempotency key of a transaction of the one that the request has.
type KeyOf = Arc<dyn Fn(&IdempotencyKey, &Parts) -> String + Send + Sync>;

impl<D: AsyncDriver, O: LockOrder> TransactionLayer<Database<D, O>> {
    /// Transactions on this database. Reports and findings name the place of this call.
    #[must_use]
    #[track_caller]
    pub fn new(db: Database<D, O>) -> Self {
        let place = Location::caller();
        let shared = Shared { db, place, key_of: None, map_error: None };
        Self { shared, settings: Settings::default() }
    }

    /// The same layer for `RequestTx<M>`, for requests that have transactions on several databases of one type.
    #[must_use]
    pub fn marked<M>(self) -> TransactionLayer<M>
    where
        M: RequestDatabase<Driver = D, Order = O>,
    {
        let Shared { db, place, key_of, map_error } = self.shared;
        let shared = Shared { db, place, key_of, map_error };
        TransactionLayer { shared, settings: self.settings }
    }
}

impl<Db: RequestDatabase> TransactionLayer<Db> {
    setters!();

    /// Commits at most once per idempotency key: what `key` makes of the header `Idempotency-Key` of a request. A request without
    /// that header has a transaction without a key. Default: the header isn't read.
    ///
    /// `key` runs when the transaction begins, which is where the request first takes `RequestTx`, and not when the request arrives. It
    /// reads the request as it is there: what middleware inserts later is missing. If nothing takes the transaction, it doesn't run.
    ///
    /// The transaction writes the key into the table of [`IDEMPOTENCY_KEYS_SQL`](txsafe::IDEMPOTENCY_KEYS_SQL), under the
    /// transaction's name. A request whose key is there is rejected with
    /// [`AlreadyCommitted`](RequestTxErrorKind::AlreadyCommitted): 409, unless the handler or [`map_error`](Self::map_error) says
    /// otherwise. A request that was rolled back can be sent again with the same key. **Put in front who the caller is, where callers
    /// don't trust each other.**
    ///
    /// The layer compares no fingerprint, because it doesn't read the body: another request with the same key is rejected as if it
    /// were the first one again. To tell them apart, call [`Database::idempotency_key`] with a
    /// [`fingerprint`](txsafe::WithKey::fingerprint) in the handler.
    ///
    /// # Examples
    /// ```
    /// # use txsafe_layers::TransactionLayer;
    /// # fn layer(db: txsafe_sqlx::Database) {
    /// # #[derive(Clone)] struct User(i64);
    /// let layer = TransactionLayer::new(db).idempotency_keys(|key, request| {
    ///     match request.extensions.get::<User>() {
    ///         Some(User(id)) => format!("user {id}/{key}"),
    ///         None => format!("anonymous/{key}"), // no number: it could be a user's
    ///     }
    /// });
    /// # let _ = layer;
    /// # }
    /// ```
    #[must_use]
    pub fn idempotency_keys(
        mut self,
        key: impl Fn(&IdempotencyKey, &Parts) -> String + Send + Sync + 'static,
    ) -> Self {
        self.shared.key_of = Some(Arc::new(key));
        self
    }

    /// Makes the responses to errors: where no transaction could be begun, and where one wasn't committed. Default: the responses
    /// that [`RequestTxError`] lists. Inside `map`, `error.into_response()` makes those.
    ///
    /// # Examples
    /// ```
    /// use axum::{Json, http::StatusCode, response::IntoResponse};
    /// use txsafe_layers::{RequestTxErrorKind, TransactionLayer};
    ///
    /// # fn layer(db: txsafe_sqlx::Database) {
    /// let layer = TransactionLayer::new(db).map_error(|error| match error.kind() {
    ///     RequestTxErrorKind::AlreadyCommitted => (StatusCode::OK, Json("done before")).into_response(),
    ///     _ => error.into_response(),
    /// });
    /// # let _ = layer;
    /// # }
    /// ```
    #[must_use]
    pub fn map_error<R: IntoResponse>(
        mut self,
        map: impl Fn(RequestTxError) -> R + Send + Sync + 'static,
    ) -> Self {
        self.shared.map_error = Some(Arc::new(move |error| map(error).into_response()));
        self
    }
}

impl<S, Db: RequestDatabase> Layer<S> for TransactionLayer<Db> {
    type Service = RequestTransaction<S, Db>;

    fn layer(&self, service: S) -> RequestTransaction<S, Db> {
        let shared = Arc::new(self.shared.clone());
        RequestTransaction { service, shared, settings: self.settings.clone() }
    }
}

/// A service whose requests have a transaction; made by [`TransactionLayer`].
pub struct RequestTransaction<S, Db: RequestDatabase> {
    service: S,
    shared: Arc<Shared<Db>>,
    settings: Settings,
}

impl<S, B, Db> Service<Request<B>> for RequestTransaction<S, Db>
where
    S: Service<Request<B>, Response: IntoResponse, Future: Send> + Clone + Send + 'static,
    B: Send + 'static,
    Db: RequestDatabase,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that is ready is used, and a clone may not be.
        let clone = self.service.clone();
        let mut service = mem::replace(&mut self.service, clone);
        let slot = Arc::new(Slot::new(Arc::clone(&self.shared), self.settings.clone()));
        let outer = request.extensions_mut().insert(Arc::clone(&slot));
        Box::pin(async move {
            if outer.is_some() {
                let two = RequestTxErrorKind::TwoLayers(type_name::<Db>());
                return Ok(slot.error(two).into_response());
            }
            // Made before the call, so that it is dropped after all that the service drops.
            let request_of = OpenRequest(slot);
            let response = service.call(request).await?;
            Ok(request_of.end(response.into_response()).await)
        })
    }
}

/// A request that has no response yet. Its drop ends the request: the transaction is rolled back, and no extractor gets it.
struct OpenRequest<Db: RequestDatabase>(Arc<Slot<Db>>);

impl<Db: RequestDatabase> OpenRequest<Db> {
    /// Commits or rolls back by the response, and returns the response that is true then.
    async fn end(self, response: Response) -> Response {
        let commits = self.0.settings().commits(&response);
        let wrong = match self.0.close() {
            Left::Open(tx) if commits => match tx.commit().await {
                // The handler has asked for the rollback, so its response is true.
                Err(error) if *error.kind() != ErrorKind::RollbackOnly => {
                    RequestTxErrorKind::End(error)
                }
                _ => return response,
            },
            Left::Open(tx) => match tx.rollback().await {
                Err(error) if error.outcome() != Outcome::RolledBack => {
                    RequestTxErrorKind::End(error)
                }
                _ => return response,
            },
            Left::Held if commits => RequestTxErrorKind::HeldAtResponse,
            Left::Panicked if commits => RequestTxErrorKind::Panicked,
            Left::Nothing | Left::Held | Left::Panicked => return response,
        };
        self.0.error(wrong).into_response()
    }
}

impl<Db: RequestDatabase> Drop for OpenRequest<Db> {
    fn drop(&mut self) {
        drop(self.0.close());
    }
}

impl<Db: RequestDatabase> Clone for Shared<Db> {
    fn clone(&self) -> Self {
        Self {
            db: self.db.clone(),
            place: self.place,
            key_of: self.key_of.clone(),
            map_error: self.map_error.clone(),
        }
    }
}

impl<Db: RequestDatabase> Clone for TransactionLayer<Db> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), settings: self.settings.clone() }
    }
}

impl<Db: RequestDatabase> fmt::Debug for TransactionLayer<Db> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { shared, settings } = self;
        f.debug_struct("TransactionLayer")
            .field("db", &shared.db)
            .field("settings", settings)
            .finish_non_exhaustive()
    }
}

impl<S: Clone, Db: RequestDatabase> Clone for RequestTransaction<S, Db> {
    fn clone(&self) -> Self {
        let Self { service, shared, settings } = self;
        Self { service: service.clone(), shared: Arc::clone(shared), settings: settings.clone() }
    }
}

impl<S: fmt::Debug, Db: RequestDatabase> fmt::Debug for RequestTransaction<S, Db> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestTransaction")
            .field("service", &self.service)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
