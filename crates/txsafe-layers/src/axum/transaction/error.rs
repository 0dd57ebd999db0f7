//! Why a request has no transaction, or its transaction wasn't committed.

use crate::{Answer, InvalidIdempotencyKey};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use std::{fmt, sync::Arc};
use txsafe::Error;

/// Answers an error in the application's own way.
pub(super) type MapError = Arc<dyn Fn(RequestTxError) -> Response + Send + Sync>;

/// Why a request has no transaction, or why it was answered with an error although its handler returned a response that commits.
///
/// It is what [`RequestTx`](crate::RequestTx) is rejected with; a handler that takes `Result<RequestTx<_>, RequestTxError>` answers by
/// itself. As a response it is what [`map_error`](crate::TransactionLayer::map_error) makes of it, and otherwise:
///
/// | the kind | the response |
/// |---|---|
/// | `Begin`, `End` | that of [`Answer`](crate::Answer): 503 with `Retry-After` for what passes; 500 that says so, where it is unknown whether it committed |
/// | `AlreadyCommitted` | 409 |
/// | `InvalidKey` | 400 |
/// | any other, a mistake in the program | 500 with the sentence that names the cure, which is logged as well, at level ERROR |
///
/// A name or an option that can't be meant is a `Begin`, and logged in the same way.
pub struct RequestTxError(Box<Inner>);

struct Inner {
    kind: RequestTxErrorKind,
    map: Option<MapError>,
}

/// What happened; of a [`RequestTxError`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RequestTxErrorKind {
    /// There is no layer around the handler.
    #[error(
        "no `TransactionLayer` of `{0}` is around this handler: add `.layer(TransactionLayer::new(db))` behind the routes of the router, \
         and `.marked::<…>()` if `{0}` is a marker"
    )]
    MissingLayer(&'static str),
    /// Two layers of one type are around the handler, and an extractor couldn't tell whose transaction it gets.
    #[error(
        "two `TransactionLayer`s of `{0}` are around this handler: remove one; a second database gets a type of its own by \
         `.marked::<…>()`, and what differs for a route is set by `RouteTransactionLayer`"
    )]
    TwoLayers(&'static str),
    /// The options of a route came too late, because something around it has begun the transaction.
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
    /// The handler had panicked, or had left a task that did, while it held the transaction, which was rolled back.
    #[error(
        "the transaction was rolled back, because what held it panicked; answer a panic with an error, and look for its message in the log"
    )]
    Panicked,
    /// The transaction was asked for behind the response.
    #[error(
        "the transaction of this request has ended with its response: in a task that outlives it, begin one of its own by `db.transaction`"
    )]
    RequestEnded,
    /// The response came while a task or the response's body held the transaction: it isn't committed, and rolled back when it
    /// is dropped there.
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
    /// The transaction couldn't be committed; or it was to be rolled back, and it isn't known whether it was.
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

    /// The error of the transaction, if it couldn't be begun or ended.
    #[must_use]
    pub fn error(&self) -> Option<&Error> {
        match self.kind() {
            RequestTxErrorKind::Begin(error) | RequestTxErrorKind::End(error) => Some(error),
            _ => None,
        }
    }
}

impl RequestTxErrorKind {
    /// Whether the program is wrong, and not the request or the database.
    fn is_mistake(&self) -> bool {
        match self {
            Self::MissingLayer(_)
            | Self::TwoLayers(_)
            | Self::BegunBefore(_)
            | Self::AlreadyTaken
            | Self::Panicked
            | Self::RequestEnded
            | Self::HeldAtResponse => true,
            // Those that have begun are reported by the core; and a key is the client's.
            Self::Begin(error) => {
                error.report().is_none() && Answer::to(error).status().is_server_error()
            }
            Self::InvalidKey(_) | Self::AlreadyCommitted | Self::End(_) => false,
        }
    }
}

impl IntoResponse for RequestTxError {
    fn into_response(mut self) -> Response {
        // Without it, the application's own way may end in ours.
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
