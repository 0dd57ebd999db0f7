//! What a caller is answered whose transaction failed.

use axum_core::response::{IntoResponse, Response};
use http::{StatusCode, header::RETRY_AFTER};
use txsafe::{Cause, Error, ErrorKind, Failure, Outcome, Phase, SqlState};

/// The answer to a request whose transaction failed: a status, and a sentence without anything from inside.
///
/// | the transaction | status | |
/// |---|---|---|
/// | failed by something that passes: deadlocks, a lock that isn't free, no connection, an empty budget | 503 | with `Retry-After` |
/// | met its deadline | 504 | |
/// | found no row with the key that it was to lock | 404 | |
/// | broke a constraint that says that two things contradict each other | 409 | |
/// | was given an idempotency key that can't be one | 400 | |
/// | was given the idempotency key of another request | 422 | |
/// | was given the idempotency key of a request that is still running | 409 | with `Retry-After` |
/// | may have committed, or may not | 500 | says that it isn't known |
/// | failed otherwise | 500 | |
///
/// The answers about keys are those of the draft of the IETF, "The Idempotency-Key HTTP Header Field".
///
/// A closure's error comes back as it is, when attempts are used up too: [`to_failure`](Self::to_failure) answers to what the driver
/// says, if your type has kept it. Where closures return the adapter's `DriverError`, the driver's error may be one that was made
/// of txsafe's: ask `error_behind` first, as below. [`to_failure`](Self::to_failure) would say of an unknown outcome that nothing was
/// changed.
///
/// # Examples
/// Into the answers of an application's own error:
/// ```
/// use axum::{http::StatusCode, response::{IntoResponse, Response}};
/// use txsafe_layers::Answer;
/// use txsafe_sqlx::{error_behind, failure_of};
///
/// enum AppError {
///     SoldOut,
///     Sqlx(sqlx::Error),
///     Txsafe(txsafe_sqlx::Error),
/// }
///
/// impl IntoResponse for AppError {
///     fn into_response(self) -> Response {
///         match self {
///             Self::SoldOut => (StatusCode::CONFLICT, "sold out").into_response(),
///             Self::Sqlx(error) => {
///                 eprintln!("{error}"); // the details are for the log
///                 let answer = match error_behind(&error) {
///                     Some(error) => Answer::to(error), // it knows whether the transaction may have committed
///                     None => Answer::to_failure(&failure_of(&error)),
///                 };
///                 answer.into_response()
///             }
///             Self::Txsafe(error) => {
///                 eprintln!("{error}");
///                 Answer::to(&error).into_response()
///             }
///         }
///     }
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    status: StatusCode,
    says: &'static str,
    retry_after: bool,
}

impl Answer {
    /// The answer to this error.
    #[must_use]
    pub fn to(error: &Error) -> Self {
        match error.failure() {
            Some(failure) if *error.kind() == ErrorKind::Failed => Self::to_failure(failure),
            _ => Self::when(error.kind(), error.outcome()),
        }
    }

    /// The answer to the failure of a statement, after which its transaction was rolled back: what an adapter's `failure_of`
    /// makes of an error of the driver's own.
    #[must_use]
    pub fn to_failure(failure: &Failure) -> Self {
        if Cause::of(failure, Phase::Body).is_transient() {
            return Self::BUSY;
        }
        if failure.sqlstate().is_some_and(is_conflict) {
            return Self {
                status: StatusCode::CONFLICT,
                says: "Nothing was changed. It contradicts something that is stored already.",
                retry_after: false,
            };
        }
        Self::when(&ErrorKind::Failed, Outcome::RolledBack)
    }

    const BUSY: Self = Self {
        status: StatusCode::SERVICE_UNAVAILABLE,
        says: "Nothing was changed. The service is busy; try again in a moment.",
        retry_after: true,
    };

    fn when(kind: &ErrorKind, outcome: Outcome) -> Self {
        let (status, says) = match kind {
            ErrorKind::GaveUp(_) => return Self::BUSY,
            ErrorKind::DeadlineExceeded => {
                (StatusCode::GATEWAY_TIMEOUT, "Nothing was changed. It took too long.")
            }
            ErrorKind::RowNotFound { .. } => (StatusCode::NOT_FOUND, "It doesn't exist."),
            ErrorKind::InvalidSetting(invalid) if invalid.setting() == "idempotency_key" => (
                StatusCode::BAD_REQUEST,
                "The idempotency key can't be one; send a shorter one, such as a UUID.",
            ),
            ErrorKind::IdempotencyKeyReused { .. } => (
                StatusCode::UNPROCESSABLE_ENTITY,
                "Nothing was changed. The idempotency key was used for another request; send a new one for each operation.",
            ),
            ErrorKind::IdempotencyKeyInProgress { .. } => (
                StatusCode::CONFLICT,
                "Nothing was changed. A request with this idempotency key is still running; send it again in a moment.",
            ),
            _ if outcome == Outcome::Unknown => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "It is unknown whether the change was made. Look before you try again.",
            ),
            _ => (
                StatusCode::INTERNAL_SERVER_ERROR,
                "Nothing was changed, because of an error of the service.",
            ),
        };
        let retry_after = matches!(kind, ErrorKind::IdempotencyKeyInProgress { .. });
        Self { status, says, retry_after }
    }

    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }
}

impl From<Error> for Answer {
    fn from(error: Error) -> Self {
        Self::to(&error)
    }
}

/// Whether it is a constraint that says that two things contradict each other.
///
/// Source: PostgreSQL manual, appendix A: foreign key, unique and exclusion violations.
fn is_conflict(code: SqlState) -> bool {
    matches!(code.as_str(), "23503" | "23505" | "23P01")
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        if self.retry_after {
            (self.status, [(RETRY_AFTER, RETRY_AFTER_SECONDS)], self.says).into_response()
        } else {
            (self.status, self.says).into_response()
        }
    }
}

/// A deadlock, a restart of a pooler or a full pool has passed by then; callers that count longer still are welcome to.
const RETRY_AFTER_SECONDS: &str = "1";

#[cfg(test)]
mod tests {
    use super::*;
    use txsafe::GiveUp;

    fn answer(kind: ErrorKind, outcome: Outcome) -> (u16, Response) {
        let answer = Answer::when(&kind, outcome);
        (answer.status().as_u16(), answer.into_response())
    }

    #[test]
    fn what_passes_may_be_tried_again() {
        let (status, response) =
            answer(ErrorKind::GaveUp(GiveUp::Attempts(3)), Outcome::RolledBack);
        assert_eq!(status, 503);
        assert_eq!(response.headers()[RETRY_AFTER], "1");
        let (status, response) = answer(ErrorKind::DeadlineExceeded, Outcome::RolledBack);
        assert_eq!(status, 504);
        assert!(!response.headers().contains_key(RETRY_AFTER));
    }

    #[test]
    fn a_key_that_is_taken_is_told_as_the_draft_of_its_header_says() {
        let key = || "k".to_owned();
        let reused = ErrorKind::IdempotencyKeyReused { key: key() };
        let (status, response) = answer(reused, Outcome::RolledBack);
        assert_eq!((status, response.headers().contains_key(RETRY_AFTER)), (422, false));
        let running = ErrorKind::IdempotencyKeyInProgress { key: key() };
        let (status, response) = answer(running, Outcome::RolledBack);
        assert_eq!((status, &response.headers()[RETRY_AFTER]), (409, &"1".parse().unwrap()));
    }

    #[test]
    fn what_is_unknown_is_called_so() {
        for kind in [ErrorKind::CommitUnknown { xid: Some(7) }, ErrorKind::EndedByClosure] {
            let answer = Answer::when(&kind, Outcome::Unknown);
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert!(answer.says.contains("unknown"), "{}", answer.says);
        }
    }

    #[test]
    fn a_constraint_is_the_callers_and_all_else_is_ours() {
        let of = |code| Answer::to_failure(&Failure::refused(SqlState::new(code).unwrap(), ""));
        assert_eq!(of("23505").status(), StatusCode::CONFLICT);
        assert_eq!(of("23514").status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(of("42P01").status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(of("40P01").status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(of("55P03").status(), StatusCode::SERVICE_UNAVAILABLE);
        let key = "k".to_owned();
        let missing = ErrorKind::RowNotFound { rank: "Order", key };
        assert_eq!(answer(missing, Outcome::RolledBack).0, 404);
    }
}
