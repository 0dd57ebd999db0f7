//! Types of the application's own, whose number drivers ask the server for when a connection first meets them, in the midst of a
//! statement: that statement is seen, and the question isn't taken for a second run that differs.

use diesel::{
    deserialize::FromSqlRow,
    expression::AsExpression,
    pg::{Pg, PgConnection},
    query_builder::QueryId,
    r2d2::ConnectionManager,
    serialize::{IsNull, Output, ToSql},
    sql_types::SqlType,
};
use diesel_async::pooled_connection::deadpool::Pool;
use sqlx::{
    encode::IsNull as SqlxIsNull,
    postgres::{PgArgumentBuffer, PgTypeInfo},
};
use std::{
    error::Error,
    io::Write,
    sync::atomic::{AtomicU32, Ordering::Relaxed},
};
use tokio_postgres::NoTls;
use txsafe::guard::{Code, Policy, Severity};
use txsafe_testkit::{Postgres, Schema};

type AppError = Box<dyn Error + Send + Sync>;

#[derive(SqlType, QueryId, Debug)]
#[diesel(postgres_type(name = "mood"))]
pub struct MoodType;

#[derive(Debug, Clone, Copy, AsExpression, FromSqlRow)]
#[diesel(sql_type = MoodType)]
struct Happy;

impl ToSql<MoodType, Pg> for Happy {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> diesel::serialize::Result {
        out.write_all(b"happy")?;
        Ok(IsNull::No)
    }
}

impl sqlx::Type<sqlx::Postgres> for Happy {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name("mood")
    }
}

impl sqlx::Encode<'_, sqlx::Postgres> for Happy {
    fn encode_by_ref(
        &self,
        buffer: &mut PgArgumentBuffer,
    ) -> Result<SqlxIsNull, sqlx::error::BoxDynError> {
        buffer.extend_from_slice(b"happy");
        Ok(SqlxIsNull::No)
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::MoodType;

    moods (id) {
        id -> Integer,
        mood -> MoodType,
    }
}

async fn schema(name: &str) -> Schema {
    let schema = Postgres::shared().await.unwrap().schema(name).await.unwrap();
    let (client, connection) = tokio_postgres::connect(schema.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let sql = "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE TABLE moods (id serial PRIMARY KEY, mood mood)";
    client.batch_execute(sql).await.unwrap();
    schema
}

/// A second run that differs fails the transaction.
fn rerun() -> Policy {
    let others = Code::ALL.into_iter().filter(|code| *code != Code::RerunDiffers);
    let policy = others.fold(Policy::test(), |policy, code| policy.severity(code, Severity::Off));
    policy.rerun(true)
}

/// The first insert meets a serialization failure.
const FAIL_ONCE: &str = "
    CREATE SEQUENCE inserts;
    CREATE FUNCTION fail_once() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        IF nextval('inserts') = 1 THEN
            RAISE 'could not serialize access' USING ERRCODE = '40001';
        END IF;
        RETURN new;
    END $$;
    CREATE TRIGGER fail_once BEFORE INSERT ON moods FOR EACH ROW EXECUTE FUNCTION fail_once();
";

/// Inserts on new connections: in rerun mode, and then where the first insert fails. Whoever inserts says how often its closure ran.
async fn inserted(name: &str, insert: impl AsyncFn(&str, Policy) -> u32) {
    let schema = schema(name).await;
    assert_eq!(insert(schema.url(), rerun()).await, 2);
    let (client, connection) = tokio_postgres::connect(schema.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(FAIL_ONCE).await.unwrap();
    assert_eq!(insert(schema.url(), Policy::off()).await, 2, "the failure was seen");
    let count = client.query_one("SELECT count(*) FROM moods", &[]).await.unwrap();
    assert_eq!(count.get::<_, i64>(0), 2);
}

#[tokio::test]
async fn on_diesel_async() {
    inserted("moods_diesel_async", async |url, policy| {
        let pool = Pool::builder(txsafe_diesel::manager(url)).max_size(1).build().unwrap();
        let db = txsafe_diesel::Database::builder(pool).guard(policy).build().unwrap();
        let runs = AtomicU32::new(0);
        let inserted = db.transaction("insert", async |mut tx| {
            runs.fetch_add(1, Relaxed);
            let insert = diesel::insert_into(moods::table);
            let insert = insert.values(diesel::ExpressionMethods::eq(moods::mood, Happy));
            diesel_async::RunQueryDsl::execute(insert, &mut tx).await?;
            Ok::<_, AppError>(())
        });
        inserted.await.unwrap();
        runs.into_inner()
    })
    .await;
}

#[tokio::test]
async fn on_diesel() {
    inserted("moods_diesel", async |url, policy| {
        let manager = ConnectionManager::<PgConnection>::new(url);
        let pool = diesel::r2d2::Pool::builder().max_size(1).build(manager).unwrap();
        let db = txsafe_diesel::blocking::Database::builder(pool).guard(policy).build().unwrap();
        let runs = AtomicU32::new(0);
        let inserted = db.transaction("insert", |mut tx| {
            runs.fetch_add(1, Relaxed);
            let insert = diesel::insert_into(moods::table);
            let insert = insert.values(diesel::ExpressionMethods::eq(moods::mood, Happy));
            diesel::RunQueryDsl::execute(insert, &mut *tx)?;
            Ok::<_, AppError>(())
        });
        inserted.unwrap();
        runs.into_inner()
    })
    .await;
}

#[tokio::test]
async fn on_sqlx() {
    inserted("moods_sqlx", async |url, policy| {
        let pool = sqlx::postgres::PgPoolOptions::new().max_connections(1).connect_lazy(url);
        let db = txsafe_sqlx::Database::builder(pool.unwrap()).guard(policy).build().unwrap();
        let runs = AtomicU32::new(0);
        let inserted = db.transaction("insert", async |mut tx| {
            runs.fetch_add(1, Relaxed);
            let insert = sqlx::query("INSERT INTO moods (mood) VALUES ($1)").bind(Happy);
            insert.execute(&mut tx).await?;
            Ok::<_, AppError>(())
        });
        inserted.await.unwrap();
        runs.into_inner()
    })
    .await;
}
