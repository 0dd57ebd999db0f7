//! A test that has paused tokio's clock, for timers of its own, may use the database all the same: what bounds a wait for the
//! server doesn't jump with that clock.

use std::time::Duration;
use tokio::{runtime, time::Instant};
use txsafe::TxOptions;
use txsafe_conformance::{
    drivers::{Call, Driver, Library},
    script::{Script, Step},
    shop::Shop,
};

#[test]
fn the_server_has_its_time_on_every_async_driver() {
    let outside = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let outside = outside.unwrap();
    for driver in Driver::ALL.into_iter().filter(|driver| driver.is_async()) {
        let shop = outside.block_on(Shop::open("paused")).unwrap();
        let paused = runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let jumped = paused.unwrap().block_on(async {
            let (db, start) = (shop.database(driver), Instant::now());
            for options in [
                TxOptions::new(),
                TxOptions::new().await_begin(true).verify_commit(true),
                TxOptions::new().timeout(Duration::from_secs(60)),
            ] {
                let slow = Step::sql("SELECT pg_sleep(0.05)");
                let script = Script::first([Step::raise("40001")], [Step::Credit(1, 1), slow]);
                db.run(Call::new("paused").with(options), script).await.unwrap();
            }
            start.elapsed()
        });
        assert_eq!(outside.block_on(shop.balance_of(1)), 103, "{driver}");
        // SQLx's pool has timers of its own.
        let jumps = driver.library() == Library::Sqlx;
        assert!(jumps || jumped < Duration::from_secs(5), "{driver}: jumped by {jumped:?}");
        outside.block_on(async { drop(shop) });
    }
}
