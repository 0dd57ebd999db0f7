//! Diesel's errors as failures: the one place that knows what Diesel hides.
//!
//! The wire tells more and is asked first. What is here serves connections whose wire nobody sees, and failures that
//! never reached it.

#[cfg(any(feature = "async", feature = "deadpool-diesel"))]
use diesel::ConnectionError;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use txsafe::{
    Failure, SqlState,
    driver::{ErrorFields, messages::code_of},
};

/// The failure behind one of Diesel's errors: what it is, in the words that reports and [`TxOptions`](crate::TxOptions) have,
/// as far as Diesel tells.
///
/// # Examples
/// When attempts are used up the caller gets the error of its closure, which may be Diesel's:
/// ```
/// use diesel::result::{DatabaseErrorKind, Error};
/// use txsafe_diesel::{Cause, Phase, failure_of};
///
/// fn is_worth_another_request(error: &Error) -> bool {
///     Cause::of(&failure_of(error), Phase::Body).is_transient()
/// }
///
/// let message = Box::new("deadlock detected".to_owned());
/// assert!(is_worth_another_request(&Error::DatabaseError(DatabaseErrorKind::Unknown, message)));
/// assert!(!is_worth_another_request(&Error::NotFound));
/// ```
#[must_use]
pub fn failure_of(error: &DieselError) -> Failure {
    match error {
        DieselError::DatabaseError(kind, information) => {
            let fields = ErrorFields {
                detail: information.details().map(str::to_owned),
                hint: information.hint().map(str::to_owned),
                table: information.table_name().map(str::to_owned),
                column: information.column_name().map(str::to_owned),
                constraint: information.constraint_name().map(str::to_owned),
            };
            of_database(kind, information.message()).with_fields(fields)
        }
        DieselError::BrokenTransactionManager => Failure::lost(None, error.to_string()),
        error => Failure::local(error.to_string()),
    }
}

/// The failure behind an error of a request of txsafe's own. There the server's refusal is the one answer that leaves the
/// connection in a known state.
pub(crate) fn lost_unless_refused(error: &DieselError) -> Failure {
    match error {
        DieselError::DatabaseError(..) => failure_of(error),
        error => Failure::lost(None, error.to_string()),
    }
}

/// The failure behind an error in making a connection.
#[cfg(any(feature = "async", feature = "deadpool-diesel"))]
pub(crate) fn of_connecting(error: &ConnectionError) -> Failure {
    match error {
        ConnectionError::CouldntSetupConfiguration(error) => failure_of(error),
        error => of_connecting_words(&error.to_string()),
    }
}

/// The failure behind libpq's words for a connection that couldn't be made. What the server said is at their end, behind
/// its severity, a colon and two spaces.
///
/// A server that answered, but not in words that are known, has its reasons: an unknown role, a wrong password, a missing
/// database. They are the same at the next attempt, and so is a URL that libpq doesn't understand.
pub(crate) fn of_connecting_words(words: &str) -> Failure {
    /// libpq's own, for want of a server; it speaks English in Rust programs, which set no locale.
    const NO_SERVER: [&str; 4] =
        ["connection to server", "could not ", "timeout expired", "SSL SYSCALL"];
    const IN_VAIN: [&str; 2] = ["fe_sendauth", "does not support SSL"];
    let words = words.trim_end();
    let has = |parts: &[&str]| parts.iter().any(|part| words.contains(part));
    match words.rsplit_once(":  ") {
        Some((_severity, said)) => match code_of(said) {
            Some(code) => Failure::lost(Some(code), words),
            None => Failure::local(words),
        },
        None if has(&NO_SERVER) && !has(&IN_VAIN) => Failure::lost(None, words),
        None => Failure::local(words),
    }
}

fn of_database(kind: &DatabaseErrorKind, words: &str) -> Failure {
    let message = words.trim_end();
    let code = match kind {
        DatabaseErrorKind::UniqueViolation => Some(SqlState::UNIQUE_VIOLATION),
        DatabaseErrorKind::ExclusionViolation => Some(SqlState::EXCLUSION_VIOLATION),
        DatabaseErrorKind::ForeignKeyViolation => SqlState::new("23503"),
        DatabaseErrorKind::NotNullViolation => SqlState::new("23502"),
        DatabaseErrorKind::CheckViolation => SqlState::new("23514"),
        DatabaseErrorKind::SerializationFailure => Some(SqlState::SERIALIZATION_FAILURE),
        DatabaseErrorKind::ReadOnlyTransaction => Some(SqlState::READ_ONLY_SQL_TRANSACTION),
        DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand => {
            // libpq hands on the server's last words, if it had any.
            return Failure::lost(code_of(message), message);
        }
        // The server's own messages don't end so: libpq found what came over the connection to be no answer.
        DatabaseErrorKind::Unknown if words.ends_with('\n') && code_of(message).is_none() => {
            return Failure::lost(None, message);
        }
        _ => None,
    };
    match code {
        Some(code) => Failure::refused(code, message),
        None => Failure::of_message(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_for_a_refused_connection_is_found_in_libpqs_words() {
        let code = |words| of_connecting_words(words).sqlstate();
        let at = "connection to server at \"127.0.0.1\", port 5432 failed";
        let full = format!("{at}: FATAL:  sorry, too many clients already\n");
        assert_eq!(code(&full), Some(SqlState::TOO_MANY_CONNECTIONS));
        let pooled = format!("timed out waiting for connection: {full}");
        assert_eq!(code(&pooled), Some(SqlState::TOO_MANY_CONNECTIONS));
        let german = format!("{at}: FATAL:  tut mir leid, schon zu viele Verbindungen\n");
        assert_eq!(code(&german), Some(SqlState::TOO_MANY_CONNECTIONS));
        assert_eq!(code(&format!("{at}: Connection refused")), None);
    }

    #[test]
    fn what_is_refused_for_good_is_not_lost() {
        let at = "connection to server at \"127.0.0.1\", port 5432 failed";
        for (words, is_lost) in [
            (format!("{at}: Connection refused"), true),
            (format!("{at}: FATAL:  the database system is starting up"), true),
            (format!("{at}: FATAL:  role \"nobody\" does not exist\n"), false),
            (format!("{at}: fe_sendauth: no password supplied"), false),
            (format!("{at}: server does not support SSL, but SSL was required"), false),
            ("could not translate host name \"x\" to address: Try again".into(), true),
            ("missing \"=\" after \"http://x\" in connection info string".into(), false),
        ] {
            assert_eq!(of_connecting_words(&words).is_lost(), is_lost, "{words}");
        }
    }
}
