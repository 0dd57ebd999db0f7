//! The server's words: ErrorResponse and CommandComplete.

use std::{sync::Arc, time::Duration};
use txsafe::{Failure, SqlState, driver::ErrorFields};

/// An ErrorResponse. Source: PostgreSQL manual, section 54.8, "Error and Notice Message Fields".
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerError {
    pub(crate) is_fatal: bool,
    pub(crate) sqlstate: SqlState,
    pub(crate) message: String,
    fields: ErrorFields,
    /// The C function that raised it: the one thing that tells a stale plan from other uses of `0A000`, and isn't
    /// translated.
    routine: Option<String>,
    /// From the request to this answer, where the link knows it.
    pub(crate) took: Option<Duration>,
    /// What it is about, where the link knows it.
    pub(crate) statement: Option<Arc<str>>,
}

impl ServerError {
    /// Reads the body of an ErrorResponse; `None` if it has no SQLSTATE, which no server omits.
    pub(crate) fn parse(body: &[u8]) -> Option<Self> {
        let mut severity = None;
        let (mut sqlstate, mut message, mut routine) = (None, None, None);
        let mut fields = ErrorFields::default();
        for field in body.split(|byte| *byte == 0).filter(|field| !field.is_empty()) {
            let text = || String::from_utf8_lossy(&field[1..]).into_owned();
            match field[0] {
                // `V`, unlike `S`, is never translated.
                b'V' => severity = Some(text()),
                b'C' => sqlstate = SqlState::new(&text()),
                b'M' => message = Some(text()),
                b'D' => fields.detail = Some(text()),
                b'H' => fields.hint = Some(text()),
                b't' => fields.table = Some(text()),
                b'c' => fields.column = Some(text()),
                b'n' => fields.constraint = Some(text()),
                b'R' => routine = Some(text()),
                _ => {}
            }
        }
        Some(Self {
            is_fatal: severity.is_some_and(|severity| severity != "ERROR"),
            sqlstate: sqlstate?,
            message: message.unwrap_or_default(),
            fields,
            routine,
            took: None,
            statement: None,
        })
    }

    pub(crate) fn into_failure(self) -> Failure {
        let Self { is_fatal, sqlstate, message, fields, routine, took, statement } = self;
        Failure::of_response(sqlstate, is_fatal, routine.as_deref(), message)
            .with_fields(fields)
            .with_took(took)
            .with_statement(statement.map(|sql| sql.to_string()))
    }
}

/// The commands whose completion tells something of the transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tag {
    Begin,
    Commit,
    /// Also that of ROLLBACK TO SAVEPOINT.
    Rollback,
    Savepoint,
    Release,
    Other,
}

impl Tag {
    /// Reads the body of a CommandComplete.
    pub(crate) fn parse(body: &[u8]) -> Self {
        match body.strip_suffix(b"\0").unwrap_or(body) {
            b"BEGIN" | b"START TRANSACTION" => Self::Begin,
            b"COMMIT" | b"PREPARE TRANSACTION" => Self::Commit,
            b"ROLLBACK" => Self::Rollback,
            b"SAVEPOINT" => Self::Savepoint,
            b"RELEASE" => Self::Release,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use txsafe::{Cause, Phase};

    fn cause(fields: &[u8]) -> Cause {
        Cause::of(&ServerError::parse(fields).unwrap().into_failure(), Phase::Body)
    }

    #[test]
    fn the_code_decides_in_any_language() {
        let german = "SFEHLER\0VERROR\0C40P01\0MVerklemmung (Deadlock) entdeckt\0DProzess 1 …\0\0";
        let error = ServerError::parse(german.as_bytes()).unwrap();
        assert!(!error.is_fatal && error.fields.detail.is_some());
        assert_eq!(error.sqlstate, SqlState::DEADLOCK_DETECTED);
        assert_eq!(cause(b"SFATAL\0VFATAL\0C57P01\0Mgone\0\0"), Cause::ConnectionLost);
        assert_eq!(ServerError::parse(b"Mno code\0\0"), None);
    }

    #[test]
    fn a_stale_plan_is_told_by_its_routine() {
        assert_eq!(cause(b"VERROR\0C0A000\0Mx\0RRevalidateCachedQuery\0\0"), Cause::StalePlan);
        assert_eq!(cause(b"VERROR\0C0A000\0Mx\0RSomethingElse\0\0"), Cause::Other);
    }
}
