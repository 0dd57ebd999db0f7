//! What to do about failures that are none of a statement's own making.

use super::settings::Settings;
use crate::{
    dialect::{condition::Condition, failure::Failure},
    retry::remedy::Phase,
};

/// Adds the cure, where one is known.
pub(crate) fn with_cure(failure: Failure, phase: Phase, settings: &Settings) -> Failure {
    match failure.condition() {
        // A driver that hides the code still tells the parameter's name.
        Condition::UndefinedObject | Condition::Other
            if phase == Phase::Begin
                && settings.transaction_timeout.is_some()
                && failure.message().contains("transaction_timeout") =>
        {
            failure.with_cure("transaction_timeout needs PostgreSQL 17 or later")
        }
        _ => failure,
    }
}
