//! The traps: what isn't a fault of the wire, and still makes libraries say of a transaction what isn't so. With every
//! driver, under every policy.
//!
//! As in the [matrix](crate::matrix): one that is reported as committed is in the ledger once, one that is reported as
//! rolled back is not.

use crate::{
    drivers::{Call, Database, Driver},
    policy::{End, Policy, Verdict},
    script::{Script, Step},
    shop::Shop,
};
use std::{fmt, sync::Arc, time::Duration};
use txsafe::TxOptions;
use txsafe_testkit::{At, Fault, Lab, Postgres};

/// Longer than anything takes that isn't lost.
const DEADLINE: Duration = Duration::from_secs(10);

/// Shorter than what is slow on purpose.
const SHORT: Duration = Duration::from_millis(200);

/// What an operation runs into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trap {
    /// A statement on the lent connection fails by `40001`.
    LentFailure,
    /// A statement on the lent connection commits, and begins another transaction.
    LentCommit,
    /// The closure leaves its transaction in this way, and returns Ok.
    Leaves(&'static str),
    /// The closure leaves its transaction in this way, and the next statement fails by `40001`.
    LeavesAndFails(&'static str),
    /// The closure commits by itself, and then its session is ended.
    LeavesAndDies,
    /// The closure commits by itself, and the answer to that is lost.
    LeavesUnheard,
    /// The pool's one connection is in a transaction that somebody left open.
    LeftOpen,
    /// COMMIT takes longer than other answers may.
    SlowCommit,
    /// COMMIT takes longer than it may itself.
    CommitGivenUp,
    /// COMMIT waits for a standby that isn't there.
    NoStandby,
    /// The first attempt takes a lock of the session, and fails.
    SessionLock,
    /// The pool's one connection has lost its prepared statements.
    Deallocated,
    /// The write goes through a foreign data wrapper, and COMMIT never arrives.
    ForeignWrite,
}

/// A trap, for a driver and a policy.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    /// Who meets it.
    pub driver: Driver,
    /// What it is.
    pub trap: Trap,
    /// How the caller deals with a lost COMMIT.
    pub policy: Policy,
}

/// How a row came out.
#[derive(Debug, Clone)]
pub struct Sprung {
    /// The row.
    pub row: Row,
    /// What the caller concluded.
    pub end: End,
    /// What it should have.
    pub expected: End,
    /// Entries in the ledger, once nothing is under way any more.
    pub entries: i64,
    /// Writes of others that nobody committed, and that are there.
    pub strays: i64,
}

impl Trap {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::LentFailure,
        Self::LentCommit,
        Self::Leaves("COMMIT; BEGIN"),
        Self::Leaves("COMMIT AND CHAIN"),
        Self::Leaves("ROLLBACK AND CHAIN"),
        Self::Leaves("ROLLBACK; BEGIN"),
        Self::LeavesAndFails("COMMIT; BEGIN"),
        Self::LeavesAndFails("COMMIT AND CHAIN"),
        Self::LeavesAndFails("ROLLBACK AND CHAIN"),
        Self::LeavesAndDies,
        Self::LeavesUnheard,
        Self::LeftOpen,
        Self::SlowCommit,
        Self::CommitGivenUp,
        Self::NoStandby,
        Self::SessionLock,
        Self::Deallocated,
        Self::ForeignWrite,
    ];
}

impl Row {
    /// All rows of a driver.
    #[must_use]
    pub fn all(driver: Driver) -> Vec<Self> {
        let row = |trap| Policy::ALL.map(|policy| Self { driver, trap, policy });
        Trap::ALL.into_iter().flat_map(row).collect()
    }

    /// What must happen.
    fn expected(&self) -> End {
        let blocks = !self.driver.is_async();
        match self.trap {
            Trap::LentFailure | Trap::LeftOpen | Trap::SlowCommit | Trap::SessionLock => {
                End::Committed
            }
            Trap::LentCommit
            | Trap::Leaves(_)
            | Trap::LeavesAndFails(_)
            | Trap::LeavesAndDies
            | Trap::LeavesUnheard => End::Unknown,
            // A thread waits for as long as COMMIT works.
            Trap::CommitGivenUp | Trap::NoStandby if blocks => End::Committed,
            Trap::CommitGivenUp if self.policy == Policy::Report => End::Unknown,
            Trap::CommitGivenUp | Trap::Deallocated => End::Committed,
            Trap::NoStandby => End::Unknown,
            Trap::ForeignWrite if self.policy == Policy::Key => End::Committed,
            Trap::ForeignWrite => End::Unknown,
        }
    }

    fn options(&self) -> TxOptions {
        let options = TxOptions::new().timeout(DEADLINE);
        match self.trap {
            Trap::SlowCommit => options.answer_timeout(SHORT / 2),
            Trap::CommitGivenUp => options.commit_timeout(SHORT),
            Trap::NoStandby => {
                options.commit_timeout(SHORT).answer_timeout(SHORT).timeout(10 * SHORT)
            }
            _ => options,
        }
    }

    /// Plays the row as operation number `operation`, from 1 on.
    ///
    /// # Errors
    /// If the ground can't be prepared.
    pub async fn play(self, operation: u64) -> anyhow::Result<Sprung> {
        // Each on its own ground, because some spoil it.
        let own = match self.trap {
            Trap::NoStandby => Some(Postgres::start().await?),
            _ => None,
        };
        let server = match &own {
            Some(server) => server,
            None => Postgres::shared().await?,
        };
        let shop = Shop::on(server, "traps").await?;
        self.prepare(&shop).await?;
        let lab = Lab::new(&shop.url)?;
        let session = lab.session().await?;
        let fault = match self.trap {
            Trap::ForeignWrite => Some(Fault::CutBefore),
            Trap::LeavesUnheard => Some(Fault::CutAfterApplied),
            _ => None,
        };
        let url = if fault.is_some() { session.url() } else { &shop.url };
        let connections = if self.trap == Trap::SessionLock { 4 } else { 1 };
        let db = shop.database_at(self.driver, url, connections);
        self.bait(&*db).await?;
        if let Some(fault) = fault {
            session.inject(At::Commit, fault)?;
        }
        let end = self.run(Arc::clone(&db), &shop, operation).await;
        while shop.busy().await > 0 {}
        let entries = format!("SELECT count(*) FROM ledger WHERE operation = {operation}");
        let entries = shop.ask(&entries).await;
        let strays = shop.ask("SELECT count(*) FROM ledger WHERE operation < 0").await;
        Ok(Sprung { row: self, end, expected: self.expected(), entries, strays })
    }

    async fn run(self, db: Arc<dyn Database>, shop: &Shop, operation: u64) -> End {
        let entry = || Step::sql(format!("INSERT INTO ledger VALUES ({operation})"));
        let lock = || Step::sql(format!("SELECT pg_advisory_lock({operation})"));
        let unlock = || Step::sql(format!("SELECT pg_advisory_unlock({operation})"));
        let fails = || Step::raise("40001");
        let script = match self.trap {
            Trap::LentFailure => {
                let lent = Step::Lent(crate::script::raise("40001"));
                Script::first([entry(), lent], [entry()])
            }
            Trap::LentCommit => {
                Script::first([entry(), Step::Lent("COMMIT; BEGIN".into()), fails()], [entry()])
            }
            Trap::Leaves(end) => Script::first([entry(), Step::sql(end)], [entry()]),
            Trap::LeavesAndFails(end) => {
                Script::first([entry(), Step::sql(end), fails()], [entry()])
            }
            Trap::LeavesAndDies => {
                let dies = Step::sql("SELECT pg_terminate_backend(pg_backend_pid())");
                Script::first([entry(), Step::sql("COMMIT; BEGIN"), dies], [entry()])
            }
            Trap::LeavesUnheard => Script::first([entry(), Step::sql("COMMIT; BEGIN")], [entry()]),
            Trap::SessionLock => Script::first([lock(), fails()], [lock(), entry(), unlock()]),
            Trap::Deallocated => Script::new([Step::Credit(1, 1), entry()]),
            Trap::ForeignWrite => {
                Script::new([Step::sql(format!("INSERT INTO foreign_ledger VALUES ({operation})"))])
            }
            Trap::LeftOpen | Trap::SlowCommit | Trap::CommitGivenUp | Trap::NoStandby => {
                Script::new([entry()])
            }
        };
        let run = self.policy.run(&*db, self.options(), operation, script);
        if self.trap != Trap::NoStandby {
            return End::of(&run.await);
        }
        // A thread must be let go while it waits; who may give up has given up by then.
        let release = async {
            if !self.driver.is_async() {
                while shop.ask(WAIT_FOR_STANDBYS).await == 0 {}
                let set_free = "ALTER SYSTEM RESET synchronous_standby_names";
                shop.watcher.batch_execute(set_free).await.expect("a superuser");
                shop.watcher.batch_execute("SELECT pg_reload_conf()").await.expect("a superuser");
            }
        };
        let (answer, ()) = tokio::join!(run, release);
        let end = End::of(&answer);
        let visible = format!("SELECT count(*) FROM ledger WHERE operation = {operation}");
        if self.driver.is_async() {
            assert_eq!(shop.ask(&visible).await, 0, "{self}: not replicated, and visible");
            for sql in ["ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()"] {
                shop.watcher.batch_execute(sql).await.expect("a superuser");
            }
        }
        end
    }

    /// What the server must have for it.
    async fn prepare(self, shop: &Shop) -> anyhow::Result<()> {
        const SLOW: &str = "
            CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN PERFORM pg_sleep(0.6); RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED
                FOR EACH ROW EXECUTE FUNCTION slow()";
        let sql = match self.trap {
            Trap::SlowCommit | Trap::CommitGivenUp => SLOW.to_owned(),
            Trap::NoStandby => {
                // The watcher's own writes don't wait.
                shop.watcher.batch_execute("SET synchronous_commit = local").await?;
                shop.watcher
                    .batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
                    .await?;
                shop.watcher.batch_execute("SELECT pg_reload_conf()").await?;
                return until_standbys_are_waited_for(shop).await;
            }
            Trap::ForeignWrite => format!(
                "CREATE EXTENSION IF NOT EXISTS postgres_fdw SCHEMA public;
                 DO $$ BEGIN EXECUTE format('CREATE SERVER loop_{name} FOREIGN DATA WRAPPER
                     postgres_fdw OPTIONS (host %L, port %L, dbname %L)',
                     split_part(current_setting('unix_socket_directories'), ',', 1),
                     current_setting('port'), current_database()); END $$;
                 CREATE USER MAPPING FOR CURRENT_USER SERVER loop_{name};
                 CREATE FOREIGN TABLE foreign_ledger (operation bigint) SERVER loop_{name}
                     OPTIONS (schema_name '{name}', table_name 'ledger')",
                name = shop.name()
            ),
            _ => return Ok(()),
        };
        shop.watcher.batch_execute(&sql).await?;
        Ok(())
    }

    /// What the pool must have gone through before.
    async fn bait(self, db: &dyn Database) -> anyhow::Result<()> {
        let well = |result: Result<(), crate::error::AppError>| {
            result.map_err(|error| anyhow::anyhow!("{self}: {error:?}"))
        };
        match self.trap {
            Trap::LeftOpen => well(db.leave("BEGIN; INSERT INTO ledger VALUES (-1)").await),
            Trap::Deallocated => {
                for _ in 0..2 {
                    let warm = Script::new([Step::Credit(1, 1)]);
                    well(db.run(Call::new("warm"), warm).await.map(drop))?;
                }
                well(db.leave("DEALLOCATE ALL").await)
            }
            Trap::SessionLock => {
                let warm = || db.run(Call::new("warm"), Script::new([Step::sql("SELECT 1")]));
                let (a, b) = tokio::join!(warm(), warm());
                well(a.and(b).map(drop))
            }
            _ => Ok(()),
        }
    }
}

impl Sprung {
    /// Whether all is as it should be.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.end == self.expected
            && self.strays == 0
            && self.end.judge(self.entries) == Verdict::True
    }
}

impl fmt::Display for Trap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LentFailure => f.write_str("40001 on the lent connection"),
            Self::LentCommit => f.write_str("COMMIT; BEGIN on the lent connection, then 40001"),
            Self::Leaves(how) => write!(f, "{how}, then Ok"),
            Self::LeavesAndFails(how) => write!(f, "{how}, then 40001"),
            Self::LeavesAndDies => f.write_str("COMMIT; BEGIN, then the session is ended"),
            Self::LeavesUnheard => f.write_str("COMMIT; BEGIN, whose answer is lost"),
            Self::LeftOpen => f.write_str("a pooled connection left in a transaction"),
            Self::SlowCommit => f.write_str("COMMIT slower than other answers"),
            Self::CommitGivenUp => f.write_str("COMMIT slower than commit_timeout"),
            Self::NoStandby => f.write_str("synchronous replication without a standby"),
            Self::SessionLock => f.write_str("a session's advisory lock, then 40001"),
            Self::Deallocated => f.write_str("prepared statements deallocated"),
            Self::ForeignWrite => f.write_str("postgres_fdw, and COMMIT cut off"),
        }
    }
}

/// How many sessions wait for a standby at their COMMIT.
const WAIT_FOR_STANDBYS: &str =
    "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

/// Returns once a COMMIT waits for standbys. The settings say so before it is true: the checkpointer tells the others.
/// Source: PostgreSQL, `SyncRepUpdateSyncStandbysDefined` in `src/backend/replication/syncrep.c`.
async fn until_standbys_are_waited_for(shop: &Shop) -> anyhow::Result<()> {
    let (probe, connection) = tokio_postgres::connect(&shop.url, tokio_postgres::NoTls).await?;
    tokio::spawn(connection);
    loop {
        let waits = async { while shop.ask(WAIT_FOR_STANDBYS).await == 0 {} };
        let writes = probe.batch_execute("UPDATE accounts SET balance = balance WHERE id = 10");
        tokio::pin!(writes);
        tokio::select! {
            written = &mut writes => written?,
            () = waits => {
                // It has committed, and waits for nothing but this.
                probe.cancel_token().cancel_query(tokio_postgres::NoTls).await?;
                writes.await?;
                return Ok(());
            }
        }
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}, {}", self.driver, self.trap, self.policy)
    }
}

impl fmt::Display for Sprung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, end, expected, entries, strays } = self;
        write!(f, "{row}: {end:?}, expected {expected:?}, {entries} entries, {strays} strays")
    }
}
