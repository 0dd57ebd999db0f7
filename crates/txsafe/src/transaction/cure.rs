//! What to do about failures that are none of a statement's own making.

use super::{course::Course, settings::Settings};
use crate::{
    dialect::{condition::Condition, failure::Failure, limits::Limit},
    retry::remedy::{Cause, Phase},
};

/// Where a limit of the session's own is changed.
macro_rules! where_it_was_set {
    () => {
        "change the limit where it was set: for the role or the database (ALTER ROLE, ALTER DATABASE), in the server's \
         configuration, in the URL, or by a hook of the pool"
    };
}
pub(super) use where_it_was_set;

/// Adds the cure, where one is known. For a limit that struck, it also says whose limit it was and where to change it.
pub(crate) fn with_cure(
    failure: Failure,
    cause: Cause,
    phase: Phase,
    settings: &Settings,
    course: &Course,
) -> Failure {
    match failure.condition() {
        // A driver that hides the code still tells the parameter's name.
        Condition::UndefinedObject | Condition::Other
            if phase == Phase::Begin
                && settings.transaction_timeout.is_some()
                && failure.message().contains("transaction_timeout") =>
        {
            failure.with_cure("transaction_timeout needs PostgreSQL 17 or later")
        }
        Condition::InFailedTransaction if cause == Cause::FailedUnseen => failure
            .with_message("the transaction is aborted by a statement that txsafe didn't see".into())
            .with_cure(
                "run it on `&mut tx`, or report its error by `tx.saw(&error)`: then its code decides whether the transaction runs \
                 again",
            ),
        Condition::StatementTimeout => struck(failure, course.limits().statement),
        _ => failure,
    }
}

/// Whose `statement_timeout` it was: by the time that the statement took, if that was seen.
fn struck(failure: Failure, limit: Limit) -> Failure {
    let is_shorter = |limit| failure.took().is_some_and(|took| took < limit);
    let (whose, cure) = match limit {
        Limit::Ours(limit) | Limit::Sessions(limit) if is_shorter(limit) => {
            (INSIDE.into(), INSIDE_CURE)
        }
        Limit::Ours(limit) => (
            format!("txsafe's `statement_timeout` is {limit:?}"),
            "do less in one statement, or raise `statement_timeout` for this call or on the builder; of several that were set \
             the shortest holds, the caller's deadline included",
        ),
        Limit::Sessions(limit) => (
            format!(
                "the session's own `statement_timeout` is {limit:?}, which txsafe doesn't raise"
            ),
            concat!("do less in one statement, or ", where_it_was_set!()),
        ),
        Limit::Never => (INSIDE.into(), INSIDE_CURE),
        Limit::Unknown => (
            "its `statement_timeout` was left to the server".into(),
            "do less in one statement, or change the limit where it was set: for the role, the database or the server",
        ),
    };
    let message = format!("{}: {whose}", failure.message());
    failure.with_message(message).with_cure(cure)
}

/// A limit that the transaction's own statements have set.
const INSIDE: &str = "a `statement_timeout` that was set inside the transaction";

const INSIDE_CURE: &str =
    "do less in one statement, or change that SET; a SET of a function counts, too";

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_limit_that_struck_says_whose_it_was_and_where_to_change_it() {
        let ms = Duration::from_millis;
        let said = |limit, took| {
            let failure = Failure::of_message("canceling statement due to statement timeout");
            struck(failure.with_took(took), limit).to_string()
        };
        for (limit, took, parts) in [
            (
                Limit::Ours(ms(50)),
                Some(ms(51)),
                ["txsafe's `statement_timeout` is 50ms", "on the builder"],
            ),
            (
                Limit::Sessions(ms(50)),
                Some(ms(51)),
                ["the session's own `statement_timeout` is 50ms", "ALTER ROLE"],
            ),
            (
                Limit::Sessions(ms(50)),
                None,
                ["the session's own `statement_timeout` is 50ms", "ALTER ROLE"],
            ),
            (Limit::Ours(ms(50)), Some(ms(9)), ["inside the transaction", "change that SET"]),
            (Limit::Never, Some(ms(9)), ["inside the transaction", "change that SET"]),
            (Limit::Unknown, None, ["left to the server", "for the role"]),
        ] {
            let text = said(limit, took);
            assert!(parts.iter().all(|part| text.contains(part)), "{text}");
        }
    }
}
