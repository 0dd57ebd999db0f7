//! What the outbox tells while it delivers: counters by topic.

use crate::support::Shop;
use metrics_util::debugging::{DebugValue, DebuggingRecorder};
use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};
use txsafe_diesel::{NewMessage, OUTBOX_SQL, WriteEffect};

#[test]
fn deliveries_are_counted_by_topic_and_end() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    // A recorder of this thread only: the tests run side by side.
    metrics::with_local_recorder(&recorder, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(deliver_all());
    });
    let mut counted: Vec<_> = snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .filter(|(key, ..)| key.key().name().starts_with("txsafe_outbox"))
        .map(|(key, _, _, value)| {
            let labels: Vec<_> =
                key.key().labels().map(|l| format!("{}={}", l.key(), l.value())).collect();
            let value = match value {
                DebugValue::Counter(n) => n.to_string(),
                DebugValue::Histogram(values) => format!("{} values", values.len()),
                DebugValue::Gauge(_) => unreachable!("there are no gauges"),
            };
            format!("{}{{{}}} {value}", key.key().name(), labels.join(","))
        })
        .collect();
    counted.sort();
    assert_eq!(
        counted,
        [
            "txsafe_outbox_deliveries_total{topic=again,end=delivered} 1",
            "txsafe_outbox_deliveries_total{topic=again,end=failed} 2",
            "txsafe_outbox_deliveries_total{topic=bad,end=dead} 1",
            "txsafe_outbox_deliveries_total{topic=bad,end=failed} 1",
            "txsafe_outbox_deliveries_total{topic=good,end=delivered} 2",
            "txsafe_outbox_deliveries_total{topic=stolen,end=lease_lost} 1",
            "txsafe_outbox_lag_seconds{topic=again} 1 values",
            "txsafe_outbox_lag_seconds{topic=good} 2 values",
        ]
    );
}

/// Two that come, one that never does, one that is written again in its last attempt, and one whose lease is taken away
/// meanwhile.
async fn deliver_all() {
    let shop = Shop::open("outbox").await;
    shop.watcher.batch_execute(OUTBOX_SQL).await.unwrap();
    for topic in ["good", "good", "bad", "stolen"] {
        let written = shop.db.transaction("write", async |mut tx| tx.outbox(topic, "{}").await);
        written.await.unwrap();
    }
    let write_again = async || {
        let written = shop.db.transaction("write", async |mut tx| {
            tx.outbox_message(NewMessage::new("again", "{}").key("again")).await
        });
        written.await.unwrap().effect()
    };
    assert_eq!(write_again().await, WriteEffect::Inserted);
    let times = AtomicUsize::new(0);
    let worker = shop.db.outbox().worker().max_attempts(2);
    let worker = worker
        .poll_interval(Duration::from_millis(10))
        .min_pause(Duration::from_millis(1))
        .max_pause(Duration::from_millis(1))
        .deliver("good", async |_| {})
        .deliver("bad", async |_| Err("no"))
        .deliver("again", async |_| match times.fetch_add(1, Ordering::Relaxed) {
            0 => Err("no"),
            1 => {
                assert_eq!(write_again().await, WriteEffect::Joined);
                Err("no")
            }
            _ => Ok(()),
        })
        .deliver("stolen", async |_| {
            let sql = "UPDATE txsafe_outbox SET lease = NULL WHERE topic = 'stolen'";
            shop.watcher.batch_execute(sql).await
        });
    // Nobody has the stolen one any more, and it stays.
    let all_ended = async {
        let sql = "SELECT count(*) FROM txsafe_outbox WHERE dead_at IS NULL";
        while shop.watcher.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) > 1 {}
    };
    worker.build().unwrap().run_until(all_ended).await.unwrap();
}
