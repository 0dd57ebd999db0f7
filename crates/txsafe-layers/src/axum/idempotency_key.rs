//! The idempotency key of a request.

use axum_core::{
    extract::{FromRequestParts, OptionalFromRequestParts},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, request::Parts};
use std::{fmt, ops::Deref};

/// The header that holds it.
const HEADER: &str = "idempotency-key";

/// The longest key that the database takes, in bytes.
const LONGEST: usize = 512;

/// The key of the header `Idempotency-Key`: the caller's promise that requests with the same key are one request.
///
/// It goes straight into [`Database::idempotency_key`](txsafe::Database::idempotency_key). Give it a
/// [`fingerprint`](txsafe::WithKey::fingerprint) of the request, so that a client that sends another one with the same key gets
/// an error and not the answer to the first: [`Answer`](crate::Answer) makes it 422. Taken as
/// `Option<IdempotencyKey>`, a request may be without. One that is empty, longer than 512 bytes, given twice or not plain
/// ASCII is refused with a sentence that says so, and with 400.
///
/// **The key is the caller's choice.** Where callers don't trust each other, put in front who it is, or one can spend the
/// key of another: `db.idempotency_key(&format!("{user}/{key}"))`.
///
/// # Examples
/// ```
/// # use axum::{Router, extract::{Path, State}, response::{IntoResponse, Response}, routing::post};
/// use txsafe_layers::{Answer, IdempotencyKey};
/// use txsafe_sqlx::{Database, Keyed};
///
/// # enum AppError { Txsafe(txsafe_sqlx::Error), Sqlx(sqlx::Error) }
/// # impl From<sqlx::Error> for AppError { fn from(e: sqlx::Error) -> Self { Self::Sqlx(e) } }
/// # impl From<txsafe_sqlx::Error> for AppError { fn from(e: txsafe_sqlx::Error) -> Self { Self::Txsafe(e) } }
/// # impl IntoResponse for AppError {
/// #     fn into_response(self) -> Response {
/// #         match self {
/// #             Self::Txsafe(error) => Answer::to(&error).into_response(),
/// #             Self::Sqlx(error) => error.to_string().into_response(),
/// #         }
/// #     }
/// # }
/// async fn pay(
///     key: IdempotencyKey,
///     State(db): State<Database>,
///     Path(invoice): Path<i64>,
/// ) -> Result<&'static str, AppError> {
///     // Of a request with a body, the body belongs to it, too.
///     let keyed = db.idempotency_key(&key).fingerprint(invoice.to_be_bytes());
///     let paid = keyed.transaction("pay", async |mut tx| {
///         let sql = "UPDATE invoices SET paid = true WHERE id = $1";
///         sqlx::query(sql).bind(invoice).execute(&mut tx).await?;
///         Ok::<_, AppError>(())
///     });
///     Ok(match paid.await? {
///         Keyed::Ran(()) => "paid",
///         Keyed::AlreadyCommitted => "was paid before",
///     })
/// }
///
/// let app = Router::<Database>::new().route("/invoices/{id}/pay", post(pay));
/// # let _ = app;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// The key in these headers, if they have one.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Option<Self>, InvalidIdempotencyKey> {
        let mut keys = headers.get_all(HEADER).iter();
        let Some(key) = keys.next() else { return Ok(None) };
        if keys.next().is_some() {
            return Err(InvalidIdempotencyKey("is given twice; send one"));
        }
        match key.to_str() {
            Err(_) => Err(InvalidIdempotencyKey("must be visible ASCII, such as a UUID")),
            Ok("") => Err(InvalidIdempotencyKey(
                "is empty; send a new one for each operation, such as a UUID",
            )),
            Ok(key) if key.len() > LONGEST => Err(InvalidIdempotencyKey(
                "is longer than 512 bytes; send a shorter one, such as a UUID",
            )),
            Ok(key) => Ok(Some(Self(key.to_owned()))),
        }
    }
}

impl Deref for IdempotencyKey {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = InvalidIdempotencyKey;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        const MISSING: InvalidIdempotencyKey =
            InvalidIdempotencyKey("is missing; send a new one for each operation, such as a UUID");
        Self::of(&parts.headers)?.ok_or(MISSING)
    }
}

impl<S: Send + Sync> OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = InvalidIdempotencyKey;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Self::of(&parts.headers)
    }
}

/// A request whose idempotency key is missing, or can't be one. Its answer is 400 with this sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the header Idempotency-Key {0}")]
pub struct InvalidIdempotencyKey(&'static str);

impl IntoResponse for InvalidIdempotencyKey {
    fn into_response(self) -> Response {
        (StatusCode::BAD_REQUEST, self.to_string()).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn found(keys: &[&[u8]]) -> Result<Option<String>, String> {
        let mut headers = HeaderMap::new();
        for key in keys {
            headers.append(HEADER, HeaderValue::from_bytes(key).unwrap());
        }
        match IdempotencyKey::of(&headers) {
            Ok(key) => Ok(key.map(|key| key.to_string())),
            Err(invalid) => Err(invalid.to_string()),
        }
    }

    #[test]
    fn a_key_is_taken_as_it_is() {
        assert_eq!(found(&[]), Ok(None));
        assert_eq!(found(&[b"8e03978e-40d5"]), Ok(Some("8e03978e-40d5".into())));
        assert_eq!(found(&[&[b'k'; 512]]), Ok(Some("k".repeat(512))));
    }

    #[test]
    fn what_cannot_be_a_key_is_refused_with_the_reason() {
        for (keys, why) in [
            (&[&b""[..]][..], "is empty"),
            (&[&[b'k'; 513]], "is longer than 512 bytes"),
            (&[b"a", b"b"], "is given twice"),
            (&["ключ".as_bytes()], "must be visible ASCII"),
        ] {
            let told = found(keys).unwrap_err();
            assert!(told.starts_with(&format!("the header Idempotency-Key {why}")), "{told}");
        }
    }
}
