//! The fault matrix: every fault of the wire at every place, with every driver, under every policy.
//!
//! Whatever happens, what is said of the transaction is true: one that is reported as committed is in the ledger once,
//! one that is reported as rolled back is not, and unknown is said only where the caller chose to be told so.

use crate::{
    drivers::{Driver, Library},
    policy::{End, Policy, Verdict},
    script::{Script, Step},
    shop::Shop,
};
use std::{fmt, time::Duration};
use txsafe::TxOptions;
use txsafe_testkit::{At, Fault, Lab};

/// Longer than anything takes that isn't lost.
const DEADLINE: Duration = Duration::from_secs(3);

/// After so long an answer is taken for lost.
const LOST_AFTER: Duration = Duration::from_millis(300);

/// A fault at its place, for a driver and a policy.
#[derive(Debug, Clone)]
pub struct Row {
    /// Who meets it.
    pub driver: Driver,
    /// Where it strikes.
    pub at: At,
    /// What strikes.
    pub fault: Fault,
    /// How the caller deals with a lost COMMIT.
    pub policy: Policy,
}

/// How a row came out.
#[derive(Debug, Clone)]
pub struct Played {
    /// The row.
    pub row: Row,
    /// What the caller concluded.
    pub end: End,
    /// What it should have.
    pub expected: End,
    /// Entries in the ledger.
    pub entries: i64,
    /// Whether the fault struck at all.
    pub struck: bool,
}

impl Row {
    /// All rows of a driver.
    #[must_use]
    pub fn all(driver: Driver) -> Vec<Self> {
        let everywhere = [
            Fault::CutBefore,
            Fault::CutRacing,
            Fault::CutAfterApplied,
            Fault::Blackhole,
            Fault::Delay(Duration::from_millis(20)),
            Fault::Fatal("57P01"),
        ];
        let connecting = ["53300", "57P03", "28P01"].map(Fault::Fatal);
        let raised = ["40001", "40P01", "55P03", "25006", "53100", "23505", "57014"];
        let raised = raised.map(Fault::Raise);
        let mut rows = Vec::new();
        for at in [At::Connect, At::Begin, At::Nth(1), At::Nth(2), At::Commit] {
            let special = if at == At::Connect { &connecting[..] } else { &raised[..] };
            for fault in everywhere.iter().chain(special) {
                let row = |policy| Self { driver, at, fault: fault.clone(), policy };
                rows.extend(Policy::ALL.map(row));
            }
        }
        rows
    }

    /// What must happen.
    fn expected(&self) -> End {
        let lost_commit = if self.policy == Policy::Report { End::Unknown } else { End::Committed };
        match (self.at, &self.fault) {
            (At::Connect, Fault::Fatal("28P01")) => End::RolledBack,
            (At::Connect, _) if self.driver.pool_insists() => End::Committed,
            (_, Fault::Raise("40001" | "40P01") | Fault::Delay(_)) => End::Committed,
            // Diesel keeps to itself which function of the server raised it, and `RAISE` looks like the server's own error.
            (_, Fault::Raise("25006")) if self.driver.library() == Library::Diesel => {
                End::Committed
            }
            // A lock timeout, but one that came sooner than a statement could have waited for a lock.
            (At::Begin | At::Commit, Fault::Raise("55P03"))
                if self.driver.library() == Library::Diesel =>
            {
                End::Committed
            }
            (_, Fault::Raise(_)) => End::RolledBack,
            (At::Commit, _) => lost_commit,
            // It ends when the network gives it up, like any other connection that broke.
            (At::Begin | At::Nth(_), Fault::Blackhole) if !self.driver.is_async() => End::Committed,
            // Questions of our own, BEGIN among them where it is one, aren't waited for as long as statements.
            (At::Nth(1), Fault::Blackhole) if self.policy == Policy::Key => End::Committed,
            (At::Begin, Fault::Blackhole)
                if self.policy == Policy::Key || self.driver.awaits_begin() =>
            {
                End::Committed
            }
            // Nothing but the caller's deadline ends the wait for a statement.
            (At::Begin | At::Nth(_), Fault::Blackhole) => End::RolledBack,
            (_, _) => End::Committed,
        }
    }

    fn options(&self) -> TxOptions {
        let is_blackhole = self.fault == Fault::Blackhole;
        // Where the deadline ends the wait, it is waited for.
        let ends_by_deadline = is_blackhole && self.expected() == End::RolledBack;
        TxOptions::new()
            .timeout(if ends_by_deadline { 4 * LOST_AFTER } else { DEADLINE })
            .answer_timeout(if is_blackhole { LOST_AFTER } else { DEADLINE })
            .commit_timeout(if is_blackhole { LOST_AFTER } else { DEADLINE })
            .checkout_timeout(LOST_AFTER)
            // On a busy machine what is raised may come as late as a short lock timeout, and be taken for one.
            .adaptive_lock_timeout(!matches!(self.fault, Fault::Raise("57014" | "55P03")))
            // A BEGIN that fails while statements follow it is a story of its own, told elsewhere.
            .await_begin(matches!((self.at, &self.fault), (At::Begin, Fault::Raise(_))))
    }

    /// Plays the row as operation number `operation`.
    ///
    /// # Errors
    /// If the lab can't stand up.
    pub async fn play(self, shop: &Shop, lab: &Lab, operation: u64) -> anyhow::Result<Played> {
        let session = lab.session().await?;
        let db = shop.database_at(self.driver, session.url(), 4);
        session.inject(self.at, self.fault.clone())?;
        let entry = Step::sql(format!("INSERT INTO ledger VALUES ({operation})"));
        let script = Script::new([Step::Credit(1, 1), entry]);
        let run = self.policy.run(&*db, self.options(), operation, script);
        let answer = if self.fault == Fault::Blackhole && !self.driver.is_async() {
            let network = async {
                while session.waiting() > 0 {
                    tokio::task::yield_now().await;
                }
                session.cut();
            };
            tokio::join!(run, network).0
        } else {
            run.await
        };
        let end = End::of(&answer);
        while shop.busy().await > 0 {}
        let entries = format!("SELECT count(*) FROM ledger WHERE operation = {operation}");
        let entries = shop.ask(&entries).await;
        let struck = session.waiting() == 0;
        Ok(Played { end, expected: self.expected(), entries, struck, row: self })
    }
}

impl Played {
    /// Whether all is as it should be.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.struck && self.end == self.expected && self.end.judge(self.entries) == Verdict::True
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} at {}, {}", self.driver, self.fault, self.at, self.policy)
    }
}

impl fmt::Display for Played {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { row, end, expected, entries, struck } = self;
        write!(f, "{row}: {end:?}, expected {expected:?}, {entries} entries, struck: {struck}")
    }
}
