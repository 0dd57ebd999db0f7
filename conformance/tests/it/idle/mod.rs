//! Transactions that idle: found while they do, and not tried again once the server has ended their session.

mod ended;
mod warned;

use diesel::{
    PgConnection,
    r2d2::{self, ConnectionManager},
};
use diesel_async::{
    AsyncPgConnection,
    pooled_connection::{AsyncDieselConnectionManager, deadpool},
};
use sqlx::postgres::PgPoolOptions;
use std::sync::{Arc, Mutex};
use txsafe::{Report, guard::Policy};
use txsafe_conformance::{drivers::Database, script::Step, shop::Shop};

/// The report of the last transaction.
type LastReport = Arc<Mutex<Option<Report>>>;

/// A database by its driver's name.
type Named = (&'static str, Arc<dyn Database>);

/// A database of each driver, and of diesel-async where nobody sees the wire.
fn databases(shop: &Shop, policy: &Policy) -> (Vec<Named>, LastReport) {
    let last = LastReport::default();
    let note = || {
        let last = Arc::clone(&last);
        move |report: &Report| *last.lock().unwrap() = Some(report.clone())
    };
    let pool = |manager| deadpool::Pool::builder(manager).max_size(2).build().unwrap();
    let observed = pool(txsafe_diesel::manager(&shop.url));
    let unobserved = pool(AsyncDieselConnectionManager::<AsyncPgConnection>::new(&shop.url));
    let blocking = r2d2::Pool::builder()
        .max_size(2)
        .min_idle(Some(0))
        .build_unchecked(ConnectionManager::<PgConnection>::new(&shop.url));
    let sqlx = PgPoolOptions::new().max_connections(2).connect_lazy(&shop.url).unwrap();
    macro_rules! database {
        ($database:ty, $pool:expr) => {
            Arc::new(
                <$database>::builder($pool)
                    .service(shop.name())
                    .guard(policy.clone())
                    .on_report(note())
                    .build()
                    .unwrap(),
            )
        };
    }
    let databases: Vec<(_, Arc<dyn Database>)> = vec![
        ("diesel-async", database!(txsafe_diesel::Database, observed)),
        ("diesel-async, unobserved", database!(txsafe_diesel::Database, unobserved)),
        ("diesel", database!(txsafe_diesel::blocking::Database, blocking)),
        ("sqlx", database!(txsafe_sqlx::Database, sqlx)),
    ];
    (databases, last)
}

/// Waits until the server has ended the shop's transactions.
fn until_ended(shop: &Arc<Shop>) -> Step {
    let shop = Arc::clone(shop);
    Step::awaiting(move || {
        let shop = Arc::clone(&shop);
        async move {
            while shop.busy().await > 0 {}
            Ok(())
        }
    })
}
