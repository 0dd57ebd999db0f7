//! What a service's log gets: a line where somebody has to look, and not one for each request.

use crate::{captured_log::Log, words::CREDIT};
use std::{env, process::Command};
use tracing_log::LogTracer;
use txsafe::{RetryPolicy, TxOptions, guard::Policy};
use txsafe_conformance::{
    drivers::{Call, Driver},
    script::{Script, Step, raise},
    shop::Shop,
};

/// Runs a test in a process of its own: which levels anybody listens to is known to all of a process, and the logs of other tests
/// come and go.
fn alone(name: &str, test: impl FnOnce()) {
    const CHILD: &str = "TXSAFE_TEST_LOGS_ALONE";
    if env::var_os(CHILD).is_some() {
        return test();
    }
    let mut child = Command::new(env::current_exe().unwrap());
    let name = format!("logs::{name}");
    let output = child.args([&name, "--exact", "--nocapture"]).env(CHILD, "1").output().unwrap();
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (said, errors) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{errors}");
}

fn warnings(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains(" WARN ")).collect()
}

#[test]
fn what_the_caller_expects_is_no_warning_and_what_it_does_not_is_one_for_many() {
    alone("what_the_caller_expects_is_no_warning_and_what_it_does_not_is_one_for_many", || {
        // Somebody else in this process may have set it.
        drop(LogTracer::init());
        for driver in Driver::ALL {
            let log = Log::of(async {
                let shop = Shop::open("logs").await.unwrap();
                let db = shop.guarded(driver, Policy::production());
                let exists = || Script::new([Step::sql("INSERT INTO accounts VALUES (1, 0)")]);
                let fails = || Script::new([Step::Credit(1, 1), Step::raise("40001")]);
                let deferred = "CREATE TABLE orders (account int REFERENCES accounts DEFERRABLE INITIALLY DEFERRED)";
                shop.watcher.batch_execute(deferred).await.unwrap();
                let order = || Script::new([Step::sql("INSERT INTO orders VALUES (4711)")]);
                for _ in 0..100 {
                    db.run(Call::new("order").inline(), order()).await.unwrap_err();
                    db.run(Call::new("read").inline(), Script::new([Step::sql("SELECT 1")]))
                        .await
                        .unwrap();
                    db.run(Call::new("register").inline(), exists()).await.unwrap_err();
                    let retry = RetryPolicy::new().max_attempts(1);
                    let call = Call::new("gives up").with(TxOptions::new().retry(retry)).inline();
                    db.run(call, fails()).await.unwrap_err();
                }
            });
            let warnings = warnings(&log);
            assert_eq!(warnings.len(), 1, "{driver}: {warnings:#?}");
            assert!(warnings[0].contains("gives up"), "{driver}: {}", warnings[0]);
            // Each failure has a line for those who look.
            let debug = log
                .lines()
                .filter(|line| line.contains("DEBUG") && line.contains("attempt failed"));
            assert_eq!(debug.count(), 300, "{driver}");
            let parser = log
                .lines()
                .find(|line| line.contains("sqlparser") || line.contains("parsing expr"));
            assert_eq!(parser, None, "{driver}");
        }
    });
}

#[test]
fn slow_ones_are_logged_once_and_apart_from_failures() {
    alone("slow_ones_are_logged_once_and_apart_from_failures", || {
        let text = Log::of(async {
            let shop = Shop::open("left_out").await.unwrap();
            let db = shop.guarded(Driver::Sqlx, Policy::production());
            let options = TxOptions::new().slow_after(std::time::Duration::from_nanos(1));
            let slow = || {
                db.run(Call::new("slow").with(options.clone()), Script::new([Step::Credit(1, 1)]))
            };
            for _ in 0..10 {
                slow().await.unwrap();
            }
            // Of another kind.
            db.run(Call::new("slow"), Script::new([Step::sql("SELECT nothing")]))
                .await
                .unwrap_err();
        });
        assert_eq!(warnings(&text).len(), 2, "{text}");
    });
}

/// What a service answers to a request.
#[derive(Clone, Copy)]
enum Request {
    Reads,
    /// It is there already, which the service answers by 409.
    Registers,
    Pays,
    /// Somebody else wrote the row meanwhile, the first time: without txsafe the request fails.
    Collides,
}

const REQUESTS: [Request; 6] = [
    Request::Reads,
    Request::Registers,
    Request::Reads,
    Request::Pays,
    Request::Reads,
    Request::Collides,
];

impl Request {
    const fn sql(self) -> &'static str {
        match self {
            Self::Reads => "SELECT balance FROM accounts WHERE id = 1",
            Self::Registers => "INSERT INTO accounts VALUES (1, 0)",
            Self::Pays | Self::Collides => CREDIT,
        }
    }

    const fn collides(self) -> bool {
        matches!(self, Self::Collides)
    }
}

/// A line for each request that failed, as services write it.
fn answer(result: Result<(), sqlx::Error>) {
    if let Err(error) = result {
        tracing::warn!(%error, "request failed");
    }
}

/// 2,400 requests of a service, a third of which fail, write at most twice as many lines as they do on SQLx alone, at any level.
#[test]
fn a_service_logs_at_most_twice_the_lines_that_it_did() {
    alone("a_service_logs_at_most_twice_the_lines_that_it_did", || {
        async fn bare(pool: &sqlx::PgPool, request: Request) -> Result<(), sqlx::Error> {
            let mut tx = pool.begin().await?;
            sqlx::query(request.sql()).execute(&mut *tx).await?;
            if request.collides() {
                sqlx::query(sqlx::AssertSqlSafe(raise("40001"))).execute(&mut *tx).await?;
            }
            tx.commit().await
        }
        async fn safe(db: &txsafe_sqlx::Database, request: Request) -> Result<(), sqlx::Error> {
            let collides = std::cell::Cell::new(request.collides());
            let safe = db.transaction_local("request", async |mut tx| {
                sqlx::query(request.sql()).execute(&mut tx).await?;
                if collides.replace(false) {
                    sqlx::query(sqlx::AssertSqlSafe(raise("40001"))).execute(&mut tx).await?;
                }
                Ok::<_, txsafe_sqlx::DriverError>(())
            });
            Ok(safe.await?)
        }
        let open = async || {
            let shop = Shop::open("lines").await.unwrap();
            let pool = sqlx::PgPool::connect_lazy(&shop.url).unwrap();
            (shop, pool)
        };
        let requests = || REQUESTS.iter().copied().cycle().take(2_400);
        let bare = Log::of(async {
            let (_shop, pool) = open().await;
            for request in requests() {
                answer(bare(&pool, request).await);
            }
        });
        let safe = Log::of(async {
            let (_shop, pool) = open().await;
            let db = txsafe_sqlx::Database::builder(pool).build().unwrap();
            for request in requests() {
                answer(safe(&db, request).await);
            }
        });
        let lines = |log: &str, levels: &[&str]| {
            log.lines().filter(|line| levels.iter().any(|level| line.contains(level))).count()
        };
        for levels in [&[" WARN ", "ERROR"][..], &[" WARN ", "ERROR", " INFO ", "DEBUG"]] {
            let [bare, safe] = [&bare, &safe].map(|log| lines(log, levels));
            assert!(
                (400..=2 * bare).contains(&safe),
                "{levels:?}: {safe} lines, {bare} without txsafe"
            );
        }
    });
}
