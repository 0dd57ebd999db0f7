//! A middleware for reqwest's clients.

use async_trait::async_trait;
use http::Extensions;
use reqwest_middleware::{
    Middleware, Next, Result,
    reqwest::{Request, Response},
};
use txsafe::guard::{external_io_in_layer, in_transaction};

/// A middleware for [`reqwest_middleware::ClientBuilder`]: a request in a transaction is a finding
/// ([`TXS002`](txsafe::guard::Code::ExternalCall)), which says how long its answer took.
///
/// It names method, scheme, host and port, and neither path nor query: they may hold secrets.
///
/// Of a request that other middlewares repeat, it tells once if it is added before them, and each time if behind them.
///
/// # Examples
/// ```
/// use reqwest_middleware::{ClientBuilder, reqwest::Client};
/// use txsafe_layers::ExternalMiddleware;
///
/// let client = ClientBuilder::new(Client::new()).with(ExternalMiddleware::new()).build();
/// # let _ = client;
/// ```
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct ExternalMiddleware;

impl ExternalMiddleware {
    /// There is nothing to choose.
    #[must_use]
    pub fn new() -> Self {
        Self
    }
}

#[async_trait]
impl Middleware for ExternalMiddleware {
    async fn handle(
        &self,
        request: Request,
        extensions: &mut Extensions,
        next: Next<'_>,
    ) -> Result<Response> {
        if !in_transaction() {
            return next.run(request, extensions).await;
        }
        let origin = request.url().origin().ascii_serialization();
        let name = format!("{} {origin}", request.method());
        external_io_in_layer(name, next.run(request, extensions)).await
    }
}
