//! A layer for tower's services.

use std::{
    borrow::Cow,
    task::{Context, Poll},
};
use tower_layer::Layer;
use tower_service::Service;
use txsafe::guard::{ExternalIo, external_io_in_layer};

/// A layer around a client that is a tower service: calling it in a transaction is a finding
/// ([`TXS002`](txsafe::guard::Code::ExternalCall)), which says how long the answer took.
///
/// Outside of transactions a call costs a look at a thread-local for each poll of its answer.
///
/// # Examples
/// ```
/// use tower::{Service, ServiceBuilder, service_fn};
/// use txsafe_layers::ExternalLayer;
///
/// let payments = service_fn(async |cents: u32| Ok::<_, std::io::Error>(cents > 0));
/// let mut payments = ServiceBuilder::new().layer(ExternalLayer::new("payments")).service(payments);
/// # futures_util::future::FutureExt::now_or_never(async {
/// assert!(payments.call(30_00).await.unwrap());
/// # }).unwrap();
/// ```
#[derive(Debug, Clone)]
pub struct ExternalLayer {
    name: Cow<'static, str>,
}

impl ExternalLayer {
    /// Findings call the service by this name.
    #[must_use]
    pub fn new(name: impl Into<Cow<'static, str>>) -> Self {
        Self { name: name.into() }
    }
}

impl<S> Layer<S> for ExternalLayer {
    type Service = External<S>;

    fn layer(&self, service: S) -> External<S> {
        External { service, name: self.name.clone() }
    }
}

/// A service of which the guard is told; made by [`ExternalLayer`].
#[derive(Debug, Clone)]
pub struct External<S> {
    service: S,
    name: Cow<'static, str>,
}

impl<S: Service<Request>, Request> Service<Request> for External<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = ExternalIo<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        external_io_in_layer(self.name.clone(), self.service.call(request))
    }
}
