//! What differs for the transactions of one route.

use super::{
    error::RequestTxError,
    request_tx::RequestDatabase,
    settings::{Settings, setters},
    slot::Slot,
};
use axum_core::response::{IntoResponse, Response};
use http::Request;
use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    pin::Pin,
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service;

/// Changes the transaction of one route, inside a [`TransactionLayer`](crate::TransactionLayer): its options, its name, or which
/// responses commit. Of two such layers the inner one wins.
///
/// A transaction that has begun before, in a middleware further outside, can't be changed any more: the response is 500 with
/// [`BegunBefore`](crate::RequestTxErrorKind::BegunBefore).
///
/// # Examples
/// ```
/// use axum::{Router, routing::get};
/// use txsafe_layers::{RequestTx, RouteTransactionLayer, TransactionLayer};
/// use txsafe_sqlx::{Database, TxOptions};
///
/// async fn report(tx: RequestTx<Database>) {}
///
/// # fn app(db: Database) -> Router {
/// let reads = RouteTransactionLayer::<Database>::new().options(TxOptions::new().read_only(true));
/// Router::new()
///     .route("/report", get(report).layer(reads))
///     .layer(TransactionLayer::new(db))
/// # }
/// ```
pub struct RouteTransactionLayer<Db: RequestDatabase> {
    settings: Settings,
    database: PhantomData<fn() -> Db>,
}

impl<Db: RequestDatabase> RouteTransactionLayer<Db> {
    /// Changes nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self { settings: Settings::default(), database: PhantomData }
    }

    setters!();
}

impl<Db: RequestDatabase> Default for RouteTransactionLayer<Db> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S, Db: RequestDatabase> Layer<S> for RouteTransactionLayer<Db> {
    type Service = RouteTransaction<S, Db>;

    fn layer(&self, service: S) -> RouteTransaction<S, Db> {
        RouteTransaction { service, layer: self.clone() }
    }
}

/// A service of a route whose transaction differs; made by [`RouteTransactionLayer`].
pub struct RouteTransaction<S, Db: RequestDatabase> {
    service: S,
    layer: RouteTransactionLayer<Db>,
}

impl<Db: RequestDatabase> RouteTransactionLayer<Db> {
    fn change<B>(&self, request: &Request<B>) -> Result<(), RequestTxError> {
        Slot::<Db>::of(request.extensions())?.change(&self.settings)
    }
}

impl<S, B, Db> Service<Request<B>> for RouteTransaction<S, Db>
where
    S: Service<Request<B>, Response: IntoResponse, Error: Send, Future: Send + 'static>,
    Db: RequestDatabase,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        if let Err(error) = self.layer.change(&request) {
            let response = error.into_response();
            return Box::pin(async move { Ok(response) });
        }
        let response = self.service.call(request);
        Box::pin(async move { Ok(response.await?.into_response()) })
    }
}

impl<Db: RequestDatabase> Clone for RouteTransactionLayer<Db> {
    fn clone(&self) -> Self {
        Self { settings: self.settings.clone(), database: PhantomData }
    }
}

impl<Db: RequestDatabase> fmt::Debug for RouteTransactionLayer<Db> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RouteTransactionLayer").field(&self.settings).finish()
    }
}

impl<S: Clone, Db: RequestDatabase> Clone for RouteTransaction<S, Db> {
    fn clone(&self) -> Self {
        Self { service: self.service.clone(), layer: self.layer.clone() }
    }
}

impl<S: fmt::Debug, Db: RequestDatabase> fmt::Debug for RouteTransaction<S, Db> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, layer } = self;
        f.debug_struct("RouteTransaction").field("service", service).field("layer", layer).finish()
    }
}
