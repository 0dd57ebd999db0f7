//! Which transactions and which other code held the connections of a pool when none came free.

use super::words::shortened;
use std::{fmt, panic::Location, sync::Arc, time::Duration};

/// So many transactions are named, those that have held a connection for longest, and so many takers.
pub(crate) const MOST_NAMED: usize = 5;

/// Longer SQL is cut here, in bytes.
const SQL_BYTES: usize = 200;

/// What held the connections of a pool when none came free in time, as far as txsafe knows.
///
/// The transactions of the database are known by name. How many connections other code holds follows from the state of the
/// pool: those that are in use and in none of these transactions.
///
/// # Examples
/// ```
/// # async fn starved(db: txsafe::Database<impl txsafe::driver::AsyncDriver>) {
/// let result = db.transaction("order", async |_tx| Ok::<_, txsafe::Error>(())).await;
/// let failure = result.as_ref().err().and_then(txsafe::Error::failure);
/// if let Some(holders) = failure.and_then(txsafe::Failure::holders) {
///     for transaction in holders.transactions() {
///         eprintln!("{} since {:?}", transaction.name(), transaction.age());
///     }
///     eprintln!("{} connections were taken from the pool by other code", holders.outside());
/// }
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Holders {
    transactions: Vec<RunningTransaction>,
    left_out: usize,
    outside: usize,
    takers: Vec<Taker>,
    /// Some of those outside may be in the hands of attempts that wait: being opened, or asked whether they are alive.
    may_be_in_flight: bool,
}

/// A transaction that runs, at the moment when it was looked at.
///
/// It displays what is known in one line: its name and place, how long it has held its connection, and what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunningTransaction {
    name: Arc<str>,
    place: &'static Location<'static>,
    age: Duration,
    is_on_held: bool,
    doing: Doing,
}

/// What a transaction does with its connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Doing {
    /// It waits for BEGIN, and for what precedes its closure.
    Begins(Duration),
    /// A statement runs; which one, where the driver says.
    Runs(Option<String>, Duration),
    /// It has sent nothing for so long, since this statement.
    Idles(Duration, Option<String>),
    /// It waits for COMMIT or ROLLBACK.
    Ends(Duration),
    /// It asks what became of a COMMIT whose answer was lost.
    Verifies(Duration),
    /// Its connection is lent, or says nothing.
    Unknown,
}

/// Code outside of transactions that took a connection from the pool, and held it when the time was up.
///
/// It displays when the connection was taken, whether by the code that waits, by another task or by another thread, and in which
/// span: ``taken 30.1s ago by another task, in span `rename` (src/users.rs:17)``.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taker {
    pub(crate) age: Duration,
    pub(crate) taken_by: String,
}

impl Holders {
    /// Of these transactions some are left out, and so many connections are held outside of all of them.
    pub(crate) fn new(
        transactions: Vec<RunningTransaction>,
        left_out: usize,
        outside: usize,
        takers: Vec<Taker>,
        may_be_in_flight: bool,
    ) -> Self {
        Self { transactions, left_out, outside, takers, may_be_in_flight }
    }

    /// The transactions of this database that had held a connection for longest, at most five of them, the oldest first. One
    /// that runs on a connection that its caller holds (`transaction_on`) is among them.
    #[must_use]
    pub fn transactions(&self) -> &[RunningTransaction] {
        &self.transactions
    }

    /// How many more transactions held a connection than [`transactions`](Self::transactions) names.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// How many connections of the pool were in use outside of the transactions of this database, each of them
    ///
    /// - taken from the pool directly, be it for `transaction_on`;
    /// - of another [`Database`](crate::Database) over the same pool;
    /// - reserved for an attempt at a transaction: the pool still checks whether it is alive or, on SQLx, opens it;
    /// - or, on SQLx, on its way back to the pool.
    #[must_use]
    pub fn outside(&self) -> usize {
        self.outside
    }

    /// The code outside of transactions that held a connection, the longest first, at most five of them.
    ///
    /// Empty where the pool's hooks don't report which connection is taken (SQLx, and pools that were made without txsafe's hooks);
    /// before a transaction of this database has got a connection from its pool (over deadpool); and where the numbers of the
    /// pool leave a doubt: deadpool doesn't report a connection that comes back.
    #[must_use]
    pub fn takers(&self) -> &[Taker] {
        &self.takers
    }

    /// What to do about it.
    fn cure(&self) -> &'static str {
        match (self.outside, self.transactions.is_empty()) {
            (0, _) => {
                "make transactions shorter, don't take a second connection inside one, or enlarge the pool"
            }
            (_, true) => {
                "a handler that holds a connection must drop it before it calls `transaction`, or run the transaction on it, by \
                 `transaction_on`"
            }
            (_, false) => {
                "a handler that holds a connection must drop it before it calls `transaction`, or run the transaction on it, by \
                 `transaction_on`; else make transactions shorter, or enlarge the pool"
            }
        }
    }
}

impl RunningTransaction {
    /// What was seen of it.
    pub(crate) fn new(
        name: Arc<str>,
        place: &'static Location<'static>,
        age: Duration,
        is_on_held: bool,
        doing: Doing,
    ) -> Self {
        let doing = match doing {
            Doing::Runs(sql, since) => Doing::Runs(sql.map(short), since),
            Doing::Idles(since, sql) => Doing::Idles(since, sql.map(short)),
            doing => doing,
        };
        Self { name, place, age, is_on_held, doing }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it was called.
    #[must_use]
    pub fn place(&self) -> &'static Location<'static> {
        self.place
    }

    /// For how long this attempt of it has had its connection.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.age
    }

    /// The statement that runs, cut at 200 bytes and without bind values. `None` while none runs, and where the driver doesn't
    /// say which one it is.
    #[must_use]
    pub fn statement(&self) -> Option<&str> {
        match &self.doing {
            Doing::Runs(sql, _) => sql.as_deref(),
            _ => None,
        }
    }

    /// For how long it has sent nothing to its database, while its code did something else. `None` while a statement runs,
    /// BEGIN, COMMIT and ROLLBACK included.
    #[must_use]
    pub fn idle(&self) -> Option<Duration> {
        match &self.doing {
            Doing::Idles(since, _) => Some(*since),
            _ => None,
        }
    }
}

impl Taker {
    /// For how long it had held the connection.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.age
    }
}

impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for transaction in &self.transactions {
            write!(f, "transaction {transaction}; ")?;
        }
        match self.left_out {
            0 => {}
            1 => f.write_str("1 more transaction holds a connection; ")?,
            n => write!(f, "{n} more transactions hold a connection each; ")?,
        }
        match (self.outside, self.may_be_in_flight) {
            (0, _) => {}
            (1, false) => f.write_str("1 connection is held by code outside of transactions")?,
            (n, false) => write!(f, "{n} connections are held by code outside of transactions")?,
            (1, true) => f.write_str(
                "1 connection is held by code outside of transactions, or is being opened or checked for a transaction",
            )?,
            (n, true) => write!(
                f,
                "{n} connections are held by code outside of transactions, or are being opened or checked for transactions"
            )?,
        }
        for (n, taker) in self.takers.iter().enumerate() {
            write!(f, "{}{taker}", if n == 0 { ": " } else { "; " })?;
        }
        if self.outside > 0 {
            f.write_str("; ")?;
        }
        f.write_str(self.cure())?;
        if self.may_be_in_flight {
            f.write_str("; if no code holds one, check that the server is up and answers")?;
        }
        Ok(())
    }
}

impl fmt::Display for RunningTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, place, age, is_on_held, doing } = self;
        let connection = if *is_on_held { "its caller's connection" } else { "a connection" };
        write!(f, "\"{name}\" ({place}) has held {connection} for {age:.1?}")?;
        match doing {
            Doing::Begins(since) => write!(f, " and has waited {since:.1?} for BEGIN"),
            Doing::Runs(Some(sql), since) => write!(f, " and has run `{sql}` for {since:.1?}"),
            Doing::Runs(None, since) => write!(f, " and has run a statement for {since:.1?}"),
            Doing::Idles(since, Some(sql)) => {
                write!(f, " and has been idle for {since:.1?}, since `{sql}`")
            }
            Doing::Idles(since, None) => {
                write!(f, " and has been idle for {since:.1?}, since BEGIN")
            }
            Doing::Ends(since) => write!(f, " and has waited {since:.1?} for COMMIT or ROLLBACK"),
            Doing::Verifies(since) => {
                write!(f, " and has asked for {since:.1?} whether its COMMIT took effect")
            }
            Doing::Unknown => Ok(()),
        }
    }
}

impl fmt::Display for Taker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { age, taken_by } = self;
        write!(f, "taken {age:.1?} ago {taken_by}")
    }
}

fn short(sql: String) -> String {
    shortened(sql, SQL_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn running(is_on_held: bool, doing: Doing) -> RunningTransaction {
        let place = Location::caller();
        RunningTransaction::new("pay".into(), place, 2 * SECOND, is_on_held, doing)
    }

    #[test]
    fn what_a_transaction_does_reads_as_a_sentence() {
        let sql = || Some("SELECT 1".to_owned());
        for (doing, end) in [
            (Doing::Begins(SECOND), " and has waited 1.0s for BEGIN"),
            (Doing::Runs(sql(), SECOND), " and has run `SELECT 1` for 1.0s"),
            (Doing::Runs(None, SECOND), " and has run a statement for 1.0s"),
            (Doing::Idles(SECOND, sql()), " and has been idle for 1.0s, since `SELECT 1`"),
            (Doing::Idles(SECOND, None), " and has been idle for 1.0s, since BEGIN"),
            (Doing::Ends(SECOND), " and has waited 1.0s for COMMIT or ROLLBACK"),
            (Doing::Verifies(SECOND), " and has asked for 1.0s whether its COMMIT took effect"),
            (Doing::Unknown, ""),
        ] {
            let transaction = running(false, doing);
            let place = transaction.place();
            let expected = format!("\"pay\" ({place}) has held a connection for 2.0s{end}");
            assert_eq!(transaction.to_string(), expected);
        }
        let lent = running(true, Doing::Unknown).to_string();
        assert!(lent.ends_with(" has held its caller's connection for 2.0s"), "{lent}");
    }

    #[test]
    fn what_holds_the_connections_reads_as_sentences() {
        let transaction = running(false, Doing::Ends(SECOND));
        let named = format!("transaction {transaction}; ");
        let transactions = || vec![transaction.clone()];
        let taker = |by: &str| Taker { age: SECOND, taken_by: by.into() };
        let shorter = "make transactions shorter, don't take a second connection inside one, or enlarge the pool";
        let drop_it = "a handler that holds a connection must drop it before it calls `transaction`, or run the transaction on \
                       it, by `transaction_on`";
        let takers =
            || vec![taker("by the code that waits"), taker("by another task, in span `x`")];
        for (holders, text) in [
            (Holders::new(transactions(), 0, 0, vec![], false), format!("{named}{shorter}")),
            (
                Holders::new(transactions(), 1, 0, vec![], false),
                format!("{named}1 more transaction holds a connection; {shorter}"),
            ),
            (
                Holders::new(transactions(), 2, 1, vec![], false),
                format!(
                    "{named}2 more transactions hold a connection each; 1 connection is held by code outside of transactions; \
                     {drop_it}; else make transactions shorter, or enlarge the pool"
                ),
            ),
            (
                Holders::new(vec![], 0, 2, takers(), false),
                format!(
                    "2 connections are held by code outside of transactions: taken 1.0s ago by the code that waits; taken 1.0s \
                     ago by another task, in span `x`; {drop_it}"
                ),
            ),
            (
                Holders::new(vec![], 0, 3, vec![], true),
                format!(
                    "3 connections are held by code outside of transactions, or are being opened or checked for transactions; \
                     {drop_it}; if no code holds one, check that the server is up and answers"
                ),
            ),
        ] {
            assert_eq!(holders.to_string(), text);
        }
    }
}
