//! A town of organizations, their orders, users and items, whose locks have one order; and somebody who holds locks, too.

use diesel_async::{AsyncPgConnection, pooled_connection::deadpool::Pool};
use tokio_postgres::{Client, NoTls};
use txsafe::Ranked;
use txsafe_conformance::error::AppError;
use txsafe_testkit::{Postgres, Schema};

txsafe::rank!(pub Organization: table "organizations" key "id" as i64);
txsafe::rank!(pub Order: table "orders" key "id" as i64);
txsafe::rank!(pub User: table "users" key "id" as i64);
txsafe::rank!(pub Item: table "Item list" key "SKU" as String);
txsafe::rank!(pub Import: advisory 42 as String);
txsafe::rank!(pub Tenant: advisory 43 as i64);
txsafe::rank!(pub Number: sequence "incident's number" start 100 as String);

txsafe::lock_order! {
    pub TownOrder: Organization => Order => User => Item => Import => Tenant => Number
}

txsafe::references!(Order => (Organization));
txsafe::ranked!(schema::orders::table => Order);

pub(crate) mod schema {
    diesel::table! {
        organizations (id) {
            id -> BigInt,
            name -> Text,
        }
    }
    diesel::table! {
        orders (id) {
            id -> BigInt,
            organization -> BigInt,
        }
    }
    diesel::table! {
        users (id) {
            id -> BigInt,
            name -> Text,
        }
    }
    diesel::table! {
        #[sql_name = "Item list"]
        items (sku) {
            #[sql_name = "SKU"]
            sku -> Text,
        }
    }
}

/// One row type for all drivers.
macro_rules! row {
    ($row:ident of $table:ident by $key:ident, $rank:ty { $($(#[$meta:meta])* $field:ident: $type:ty),* }) => {
        #[derive(Debug, PartialEq, diesel::Queryable, diesel::Selectable, diesel::Identifiable, sqlx::FromRow)]
        #[diesel(table_name = schema::$table, primary_key($key))]
        pub(crate) struct $row { $($(#[$meta])* pub(crate) $field: $type),* }

        impl Ranked for $row {
            type Rank = $rank;
        }
    };
}

row!(OrgRow of organizations by id, Organization { id: i64, name: String });
row!(OrderRow of orders by id, Order { id: i64, organization: i64 });
row!(UserRow of users by id, User { id: i64, name: String });
row!(ItemRow of items by sku, Item { #[sqlx(rename = "SKU")] sku: String });

/// The id of a tenant's advisory lock, in SQL.
pub(crate) fn tenant_id(tenant: i64) -> String {
    advisory_id(43, &format!("int8send({tenant})"))
}

/// The id of an advisory lock, as PostgreSQL computes it.
pub(crate) fn advisory_id(namespace: i32, key: &str) -> String {
    let hashed = format!("sha256(int4send({namespace}) || {key})");
    format!("('x' || encode(substr({hashed}, 1, 8), 'hex'))::bit(64)::bigint")
}

const TABLES: &str = r#"
    CREATE TABLE organizations (id bigint PRIMARY KEY, name text NOT NULL);
    INSERT INTO organizations VALUES (1, 'mill'), (2, 'forge');
    CREATE TABLE orders (id bigint PRIMARY KEY, organization bigint NOT NULL REFERENCES organizations);
    INSERT INTO orders SELECT id, 1 FROM generate_series(1, 10) id;
    CREATE TABLE users (name text NOT NULL, id bigint PRIMARY KEY);
    INSERT INTO users SELECT 'user ' || id, id FROM generate_series(1, 10) id;
    CREATE TABLE "Item list" ("SKU" text PRIMARY KEY);
    INSERT INTO "Item list" VALUES ('a'), ('Z'), ('é'), ('quo"te'), ('back\slash'), ('a,b}');
"#;

/// The town.
pub(crate) struct Town {
    /// Somebody who holds locks, too, in a session of their own.
    pub(crate) other: Client,
    /// Somebody who looks.
    watcher: Client,
    schema: Schema,
    /// A tenant of this town's: advisory locks are the whole server database's, and other towns have theirs.
    pub(crate) tenant: i64,
}

impl Town {
    pub(crate) async fn found(name: &str) -> Self {
        let schema = Postgres::shared().await.unwrap().schema(name).await.unwrap();
        let town = Self {
            other: connect(schema.url()).await,
            watcher: connect(schema.url()).await,
            schema,
            tenant: fastrand::i64(..i64::MAX / 2),
        };
        town.watcher.batch_execute(TABLES).await.unwrap();
        town.watcher.batch_execute(txsafe::SEQUENCES_SQL).await.unwrap();
        town
    }

    pub(crate) fn url(&self) -> &str {
        self.schema.url()
    }

    pub(crate) fn name(&self) -> &str {
        self.schema.name()
    }

    /// Returns once a transaction of this town waits for a lock.
    pub(crate) async fn until_somebody_waits(&self) {
        let sql = "SELECT FROM pg_stat_activity
                   WHERE wait_event_type = 'Lock' AND application_name LIKE $1 || '%'";
        while self.watcher.query(sql, &[&self.name()]).await.unwrap().is_empty() {}
    }

    /// What SQL answers.
    pub(crate) async fn ask(&self, sql: &str) -> i64 {
        self.watcher.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// A file of this town's.
    pub(crate) fn file(&self) -> String {
        format!("é {}", self.name())
    }

    /// Somebody else holds the tenant's advisory lock, in a transaction.
    pub(crate) async fn hold_tenant(&self) {
        let sql = format!("BEGIN; SELECT pg_advisory_xact_lock({})", tenant_id(self.tenant));
        self.other.batch_execute(&sql).await.unwrap();
    }

    /// The ids of all advisory locks in this town's database.
    pub(crate) async fn advisory_locks(&self) -> Vec<i64> {
        let sql = "SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks JOIN pg_stat_activity USING (pid)
                   WHERE locktype = 'advisory' AND objsubid = 1 AND application_name LIKE $1 || '%' ORDER BY 1";
        self.watcher
            .query(sql, &[&self.name()])
            .await
            .unwrap()
            .iter()
            .map(|row| row.get(0))
            .collect()
    }

    /// Whether nobody has locked the rows of `rows`: a table and a condition.
    pub(crate) async fn is_free(&self, rows: &str) -> bool {
        let sql = format!("SELECT FROM {rows} FOR UPDATE SKIP LOCKED");
        !self.watcher.query(&sql, &[]).await.unwrap().is_empty()
    }

    /// The users that nobody has locked.
    pub(crate) async fn free_users(&self) -> Vec<i64> {
        let sql = "SELECT id FROM users ORDER BY id FOR UPDATE SKIP LOCKED";
        self.watcher.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
    }
}

/// Sends plain SQL.
pub(crate) async fn diesel_sql<O, H>(
    tx: &mut txsafe_diesel::Tx<'_, O, H>,
    sql: &str,
) -> Result<(), AppError> {
    diesel_async::RunQueryDsl::execute(diesel::sql_query(sql), tx).await?;
    Ok(())
}

/// Sends plain SQL.
pub(crate) async fn sqlx_sql<O, H>(
    tx: &mut txsafe_sqlx::Tx<'_, O, H>,
    sql: &str,
) -> Result<(), AppError> {
    sqlx::query(sqlx::AssertSqlSafe(sql)).execute(tx).await?;
    Ok(())
}

/// Gives a user a new name.
pub(crate) async fn diesel_rename(
    tx: &mut txsafe_diesel::Tx<'_>,
    user: i64,
) -> Result<(), AppError> {
    use diesel::{ExpressionMethods, QueryDsl};

    let update = diesel::update(schema::users::table.find(user));
    let update = update.set(schema::users::name.eq("new"));
    diesel_async::RunQueryDsl::execute(update, tx).await?;
    Ok(())
}

/// Gives a user a new name.
pub(crate) async fn sqlx_rename(tx: &mut txsafe_sqlx::Tx<'_>, user: i64) -> Result<(), AppError> {
    let update = sqlx::query("UPDATE users SET name = $1 WHERE id = $2").bind("new").bind(user);
    update.execute(tx).await?;
    Ok(())
}

/// A pool of diesel-async connections.
pub(crate) fn diesel_pool(url: &str) -> Pool<AsyncPgConnection> {
    Pool::builder(txsafe_diesel::manager(url)).max_size(8).build().unwrap()
}

/// A pool of SQLx's connections.
pub(crate) fn sqlx_pool(url: &str) -> sqlx::PgPool {
    sqlx::postgres::PgPoolOptions::new().max_connections(8).connect_lazy(url).unwrap()
}

async fn connect(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// What a closure that is refused says.
pub(crate) fn refusal(result: Result<(), AppError>) -> String {
    match result {
        Err(AppError::Txsafe(error)) if error.is_lock_order() => error.to_string(),
        other => panic!("expected a refusal, got {other:?}"),
    }
}

/// That both places are in the message.
pub(crate) fn assert_names_two_places(message: &str, file: &str) {
    assert_eq!(message.matches(file).count(), 2, "{message}");
}
