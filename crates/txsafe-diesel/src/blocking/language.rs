//! Whether the server speaks a language whose messages are known.
//!
//! Diesel hides the SQLSTATE, and libpq's wire can't be watched: what a failure asks for is told by its message. In an
//! unknown language a deadlock would look like any other error, and silently not be retried.

use super::session::Answer;
use crate::failure::failure_of;
use diesel::{PgConnection, RunQueryDsl};
use std::sync::atomic::{AtomicBool, Ordering};
use txsafe::{Failure, driver::messages};

/// Whether the server of one database was found to be understood.
#[derive(Debug, Default)]
pub struct Language {
    is_known: AtomicBool,
}

impl Language {
    /// Asks on the first connection only; later ones are of the same server and role.
    pub(crate) fn check(&self, conn: &mut PgConnection) -> Result<(), Failure> {
        if self.is_known.load(Ordering::Relaxed) {
            return Ok(());
        }
        let question = diesel::sql_query("SELECT current_setting('lc_messages') AS answer");
        let answer = question.get_result::<Answer>(conn).map_err(|error| failure_of(&error))?;
        let found = answer.answer.unwrap_or_default();
        if !messages::is_known(&found) {
            return Err(unknown(&found));
        }
        self.is_known.store(true, Ordering::Relaxed);
        Ok(())
    }
}

fn unknown(found: &str) -> Failure {
    Failure::local(format!(
        "the server's messages are in a language that isn't known here (lc_messages is {found:?}), and Diesel's blocking \
         connections tell no SQLSTATE: deadlocks and lock timeouts wouldn't be recognised; say `ALTER ROLE … SET \
         lc_messages = 'C'`, or take one of {}; or use diesel-async, whose wire is read",
        messages::known(),
    ))
}
