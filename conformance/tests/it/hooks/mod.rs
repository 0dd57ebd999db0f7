//! The application's own hooks on connections of a pool run beside ours, with every driver and in every way to get a
//! connection.

mod over_deadpool_diesel;
mod over_diesel_async;
mod over_r2d2;
mod over_sqlx;

use diesel::{QueryableByName, sql_types::Text};
use std::{
    mem,
    sync::{Arc, Mutex},
};
use tokio_postgres::NoTls;
use txsafe::guard::{Code, Policy};
use txsafe_testkit::{Postgres, Schema};

/// A table in two schemas, whose one row says which it is: the URL leads to `landlord`.
struct House {
    landlord: Schema,
    tenant: Schema,
}

/// Whose table a query reads.
const WHOSE: &str = "SELECT name FROM house";

/// Its answer, for Diesel.
#[derive(QueryableByName)]
struct Whose {
    #[diesel(sql_type = Text)]
    name: String,
}

/// Ends the session that runs it.
const END: &str = "SELECT pg_terminate_backend(pg_backend_pid())";

impl House {
    async fn build() -> Self {
        let server = Postgres::shared().await.unwrap();
        let schema = async |name: &str| {
            let schema = server.schema(name).await.unwrap();
            let (client, connection) = tokio_postgres::connect(schema.url(), NoTls).await.unwrap();
            tokio::spawn(connection);
            let table = format!("CREATE TABLE house AS SELECT '{name}'::text AS name");
            client.batch_execute(&table).await.unwrap();
            schema
        };
        Self { landlord: schema("landlord").await, tenant: schema("tenant").await }
    }

    fn url(&self) -> &str {
        self.landlord.url()
    }

    /// What a hook runs on each new connection.
    fn move_in(&self) -> String {
        format!("SET search_path = {}", self.tenant.name())
    }
}

/// What happened, in order.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    /// How much, since it was taken.
    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    /// Since the last time.
    fn take(&self) -> Vec<String> {
        mem::take(&mut *self.0.lock().unwrap())
    }

    /// A policy that fails nothing, and notes each second connection as `TXS005`.
    fn guard(&self) -> Policy {
        let log = self.clone();
        Policy::production().on_finding(move |found| {
            assert_eq!(found.code, Code::SecondConnection);
            log.note(found.code.as_str());
        })
    }
}
