//! COMMIT on diesel-async, whether the wire is observed or not.

use crate::{
    commit::commit_unseen_sql,
    depth::change_depth,
    failure::lost_unless_refused,
    wire::{link::Link, said::Tag},
};
use diesel::{connection::TransactionDepthChange, result::Error as DieselError};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection};
use std::{sync::Arc, time::Duration};
use txsafe::{Failure, SqlState};

/// COMMIT, wherever it runs.
pub(crate) struct Commit {
    pub(crate) link: Arc<Link>,
    /// What its message says first.
    pub(crate) before: Arc<str>,
}

impl Commit {
    /// Waits for the answer, at most for `patience`. Then the connection is closed, and nothing is cancelled: a server that
    /// works on COMMIT doesn't look at its client, and one that never got it rolls back.
    pub(crate) async fn within(
        &self,
        patience: Duration,
        conn: &mut AsyncPgConnection,
    ) -> Result<(), Failure> {
        let answered = self.link.alarm.within(patience, self.run(conn)).await;
        answered.unwrap_or_else(|_elapsed| {
            self.link.hang_up();
            Err(Failure::no_answer("COMMIT", patience))
        })
    }

    async fn run(&self, conn: &mut AsyncPgConnection) -> Result<(), Failure> {
        self.link.ending();
        let answer = if self.link.is_on_wire() {
            let sep = if self.before.is_empty() { "" } else { "; " };
            commit_as(conn, &format!("{}{sep}COMMIT", self.before)).await
        } else {
            commit_as(conn, &commit_unseen_sql(&self.before)).await
        };
        match (self.link.end(), answer) {
            // The server said it, whatever became of the connection after.
            (Some(Tag::Commit), _) => Ok(()),
            // COMMIT of an aborted transaction: the server answers ROLLBACK, and Diesel takes it for success.
            (Some(Tag::Rollback), Ok(())) => Err(self.link.failure().unwrap_or_else(|| {
                let code = SqlState::IN_FAILED_SQL_TRANSACTION;
                Failure::refused(code, "COMMIT of an aborted transaction rolled it back")
            })),
            (_, Ok(())) => Ok(()),
            (_, Err(error)) => {
                let failure = self.link.failure().unwrap_or_else(|| lost_unless_refused(&error));
                Err(failure.with_statement(Some("COMMIT".into())))
            }
        }
    }
}

/// COMMIT in a message of ours. Diesel's depth follows where it succeeds; else the connection is closed.
async fn commit_as(conn: &mut AsyncPgConnection, sql: &str) -> Result<(), DieselError> {
    conn.batch_execute(sql).await?;
    let _ = change_depth(conn, TransactionDepthChange::DecreaseDepth);
    Ok(())
}
