//! Rows that can be locked, read as Diesel reads them.

use diesel::{
    deserialize::FromSqlRow,
    dsl::AsSelect,
    expression::{Expression, QueryMetadata, TypedExpressionType},
    pg::Pg,
    prelude::*,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    result::QueryResult,
    sql_types::{SqlType, Text},
};
use txsafe::{Ranked, driver::LockStatement};

/// A row type that can be locked: it derives `Queryable` and `Selectable`, and it [belongs to a rank](txsafe::ranked).
pub trait Row: Ranked + Selectable<Pg> + Sized + Send + 'static {
    /// Locks rows and reads them.
    #[cfg(feature = "async")]
    #[doc(hidden)]
    fn lock(
        conn: &mut diesel_async::AsyncPgConnection,
        statement: LockStatement,
    ) -> impl Future<Output = QueryResult<Vec<Self>>> + Send;

    /// The blocking twin.
    #[cfg(feature = "blocking")]
    #[doc(hidden)]
    fn lock_blocking(
        conn: &mut diesel::PgConnection,
        statement: LockStatement,
    ) -> QueryResult<Vec<Self>>;
}

impl<T, E, ST> Row for T
where
    T: Ranked + Selectable<Pg, SelectExpression = E> + FromSqlRow<ST, Pg> + Send + 'static,
    E: Expression<SqlType = ST> + QueryFragment<Pg> + QueryId + Send + 'static,
    ST: SqlType + TypedExpressionType + 'static,
    Pg: QueryMetadata<ST>,
{
    #[cfg(feature = "async")]
    async fn lock(
        conn: &mut diesel_async::AsyncPgConnection,
        statement: LockStatement,
    ) -> QueryResult<Vec<Self>> {
        diesel_async::RunQueryDsl::load(LockQuery::<T>::new(statement), conn).await
    }

    #[cfg(feature = "blocking")]
    fn lock_blocking(
        conn: &mut diesel::PgConnection,
        statement: LockStatement,
    ) -> QueryResult<Vec<Self>> {
        diesel::RunQueryDsl::load(LockQuery::<T>::new(statement), conn)
    }
}

/// The statement as a query of Diesel's, which selects what the row type wants.
struct LockQuery<T: Selectable<Pg>> {
    selection: AsSelect<T, Pg>,
    statement: LockStatement,
}

impl<T: Selectable<Pg>> LockQuery<T> {
    fn new(statement: LockStatement) -> Self {
        Self { selection: T::as_select(), statement }
    }
}

impl<T> QueryFragment<Pg> for LockQuery<T>
where
    T: Selectable<Pg>,
    T::SelectExpression: QueryFragment<Pg>,
{
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        out.push_sql("SELECT ");
        self.selection.walk_ast(out.reborrow())?;
        out.push_sql(self.statement.from());
        out.push_bind_param::<Text, _>(self.statement.keys())?;
        out.push_sql(self.statement.rest());
        Ok(())
    }
}

impl<T: Selectable<Pg>> QueryId for LockQuery<T> {
    type QueryId = ();

    // Its text tells it apart, by rank and mode.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<T: Selectable<Pg>> Query for LockQuery<T>
where
    AsSelect<T, Pg>: Expression<SqlType = AsSelect<T, Pg>>,
{
    type SqlType = AsSelect<T, Pg>;
}

#[cfg(feature = "blocking")]
impl<T: Selectable<Pg>> diesel::RunQueryDsl<diesel::PgConnection> for LockQuery<T> {}
