//! What is told: reports, events, counters.

use crate::{
    remedies::raise,
    support::{AppError, Attempts, Shop, credit},
};
use metrics_util::{
    MetricKind,
    debugging::{DebugValue, DebuggingRecorder},
};
use std::{
    io,
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};
use txsafe_diesel::{Database, Outcome, Report, guard::Policy};

fn reporting(shop: &Shop) -> (Database, Arc<Mutex<Vec<Report>>>) {
    let reports = Arc::<Mutex<Vec<Report>>>::default();
    let hear = Arc::clone(&reports);
    let db = Database::builder(shop.db.pool().clone())
        .slow_after(Duration::from_secs(5))
        .on_report(move |report| hear.lock().unwrap().push(report.clone()))
        .build()
        .unwrap();
    (db, reports)
}

#[tokio::test]
async fn a_report_for_whatever_was_not_plain_sailing() {
    let shop = Shop::open("reports").await;
    let (db, reports) = reporting(&shop);
    let plain = db.transaction("plain", async |_tx| Ok::<_, AppError>(()));
    plain.await.unwrap();
    let own = db.transaction("own", async |_tx| Err::<(), _>(AppError::Own("no")));
    own.await.unwrap_err();
    assert!(reports.lock().unwrap().is_empty());

    let attempts = Attempts::default();
    let retried = db.transaction("retried", async |mut tx| {
        if attempts.is_first() {
            raise(&mut tx, "40P01").await?;
        }
        Ok::<_, AppError>(())
    });
    retried.await.unwrap();
    let failed =
        db.transaction("failed", async |mut tx| Ok::<_, AppError>(raise(&mut tx, "23505").await?));
    failed.await.unwrap_err();
    let slow = db.with(txsafe_diesel::TxOptions::new().slow_after(Duration::from_nanos(1)));
    let slow = slow.transaction("slow", async |mut tx| {
        credit(&mut tx, 1, 1).await?;
        Ok::<_, AppError>(())
    });
    slow.await.unwrap();

    let reports = reports.lock().unwrap();
    let told: Vec<_> = reports.iter().map(|r| (&*r.transaction, r.outcome, r.attempts)).collect();
    assert_eq!(
        told,
        [
            ("retried", Outcome::Committed, 2),
            ("failed", Outcome::RolledBack, 1),
            ("slow", Outcome::Committed, 1),
        ]
    );
    assert!(reports[2].trail.to_string().contains("UPDATE \"accounts\""));
    assert!(reports.iter().all(|report| report.place.file().ends_with("telemetry.rs")));
}

#[tokio::test]
async fn bind_values_only_if_asked_for() {
    let shop = Shop::open("binds").await;
    let (db, reports) = reporting(&shop);
    for show in [false, true] {
        let options =
            txsafe_diesel::TxOptions::new().slow_after(Duration::from_nanos(1)).bind_values(show);
        let secret = db.with(options).transaction("secret", async |mut tx| {
            credit(&mut tx, 1, 424_242).await?;
            Ok::<_, AppError>(())
        });
        secret.await.unwrap();
        let text = reports.lock().unwrap().pop().unwrap().to_string();
        assert_eq!(text.contains("424242"), show, "{text}");
    }
}

#[test]
fn counters_by_transaction_name() {
    let counted = counted_of(async || {
        let shop = Shop::open("metrics").await;
        let attempts = Attempts::default();
        let retried = shop.db.transaction("counted", async |mut tx| {
            if attempts.is_first() {
                raise(&mut tx, "40001").await?;
            }
            tx.after_commit(async || Err::<(), _>("no"));
            Ok::<_, AppError>(())
        });
        retried.await.unwrap();
    });
    assert_eq!(
        counted,
        [
            "txsafe_attempts_total{transaction=counted} 2",
            "txsafe_checkout_seconds{transaction=counted} 2 values",
            "txsafe_hook_failures_total{transaction=counted} 1",
            "txsafe_outcomes_total{transaction=counted,outcome=committed} 1",
            "txsafe_pause_seconds{transaction=counted} 1 values",
            "txsafe_remedies_total{transaction=counted,remedy=retry,cause=serialization} 1",
            "txsafe_transaction_seconds{transaction=counted} 1 values",
        ]
    );
}

/// What rerun mode rolls back is no attempt in any counter; only its connection was waited for.
#[test]
fn a_rerun_is_not_counted() {
    let counted = counted_of(async || {
        let shop =
            Shop::with("rerun", 1, |builder| builder.guard(Policy::test().rerun(true))).await;
        let attempts = Attempts::default();
        let ran = shop.db.transaction("counted", async |mut tx| {
            attempts.is_first();
            credit(&mut tx, 1, 1).await?;
            Ok::<_, AppError>(())
        });
        ran.await.unwrap();
        assert_eq!((attempts.count(), shop.balance_of(1).await), (2, 101));
    });
    assert_eq!(
        counted,
        [
            "txsafe_attempts_total{transaction=counted} 1",
            "txsafe_checkout_seconds{transaction=counted} 2 values",
            "txsafe_outcomes_total{transaction=counted,outcome=committed} 1",
            "txsafe_transaction_seconds{transaction=counted} 1 values",
        ]
    );
}

/// What is counted while this runs, but for gauges: those of pools have a test of their own, with all drivers.
fn counted_of(run: impl AsyncFnOnce()) -> Vec<String> {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    // A recorder of this thread only: the tests run side by side.
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run());
    });
    let snapshot = snapshotter.snapshot().into_vec().into_iter();
    let counted = snapshot.filter(|(key, ..)| key.kind() != MetricKind::Gauge);
    let mut counted: Vec<_> = counted
        .map(|(key, _, _, value)| {
            let labels: Vec<_> =
                key.key().labels().map(|l| format!("{}={}", l.key(), l.value())).collect();
            let value = match value {
                DebugValue::Counter(n) => n.to_string(),
                DebugValue::Histogram(values) => format!("{} values", values.len()),
                DebugValue::Gauge(_) => unreachable!("they are left out"),
            };
            format!("{}{{{}}} {value}", key.key().name(), labels.join(","))
        })
        .collect();
    counted.sort();
    counted
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn events_with_the_names_that_others_use() {
    // In a process of its own: `tracing` remembers for good that nobody listens to an event if another test's thread
    // meets it first, in the moment that a subscriber is set.
    const ALONE: &str = "TXSAFE_TEST_ALONE";
    let name = "telemetry::events_with_the_names_that_others_use";
    if std::env::var_os(ALONE).is_none() {
        let mut alone = Command::new(std::env::current_exe().unwrap());
        let output = alone.args(["--exact", name, "--nocapture"]).env(ALONE, "1").output().unwrap();
        let told = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && told.contains("1 passed"), "{output:?}");
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(check_events());
}

async fn check_events() {
    let shop = Shop::open("events").await;
    let lines = Lines::default();
    let write = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || write.clone())
        .finish();
    let _here = tracing::subscriber::set_default(subscriber);
    let failed = shop.db.transaction("told", async |mut tx| {
        credit(&mut tx, 1, 1).await?;
        raise(&mut tx, "53100").await?;
        Ok::<_, AppError>(())
    });
    failed.await.unwrap_err();
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    for part in [
        "WARN transaction{otel.name=\"told\"",
        "db.system.name=\"postgresql\"",
        "db.response.status_code=\"53100\"",
        "txsafe.outcome=\"rolled_back\"",
        "error.type=\"other\"",
        "UPDATE \"accounts\"",
        "gap",
        "telemetry.rs:",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
}
