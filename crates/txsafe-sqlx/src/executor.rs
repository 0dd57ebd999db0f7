//! `&mut Tx` as SQLx's `Executor`: every statement passes through here, and its end is noted.

use crate::{observed::Observed, tx::Tx};
use futures_util::{
    Stream,
    future::BoxFuture,
    stream::{BoxStream, StreamExt},
};
use sqlx::{
    Describe, Either, Error as SqlxError, Execute, Executor, Postgres, SqlStr,
    error::BoxDynError,
    postgres::{PgArguments, PgQueryResult, PgRow, PgStatement, PgTypeInfo},
};
use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};
use txsafe::driver::{Calls, Waiting};

impl<'t, O, Held> Executor<'t> for &'t mut Tx<'_, O, Held> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, SqlxError>>
    where
        't: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let query = Query::of(query);
        self.observed.runs(query.sql.clone(), query.binds());
        let inner = self.conn.fetch_many(query);
        let waiting = Waiting::new(Arc::clone(self.observed.calls()));
        Box::pin(Watched { inner, observed: self.observed, waiting })
    }

    fn fetch_optional<'e, 'q: 'e, E>(
        self,
        query: E,
    ) -> BoxFuture<'e, Result<Option<PgRow>, SqlxError>>
    where
        't: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let query = Query::of(query);
        self.observed.runs(query.sql.clone(), query.binds());
        Box::pin(watch(self.observed, self.conn.fetch_optional(query)))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, SqlxError>>
    where
        't: 'e,
    {
        self.observed.prepares(sql.clone());
        Box::pin(watch(self.observed, self.conn.prepare_with(sql, parameters)))
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, SqlxError>>
    where
        't: 'e,
    {
        self.observed.prepares(sql.clone());
        Box::pin(watch(self.observed, self.conn.describe(sql)))
    }
}

/// Notes how a statement ended; if it is dropped before, that is noted by the silence.
async fn watch<T>(
    observed: &mut Observed,
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
struct Watched<'e, S> {
    inner: S,
    observed: &'e mut Observed,
    waiting: Waiting<Arc<Calls>>,
}

impl<S, T> Stream for Watched<'_, S>
where
    S: Stream<Item = Result<T, SqlxError>> + Unpin,
{
    type Item = Result<T, SqlxError>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Self { inner, waiting, .. } = &mut *self;
        let next = std::task::ready!(waiting.poll(|| inner.poll_next_unpin(cx)));
        match &next {
            Some(Ok(_)) => {}
            Some(Err(error)) => self.observed.failed(error),
            None => self.observed.finished(),
        }
        Poll::Ready(next)
    }
}

/// A query whose text has been looked at: SQLx gives that out only with the query itself.
struct Query {
    sql: SqlStr,
    statement: Option<PgStatement>,
    arguments: Option<Result<Option<PgArguments>, BoxDynError>>,
    persistent: bool,
}

impl Query {
    fn of<'q>(mut query: impl Execute<'q, Postgres>) -> Self {
        Self {
            statement: query.statement().cloned(),
            arguments: Some(query.take_arguments()),
            persistent: query.persistent(),
            sql: query.sql(),
        }
    }

    fn binds(&self) -> Option<&PgArguments> {
        self.arguments.as_ref()?.as_ref().ok()?.as_ref()
    }
}

impl Execute<'_, Postgres> for Query {
    fn sql(self) -> SqlStr {
        self.sql
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.statement.as_ref()
    }

    fn take_arguments(&mut self) -> Result<Option<PgArguments>, BoxDynError> {
        self.arguments.take().unwrap_or(Ok(None))
    }

    fn persistent(&self) -> bool {
        self.persistent
    }
}
