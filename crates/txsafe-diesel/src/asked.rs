//! Questions of our own, as queries of Diesel's: prepared once, and one round trip then, unless they are rare.

use diesel::{
    pg::Pg,
    query_builder::{AstPass, Query, QueryFragment, QueryId},
    result::QueryResult,
    sql_types::{Array, Nullable, Text},
};
use txsafe::driver::Question;

/// A question with its bind values, which answers one text or none.
pub(crate) struct Asked<'a>(pub(crate) Question<'a>);

/// A question whose answers are rows of one `text[]` each.
pub(crate) struct AskedForRows<'a>(pub(crate) Asked<'a>);

impl Asked<'_> {
    #[cfg(feature = "async")]
    pub(crate) async fn ask(
        self,
        conn: &mut diesel_async::AsyncPgConnection,
    ) -> QueryResult<Option<String>> {
        let answers: Vec<Option<String>> = diesel_async::RunQueryDsl::load(self, conn).await?;
        Ok(answers.into_iter().next().flatten())
    }

    /// The blocking twin.
    #[cfg(feature = "blocking")]
    pub(crate) fn ask_blocking(
        self,
        conn: &mut diesel::PgConnection,
    ) -> QueryResult<Option<String>> {
        let answers: Vec<Option<String>> = diesel::RunQueryDsl::load(self, conn)?;
        Ok(answers.into_iter().next().flatten())
    }
}

impl AskedForRows<'_> {
    #[cfg(feature = "async")]
    pub(crate) async fn ask(
        self,
        conn: &mut diesel_async::AsyncPgConnection,
    ) -> QueryResult<Vec<Vec<String>>> {
        diesel_async::RunQueryDsl::load(self, conn).await
    }

    /// The blocking twin.
    #[cfg(feature = "blocking")]
    pub(crate) fn ask_blocking(
        self,
        conn: &mut diesel::PgConnection,
    ) -> QueryResult<Vec<Vec<String>>> {
        diesel::RunQueryDsl::load(self, conn)
    }
}

impl QueryFragment<Pg> for Asked<'_> {
    fn walk_ast<'b>(&'b self, mut out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        if self.0.is_rare {
            out.unsafe_to_cache_prepared();
        }
        let mut parts = self.0.parts();
        out.push_sql(parts.next().map_or("", |(sql, _)| sql));
        for (sql, bind) in parts {
            if let Some(bind) = bind {
                out.push_bind_param::<Text, _>(bind)?;
            }
            out.push_sql(sql);
        }
        Ok(())
    }
}

impl QueryId for Asked<'_> {
    type QueryId = ();

    // Its text tells it apart.
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for Asked<'_> {
    type SqlType = Nullable<Text>;
}

#[cfg(feature = "blocking")]
impl diesel::RunQueryDsl<diesel::PgConnection> for Asked<'_> {}

impl QueryFragment<Pg> for AskedForRows<'_> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }
}

impl QueryId for AskedForRows<'_> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for AskedForRows<'_> {
    type SqlType = Array<Text>;
}

#[cfg(feature = "blocking")]
impl diesel::RunQueryDsl<diesel::PgConnection> for AskedForRows<'_> {}
