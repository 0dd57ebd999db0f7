//! The fault matrix: every fault at every place, under every way to deal with a lost COMMIT.
//!
//! Whatever happens, what is said of the transaction is true: one that is reported as committed is in the ledger once,
//! one that is reported as rolled back is not, and unknown is said only where the caller chose to be told so.

use crate::support::{AppError, Shop, credit};
use diesel_async::SimpleAsyncConnection;
use std::time::Duration;
use txsafe_diesel::{Database, IDEMPOTENCY_KEYS_SQL, Outcome, TxOptions};
use txsafe_testkit::{At, Fault, Lab};

/// How the caller deals with a COMMIT whose answer was lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Policy {
    Report,
    Verify,
    Key,
}

pub(crate) const POLICIES: [Policy; 3] = [Policy::Report, Policy::Verify, Policy::Key];

/// How a transaction ended for whoever asked for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum End {
    Committed,
    RolledBack,
    Unknown,
}

/// Longer than anything takes that isn't lost.
const DEADLINE: Duration = Duration::from_secs(3);

/// After so long an answer is taken for lost.
const LOST_AFTER: Duration = Duration::from_millis(300);

/// What must happen.
fn expected(at: At, fault: &Fault, policy: Policy) -> End {
    let lost_commit = if policy == Policy::Report { End::Unknown } else { End::Committed };
    match (at, fault) {
        (_, Fault::Raise("40001" | "40P01" | "55P03") | Fault::Delay(_)) => End::Committed,
        (_, Fault::Raise(_)) | (At::Connect, Fault::Fatal("28P01")) => End::RolledBack,
        (At::Commit, _) => lost_commit,
        // The claim of a key is our own question, and its answer isn't waited for as long.
        (At::Begin | At::Nth(1), Fault::Blackhole) if policy == Policy::Key => End::Committed,
        // Nothing but the caller's deadline ends the wait for a statement.
        (At::Begin | At::Nth(_), Fault::Blackhole) => End::RolledBack,
        (_, _) => End::Committed,
    }
}

fn rows() -> Vec<(At, Fault)> {
    let everywhere = [
        Fault::CutBefore,
        Fault::CutRacing,
        Fault::CutAfterApplied,
        Fault::Blackhole,
        Fault::Delay(Duration::from_millis(20)),
        Fault::Fatal("57P01"),
    ];
    let connecting = ["53300", "57P03", "28P01"].map(Fault::Fatal);
    let raised = ["40001", "40P01", "55P03", "53100", "23505", "57014"].map(Fault::Raise);
    let places = [At::Connect, At::Begin, At::Nth(1), At::Nth(2), At::Commit];
    let mut rows = Vec::new();
    for at in places {
        let special = if at == At::Connect { &connecting[..] } else { &raised[..] };
        rows.extend(everywhere.iter().chain(special).map(|fault| (at, fault.clone())));
    }
    rows
}

#[tokio::test]
async fn what_is_said_is_true() {
    let shop = Shop::open("faults").await;
    shop.watcher.batch_execute("CREATE TABLE ledger (operation int NOT NULL)").await.unwrap();
    shop.watcher.batch_execute(IDEMPOTENCY_KEYS_SQL).await.unwrap();
    let lab = Lab::new(&shop.url).unwrap();
    let (mut operation, mut wrong) = (0, Vec::new());
    for (at, fault) in rows() {
        for policy in POLICIES {
            operation += 1;
            let session = lab.session().await.unwrap();
            let db = shop
                .builder_at(session.url())
                .answer_timeout(if fault == Fault::Blackhole { LOST_AFTER } else { DEADLINE })
                .checkout_timeout(LOST_AFTER)
                // A BEGIN that fails while statements follow it is a story of its own, told elsewhere.
                .await_begin(matches!((at, &fault), (At::Begin, Fault::Raise(_))))
                .verify_commit(policy == Policy::Verify)
                .build()
                .unwrap();
            session.inject(at, fault.clone()).unwrap();
            let end = run(&db, policy, operation, &fault).await;
            while shop.busy().await > 0 {}
            let entries = format!("SELECT count(*) FROM ledger WHERE operation = {operation}");
            let entries = shop.ask(&entries).await;
            let is_true = match end {
                End::Committed => entries == 1,
                End::RolledBack => entries == 0,
                End::Unknown => entries <= 1,
            };
            if !is_true || end != expected(at, &fault, policy) || session.waiting() > 0 {
                wrong.push(format!("{fault:?} at {at:?}, {policy:?}: {end:?}, {entries} entries"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {operation}:\n{}", wrong.len(), wrong.join("\n"));
    let credits = shop.balance_of(1).await - 100;
    assert_eq!(credits, shop.ask("SELECT count(*) FROM ledger").await, "one credit per entry");
}

/// A transaction of two statements.
async fn run(db: &Database, policy: Policy, operation: i32, fault: &Fault) -> End {
    let body = async |mut tx: txsafe_diesel::Tx<'_>| {
        credit(&mut tx, 1, 1).await?;
        tx.batch_execute(&format!("INSERT INTO ledger VALUES ({operation})")).await?;
        Ok::<_, AppError>(())
    };
    let deadline = if *fault == Fault::Blackhole { 4 * LOST_AFTER } else { DEADLINE };
    let configured = db.with(TxOptions::new().timeout(deadline));
    let key = operation.to_string();
    let result = match policy {
        Policy::Report | Policy::Verify => configured.transaction("fault", body).await,
        Policy::Key => {
            let keyed = configured.idempotency_key(&key).transaction("fault", body).await;
            keyed.map(drop)
        }
    };
    match result {
        Ok(()) => End::Committed,
        Err(error) => end_of(&error),
    }
}

/// What the caller of a transaction that failed may conclude.
pub(crate) fn end_of(error: &AppError) -> End {
    match error {
        AppError::Txsafe(error) if error.outcome() == Outcome::Unknown => End::Unknown,
        AppError::Txsafe(_) | AppError::Opaque | AppError::Own(_) => End::RolledBack,
    }
}
