//! `&mut Tx` as SQLx's `Executor`: every statement passes through here, and its end is noted.

use crate::{
    engine::{Conn, Engine},
    observed::Observed,
    tx::{Parts, Tx},
};
use futures_util::{
    Stream,
    future::{BoxFuture, ready},
    stream::{BoxStream, StreamExt, once},
};
use sqlx::{Describe, Either, Error as SqlxError, Execute, Executor, SqlStr, error::BoxDynError};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use txsafe::driver::{Calls, Waiting};

impl<'t, DB, O, Held> Executor<'t> for &'t mut Tx<'_, DB, O, Held>
where
    DB: Engine,
    for<'c> &'c mut Conn<DB>: Executor<'c, Database = DB>,
{
    type Database = DB;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<DB::QueryResult, DB::Row>, SqlxError>>
    where
        't: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let Parts { conn, seen: observed, .. } = self.parts();
        let query = Query::of(query);
        if let Some(error) = observed.refusal(query.sql.as_str()) {
            return Box::pin(once(ready(Err(error))));
        }
        observed.runs(query.sql.clone(), query.binds());
        let inner = conn.fetch_many(query);
        let waiting = Waiting::new(Arc::clone(observed.calls()));
        Box::pin(Watched { inner, observed, waiting })
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<DB::Row>, SqlxError>>
    where
        't: 'e,
        E: 'q + Execute<'q, DB>,
    {
        let Parts { conn, seen: observed, .. } = self.parts();
        let query = Query::of(query);
        if let Some(error) = observed.refusal(query.sql.as_str()) {
            return Box::pin(ready(Err(error)));
        }
        observed.runs(query.sql.clone(), query.binds());
        Box::pin(watch(observed, conn.fetch_optional(query)))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [DB::TypeInfo],
    ) -> BoxFuture<'e, Result<DB::Statement, SqlxError>>
    where
        't: 'e,
    {
        let Parts { conn, seen: observed, .. } = self.parts();
        observed.prepares(sql.clone());
        Box::pin(watch(observed, conn.prepare_with(sql, parameters)))
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<DB>, SqlxError>>
    where
        't: 'e,
    {
        let Parts { conn, seen: observed, .. } = self.parts();
        observed.prepares(sql.clone());
        Box::pin(watch(observed, conn.describe(sql)))
    }
}

/// Notes how a statement ended; if it is dropped before, that is noted by the silence.
async fn watch<DB: Engine, T>(
    observed: &mut Observed<DB>,
    statement: impl Future<Output = Result<T, SqlxError>>,
) -> Result<T, SqlxError> {
    let calls = Arc::clone(observed.calls());
    let answer = calls.waiting(statement).await;
    match &answer {
        Ok(_) => observed.finished(),
        Err(error) => observed.failed(error),
    }
    answer
}

/// The rows of a statement, watched to their end.
struct Watched<'e, DB, S> {
    inner: S,
    observed: &'e mut Observed<DB>,
    waiting: Waiting<Arc<Calls>>,
}

impl<DB, S, T> Stream for Watched<'_, DB, S>
where
    DB: Engine,
    S: Stream<Item = Result<T, SqlxError>> + Unpin,
{
    type Item = Result<T, SqlxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { inner, waiting, .. } = &mut *self;
        let next = std::task::ready!(waiting.poll(|| inner.poll_next_unpin(cx)));
        match &next {
            Some(Ok(_)) => self.observed.row(),
            Some(Err(error)) => self.observed.failed(error),
            None => self.observed.finished(),
        }
        Poll::Ready(next)
    }
}

/// A query whose text has been looked at: SQLx gives that out only with the query itself.
struct Query<DB: Engine> {
    sql: SqlStr,
    statement: Option<DB::Statement>,
    arguments: Option<Result<Option<DB::Arguments>, BoxDynError>>,
    persistent: bool,
}

impl<DB: Engine> Query<DB> {
    fn of<'q>(mut query: impl Execute<'q, DB>) -> Self {
        Self {
            statement: query.statement().cloned(),
            arguments: Some(query.take_arguments()),
            persistent: query.persistent(),
            sql: query.sql(),
        }
    }

    fn binds(&self) -> Option<&DB::Arguments> {
        self.arguments.as_ref()?.as_ref().ok()?.as_ref()
    }
}

impl<DB: Engine> Execute<'_, DB> for Query<DB> {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&DB::Statement> {
        self.statement.as_ref()
    }

    fn take_arguments(&mut self) -> Result<Option<DB::Arguments>, BoxDynError> {
        self.arguments.take().unwrap_or(Ok(None))
    }

    fn persistent(&self) -> bool {
        self.persistent
    }
}
