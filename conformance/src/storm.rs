//! Many workers, random faults, traps, deadlocks, killed sessions and crashing servers: nothing is lost, nothing is doubled,
//! and nothing is called known that isn't.

use crate::{
    drivers::{Database, Driver},
    policy::{End, Policy, Tally, Verdict},
    script::{Script, Step},
    shop::Shop,
};
use fastrand::Rng;
use serde::Serialize;
use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::task::JoinSet;
use txsafe::{RetryPolicy, TxOptions};
use txsafe_testkit::{At, Fault, Lab, LabSession, Postgres};

const WORKERS: u64 = 8;

/// What is to be stormed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The driver.
    pub driver: Driver,
    /// How callers deal with lost COMMITs.
    pub policy: Policy,
    /// How many operations.
    pub operations: u64,
    /// How often the server crashes; needs one of our own.
    pub crashes: u64,
    /// The dice: the same for the same seed.
    pub seed: u64,
}

/// How it came out.
#[derive(Debug, Clone, Serialize)]
pub struct Weathered {
    /// The driver.
    pub driver: Driver,
    /// How callers dealt with lost COMMITs.
    pub policy: Policy,
    /// Operations, and what was wrong with them.
    #[serde(flatten)]
    pub tally: Tally,
    /// Faults of the wire that struck.
    pub faults: u64,
    /// Operations that ran into a trap.
    pub traps: u64,
    /// Sessions that were ended in the midst of a transaction.
    pub kills: u64,
    /// Servers that crashed and recovered.
    pub crashes: u64,
    /// What was told wrongly, for people.
    pub wrong: Vec<String>,
    /// Whether each entry of the ledger has its credits.
    pub books_balance: bool,
    /// From start to end.
    pub seconds: f64,
}

impl Weathered {
    /// Whether nothing is wrong, and the storm was one.
    #[must_use]
    pub fn passed(&self) -> bool {
        let proves = self.faults >= WORKERS && self.traps >= WORKERS && self.kills > 0;
        let knows = self.policy != Policy::Key || self.tally.unknown == 0;
        self.tally.is_true() && self.books_balance && proves && knows
    }
}

impl Plan {
    /// Storms `server`.
    ///
    /// # Errors
    /// If the server can't be had or doesn't come back.
    pub async fn weather(self, server: &Postgres) -> anyhow::Result<Weathered> {
        let started = Instant::now();
        let mut shop = Shop::on(server, "storm").await?;
        shop.watcher.batch_execute(&slow_commits()).await?;
        let lab = Lab::new(&shop.url)?;
        let done = Arc::<AtomicU64>::default();
        let mut workers = JoinSet::new();
        for number in 0..WORKERS {
            let session = lab.session().await?;
            let worker = Worker {
                db: shop.database_at(self.driver, session.url(), 2),
                session,
                policy: self.policy,
                dice: Rng::with_seed(self.seed.wrapping_add(number)),
                done: Arc::clone(&done),
            };
            workers.spawn(worker.work((number..self.operations).step_by(WORKERS as usize)));
        }
        let is_over = AtomicBool::new(false);
        let ends = async {
            let ends = workers.join_all().await;
            is_over.store(true, Ordering::Relaxed);
            ends
        };
        let mut trouble = Trouble { server, shop: &mut shop, kills: 0, crashes: 0 };
        let made = trouble.make(self.operations, self.crashes, &done, &is_over);
        let (ends, made) = tokio::join!(ends, made);
        made?;
        let (kills, crashes) = (trouble.kills, trouble.crashes);
        while shop.busy().await > 0 {}
        let faults = ends.iter().map(|(_, met)| u64::from(met.faults)).sum();
        let traps = ends.iter().map(|(_, met)| met.traps).sum();
        let ends = ends.into_iter().flat_map(|(ends, _)| ends);
        let (tally, wrong, books_balance) = audit(&shop, ends).await?;
        let seconds = started.elapsed().as_secs_f64();
        let Self { driver, policy, .. } = self;
        Ok(Weathered {
            driver,
            policy,
            tally,
            faults,
            traps,
            kills,
            crashes,
            wrong,
            books_balance,
            seconds,
        })
    }
}

/// One of those who work through the storm.
struct Worker {
    db: Arc<dyn Database>,
    session: LabSession,
    policy: Policy,
    dice: Rng,
    done: Arc<AtomicU64>,
}

/// What became of an operation.
struct Done {
    operation: u64,
    trap: Option<Trap>,
    end: End,
    /// The errors that its caller heard, one after another.
    heard: Vec<String>,
}

/// What a worker met.
struct Met {
    faults: u32,
    traps: u64,
}

impl Worker {
    /// Works; every third operation meets a fault, and every eighth a trap.
    async fn work(mut self, operations: impl Iterator<Item = u64>) -> (Vec<Done>, Met) {
        let (mut ends, mut traps) = (Vec::new(), 0);
        for operation in operations {
            if self.dice.u8(..3) == 0 && self.session.waiting() == 0 {
                let (at, fault) = any_fault(&mut self.dice);
                // Its codes are codes.
                let _ = self.session.inject(at, fault);
            }
            let accounts = [self.dice.i32(1..=10), self.dice.i32(1..=10)];
            let trap = (self.dice.u8(..8) == 0).then(|| any_trap(&mut self.dice));
            traps += u64::from(trap.is_some());
            ends.push(self.operate(operation, accounts, trap).await);
            self.done.fetch_add(1, Ordering::Relaxed);
        }
        (ends, Met { faults: self.session.injected(), traps })
    }

    /// Two accounts in random order, and an entry in the ledger.
    async fn operate(&self, operation: u64, [first, second]: [i32; 2], trap: Option<Trap>) -> Done {
        let steps = vec![
            Step::Credit(first, 1),
            Step::Credit(second, 1),
            Step::sql(format!("INSERT INTO ledger VALUES ({operation})")),
        ];
        // Long enough for a server to come up again.
        let retry = RetryPolicy::new().max_attempts(100).max_elapsed(Duration::from_secs(30));
        let mut options = TxOptions::new().retry(retry);
        let mut script = Script::new(steps.clone());
        match trap {
            None => {}
            Some(Trap::Lent) => {
                let sql = format!("UPDATE accounts SET balance = balance + 1 WHERE id = {second}");
                script = Script::new([steps[0].clone(), Step::Lent(sql), steps[2].clone()]);
            }
            Some(Trap::Leaves(how)) => {
                let mut leaving = steps.clone();
                leaving.push(Step::Lent(how.into()));
                script = Script::first(leaving, steps.clone());
            }
            Some(Trap::LeavesAndFails(how)) => {
                let mut leaving = steps.clone();
                leaving.extend([Step::sql(how), Step::raise("40001")]);
                script = Script::first(leaving, steps.clone());
            }
            Some(Trap::SessionLock) => {
                let [lock, unlock] = ["pg_advisory_lock", "pg_advisory_unlock"]
                    .map(|call| Step::sql(format!("SELECT {call}({operation})")));
                let mut locking = vec![lock.clone()];
                locking.extend(steps.clone());
                locking.push(unlock);
                script = Script::first([lock, Step::raise("40001")], locking);
            }
            Some(Trap::SlowCommit) => options = options.commit_timeout(SLOW / 4),
            // The server may be gone just then, and nothing is left.
            Some(Trap::Left(sql)) => drop(self.db.leave(sql).await),
        }
        let mut heard = Vec::new();
        loop {
            let answer = self.policy.run(&*self.db, options.clone(), operation, script).await;
            let end = End::of(&answer);
            // That is what a key is for: whoever doesn't know asks again, until it has happened. A later attempt that was rolled
            // back doesn't say what became of the first.
            let asks_again = self.policy == Policy::Key
                && (end == End::Unknown || end == End::RolledBack && !heard.is_empty());
            if !asks_again {
                heard.extend(answer.err().map(|error| format!("{error:?}")));
                return Done { operation, trap, end, heard };
            }
            heard.extend(answer.err().map(|error| format!("{error:?}")));
            script = Script::new(steps.clone());
        }
    }
}

/// What an operation runs into besides faults.
#[derive(Debug, Clone, Copy)]
enum Trap {
    /// A statement on the lent connection.
    Lent,
    /// The closure leaves its transaction unseen, and returns Ok.
    Leaves(&'static str),
    /// It leaves its transaction, and fails by what is tried again otherwise.
    LeavesAndFails(&'static str),
    /// The first attempt takes a lock of the session, and fails.
    SessionLock,
    /// COMMIT isn't waited for to its end.
    SlowCommit,
    /// Somebody leaves this on a connection of the pool.
    Left(&'static str),
}

fn any_trap(dice: &mut Rng) -> Trap {
    let ways = ["COMMIT; BEGIN", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "ROLLBACK; BEGIN"];
    let how = ways[dice.usize(..ways.len())];
    let traps = [
        Trap::Lent,
        Trap::Leaves(how),
        Trap::LeavesAndFails(how),
        Trap::SessionLock,
        Trap::SlowCommit,
        Trap::Left("BEGIN; INSERT INTO ledger VALUES (-1)"),
        Trap::Left("DEALLOCATE ALL"),
    ];
    traps[dice.usize(..traps.len())]
}

/// How long some COMMITs take.
const SLOW: Duration = Duration::from_millis(20);

/// Every so many COMMITs are slow.
fn slow_commits() -> String {
    format!(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_sleep({}); RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW WHEN (NEW.operation % 16 = 15) EXECUTE FUNCTION slow()",
        SLOW.as_secs_f64()
    )
}

/// COMMIT is where it matters, so it is struck most.
fn any_fault(dice: &mut Rng) -> (At, Fault) {
    let places =
        [At::Connect, At::Begin, At::Nth(1), At::Nth(2), At::Nth(3), At::Commit, At::Commit];
    let at = places[dice.usize(..places.len())];
    let faults = [
        Fault::CutBefore,
        Fault::CutRacing,
        Fault::CutAfterApplied,
        Fault::Fatal("57P01"),
        Fault::Delay(Duration::from_millis(2)),
        Fault::Raise("40001"),
        Fault::Raise("55P03"),
        Fault::Raise("53100"),
    ];
    // A BEGIN that fails while statements follow it is a story of its own, told elsewhere.
    let possible = if at == At::Begin { 5 } else { faults.len() };
    (at, faults[dice.usize(..possible)].clone())
}

/// What troubles the server itself.
struct Trouble<'a> {
    server: &'a Postgres,
    shop: &'a mut Shop,
    kills: u64,
    crashes: u64,
}

impl Trouble<'_> {
    /// Ends sessions in the midst of a transaction one after another, and crashes the server every so many operations.
    async fn make(
        &mut self,
        operations: u64,
        crashes: u64,
        done: &AtomicU64,
        is_over: &AtomicBool,
    ) -> anyhow::Result<()> {
        while !is_over.load(Ordering::Relaxed) {
            let due = (crashes + 1) * done.load(Ordering::Relaxed) / operations.max(1);
            if self.crashes < due.min(crashes) {
                self.crash().await?;
            } else {
                self.kill().await?;
            }
        }
        Ok(())
    }

    async fn kill(&mut self) -> anyhow::Result<()> {
        let sql = "SELECT count(pg_terminate_backend(pid)) FROM (
                       SELECT pid FROM pg_stat_activity, pg_sleep(0.03)
                       WHERE application_name LIKE current_schema() || '/%'
                       AND xact_start IS NOT NULL ORDER BY random() LIMIT 1) victim";
        match self.shop.watcher.query_one(sql, &[]).await {
            Ok(row) => self.kills += u64::try_from(row.get::<_, i64>(0))?,
            // A crash may take a while to reach everybody.
            Err(_) => self.reconnect().await?,
        }
        Ok(())
    }

    /// By turns one backend dies, which takes all others along, and the whole server does.
    async fn crash(&mut self) -> anyhow::Result<()> {
        self.crashes += 1;
        if self.crashes % 2 == 1 {
            let sql = "SELECT pg_backend_pid()";
            match self.shop.watcher.query_one(sql, &[]).await {
                Ok(row) => self.server.kill_backend(row.get(0))?,
                Err(_) => self.crashes -= 1,
            }
        } else {
            self.server.stop_immediately().await?;
            self.server.restart().await?;
        }
        self.reconnect().await
    }

    async fn reconnect(&mut self) -> anyhow::Result<()> {
        let patience = Instant::now() + Duration::from_secs(30);
        while let Err(error) = self.shop.watch_again().await {
            anyhow::ensure!(Instant::now() < patience, "the server didn't come back: {error}");
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}

/// Holds what was said against the ledger, and the ledger against the accounts.
async fn audit(
    shop: &Shop,
    ends: impl Iterator<Item = Done>,
) -> anyhow::Result<(Tally, Vec<String>, bool)> {
    let sql = "SELECT operation, count(*) FROM ledger GROUP BY operation";
    let rows = shop.watcher.query(sql, &[]).await?;
    let entries: HashMap<i64, i64> = rows.iter().map(|row| (row.get(0), row.get(1))).collect();
    let (mut tally, mut wrong) = (Tally::default(), Vec::new());
    for Done { operation, trap, end, heard } in ends {
        let entries = entries.get(&operation.cast_signed()).copied().unwrap_or(0);
        let verdict = tally.count(end, entries);
        if verdict != Verdict::True {
            wrong
                .push(format!("{operation} {verdict:?}: {entries} of {trap:?}, {end:?} {heard:?}"));
        }
    }
    let credits = shop.ask("SELECT (sum(balance) - 1000)::bigint FROM accounts").await;
    Ok((tally, wrong, credits == 2 * entries.values().sum::<i64>()))
}
