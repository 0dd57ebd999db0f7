//! Who held the connections of a pool when one came free for nobody.

use std::{fmt, panic::Location, sync::Arc, time::Duration};

/// So many transactions are named, those that have held a connection for longest.
pub(crate) const MOST_NAMED: usize = 5;

/// Longer SQL is cut here, in bytes.
const SQL_BYTES: usize = 200;

/// Who held the connections of a pool when none came free in time, as far as txsafe knows.
///
/// Its transactions are known by name. How many connections others have follows from the size of the pool: those that are in
/// use and in none of these transactions.
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
}

/// A transaction that runs, at the moment when it was looked at.
///
/// It displays what is known in one line: its name and place, how long it has had its connection, and what it does.
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
    /// A statement runs; which one, where the driver tells.
    Runs(Option<String>, Duration),
    /// It has sent nothing for so long, since this statement.
    Idles(Duration, Option<String>),
    /// It waits for COMMIT or ROLLBACK.
    Ends(Duration),
    /// Its connection is lent, or tells nothing.
    Unknown,
}

/// Code outside of transactions that has taken a connection from the pool, and holds it.
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
    ) -> Self {
        Self { transactions, left_out, outside, takers }
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

    /// How many connections of the pool were held outside of the transactions of this database: taken from the pool directly,
    /// by another [`Database`](crate::Database) over the same pool, or on their way back.
    #[must_use]
    pub fn outside(&self) -> usize {
        self.outside
    }

    /// Who held connections outside of transactions, the oldest first, at most five of them. Empty where the pool's hooks
    /// don't tell.
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
            Doing::Runs(sql, since) => Doing::Runs(sql.map(shortened), since),
            Doing::Idles(since, sql) => Doing::Idles(since, sql.map(shortened)),
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
    /// tell which one it is.
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
    /// For how long it has had the connection.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.age
    }
}

impl fmt::Display for Holders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for transaction in &self.transactions {
            write!(f, "held by transaction {transaction}; ")?;
        }
        match self.left_out {
            0 => {}
            1 => f.write_str("and by 1 more transaction; ")?,
            n => write!(f, "and by {n} more transactions; ")?,
        }
        match self.outside {
            0 => {}
            1 => f.write_str("1 is held by code outside of transactions")?,
            n => write!(f, "{n} are held by code outside of transactions")?,
        }
        for (n, taker) in self.takers.iter().enumerate() {
            write!(f, "{}{taker}", if n == 0 { ": " } else { ", " })?;
        }
        if self.outside > 0 {
            f.write_str("; ")?;
        }
        f.write_str(self.cure())
    }
}

impl fmt::Display for RunningTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, place, age, is_on_held, doing } = self;
        write!(f, "\"{name}\" ({place}) for {age:.1?}")?;
        if *is_on_held {
            f.write_str(" on its caller's connection")?;
        }
        match doing {
            Doing::Begins(since) => write!(f, ", waiting for BEGIN for {since:.1?}"),
            Doing::Runs(Some(sql), since) => write!(f, ", in `{sql}` for {since:.1?}"),
            Doing::Runs(None, since) => write!(f, ", in a statement for {since:.1?}"),
            Doing::Idles(since, Some(sql)) => write!(f, ", idle for {since:.1?} behind `{sql}`"),
            Doing::Idles(since, None) => write!(f, ", idle for {since:.1?} behind BEGIN"),
            Doing::Ends(since) => write!(f, ", waiting for COMMIT or ROLLBACK for {since:.1?}"),
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

fn shortened(mut sql: String) -> String {
    if sql.len() > SQL_BYTES {
        let end = (0..=SQL_BYTES).rev().find(|&end| sql.is_char_boundary(end)).unwrap_or(0);
        sql.truncate(end);
        sql.push('…');
    }
    sql
}
