//! Why a request has no transaction, or its transaction wasn't committed.

use crate::{Answer, InvalidIdempotencyKey};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use std::{fmt, sync::Arc};
use txsafe::Error;

/// Makes the application's own response to an error.
pub(super) type MapError = Arc<dyn Fn(RequestTxError) -> Response + Send + Sync>;

/// Why a request has no transaction, or why the layer replaced the response of its handler by an error.
///
/// It is the rejection of [`RequestTx`](crate::RequestTx). A handler that takes `Result<RequestTx<_>, RequestTxError>` gets it and
/// makes the response. Otherwise [`map_error`](crate::TransactionLayer::map_error) makes the response, whose default is:
///
/// | the kind | the response |
/// |---|---|
/// | `Begin`, `End` | that of [`Answer`](crate::Answer): 503 with `Retry-After` for failures that pass; 500 that says *unknown*, where it isn't known whether the transaction committed |
/// | `AlreadyCommitted` | 409 |
/// | `InvalidKey` | 400 |
/// | any other, which is a mistake in the program | 500 with a sentence that names the cure; the same sentence is logged at level ERROR |
///
/// An invalid name or option is a `Begin`, which is logged in the same way.
pub struct RequestTxError(Box<Inner>);

struct Inner {
    kind: RequestTxErrorKind,
    map: Option<MapError>,
}

/// What happened, in a [`RequestTxError`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestTxErrorKind {
    /// There is no layer around the handler.
    #[error(
        "no `TransactionLayer` of `{0}` is around this handler: add `.layer(TransactionLayer::new(db))` behind the routes of the router, \
         and `.marked::<…>()` if `{0}` is a marker"
    )]
    MissingLayer(&'static str),
    /// Two layers of one type are around the handler, so it isn't clear whose transaction an extractor should get.
    #[error(
        "two `TransactionLayer`s of `{0}` are around this handler: remove one; a second database gets a type of its own by \
         `.marked::<…>()`, and what differs for a route is set by `RouteTransactionLayer`"
    )]
    TwoLayers(&'static str),
    /// The options of a route come too late, because a middleware around it has begun the transaction.
    #[error(
        "the transaction of `{0}` had begun before `RouteTransactionLayer` could change it: add that layer around the middleware that \
         takes the transaction, or set the options on `TransactionLayer`"
    )]
    BegunBefore(&'static str),
    /// Another extractor of the same request holds the transaction.
    #[error(
        "the transaction of this request is taken already: take `RequestTx` once in a handler and pass `&mut tx` on, and in a middleware \
         drop it before `next.run(request)`"
    )]
    AlreadyTaken,
    /// Code that held the transaction panicked: the handler, or a task that it had spawned. The transaction was rolled back.
    #[error(
        "the transaction was rolled back, because the code that held it panicked: look for the panic in the log, and have the layer that \
         catches panics answer with an error"
    )]
    Panicked,
    /// An extractor asked for the transaction after the response.
    #[error(
        "the transaction of this request has ended with its response: in a task that outlives it, begin one of its own by `db.transaction`"
    )]
    RequestEnded,
    /// A task or the response's body still held the transaction when the response was there. It isn't committed, and is rolled back
    /// when it is dropped there.
    #[error(
        "the transaction was not committed, because it was still held when the response came, by a spawned task or by the body of the \
         response: drop `RequestTx` before the handler returns, and begin a transaction of its own by `db.transaction` in a task"
    )]
    HeldAtResponse,
    /// The header `Idempotency-Key` can't be a key.
    #[error(transparent)]
    InvalidKey(#[from] InvalidIdempotencyKey),
    /// An earlier request with this idempotency key has committed.
    #[error("a request with this Idempotency-Key was carried out before; nothing was done now")]
    AlreadyCommitted,
    /// The transaction couldn't be begun.
    #[error(transparent)]
    Begin(Error),
    /// The transaction couldn't be committed; or it had to be rolled back, and it isn't known whether it was.
    #[error(transparent)]
    End(Error),
}

impl RequestTxError {
    pub(super) fn new(kind: RequestTxErrorKind, map: Option<&MapError>) -> Self {
        if kind.is_mistake() {
            ::tracing::error!("{kind}");
        }
        Self(Box::new(Inner { kind, map: map.cloned() }))
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &RequestTxErrorKind {
        &self.0.kind
    }

    /// The error of the transaction, for `Begin` and `End`.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        match self.kind() {
            RequestTxErrorKind::Begin(error) | RequestTxErrorKind::End(error) => Some(error),
            _ => None,
        }
    }
}

impl RequestTxErrorKind {
    /// Whether the cause is the program, and neither the request nor the database.
    fn is_mistake(&self) -> bool {
        match self {
            Self::MissingLayer(_)
            | Self::TwoLayers(_)
            | Self::BegunBefore(_)
            | Self::AlreadyTaken
            | Self::Panicked
            | Self::RequestEnded
            | Self::HeldAtResponse => true,
            // The core reports transactions that have begun.
            Self::Begin(error) => {
                error.report().is_none() && Answer::to(error).status().is_server_error()
            }
            Self::InvalidKey(_) | Self::AlreadyCommitted | Self::End(_) => false,
        }
    }
}

impl IntoResponse for RequestTxError {
    fn into_response(mut self) -> Response {
        // Taken out, because `map` may call this function for the default.
        if let Some(map) = self.0.map.take() {
            return map(self);
        }
        match self.0.kind {
            RequestTxErrorKind::Begin(error) | RequestTxErrorKind::End(error) => {
                Answer::to(&error).into_response()
            }
            RequestTxErrorKind::InvalidKey(invalid) => invalid.into_response(),
            kind => {
                let committed_before = matches!(kind, RequestTxErrorKind::AlreadyCommitted);
                let status = if committed_before {
                    StatusCode::CONFLICT
                } else {
                    StatusCode::INTERNAL_SERVER_ERROR
                };
                (status, kind.to_string()).into_response()
            }
        }
    }
}

impl fmt::Display for RequestTxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind().fmt(f)
    }
}

impl fmt::Debug for RequestTxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RequestTxError").field(self.kind()).finish()
    }
}

impl std::error::Error for RequestTxError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.kind().source()
    }
}
