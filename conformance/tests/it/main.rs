//! Every case, once per driver, on a real PostgreSQL.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

/// Makes a test per driver of each async function that takes a [`Driver`](txsafe_conformance::drivers::Driver).
macro_rules! for_each_driver {
    ($($case:ident),+ $(,)?) => {
        mod diesel_async {
            $(#[tokio::test]
            async fn $case() {
                super::$case(txsafe_conformance::drivers::Driver::DieselAsync).await;
            })+
        }
        mod sqlx {
            $(#[tokio::test]
            async fn $case() {
                super::$case(txsafe_conformance::drivers::Driver::Sqlx).await;
            })+
        }
    };
}

/// The same for drivers whose transactions are futures.
macro_rules! for_each_async_driver {
    ($($case:ident),+ $(,)?) => {
        for_each_driver!($($case),+);
    };
}

mod cancellation;
mod commits;
mod remedies;
mod sqlx_only;
