//! Which locks transactions hold: the server is asked in their own sessions, and the graph is told.

use super::{message::Message, unit::Request};
use std::collections::HashMap;
use txsafe::{
    LockGraph,
    driver::{HeldTable, LockLog},
};

const HELD_TABLES: &str = include_str!("../../sql/held_tables.sql");
const FLUSH_COUNTERS: &str = include_str!("../../sql/flush_counters.sql");

/// What is known of the locks of one connection.
pub(super) struct LockWatch {
    graph: LockGraph,
    /// The major version of PostgreSQL, once the server has told it.
    major: u32,
    transaction: Option<Transaction>,
    /// For each table, how many rows were counted before the next transaction.
    before: HashMap<String, i64>,
    /// How many looks the server counted at the last look.
    looks: i64,
}

/// The transaction that is open.
struct Transaction {
    /// Tells it from one that follows without a pause, as by COMMIT AND CHAIN.
    start: String,
    log: LockLog,
    /// For each table, how many rows were counted at the last look.
    counted: HashMap<String, i64>,
    /// For each table, how many of them aren't locked by this transaction any more, or never were.
    not_held: HashMap<String, i64>,
}

/// What the lab asks a server, on its own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// Which tables the open transaction holds locks in.
    HeldTables,
    /// What is counted before the next transaction: PostgreSQL 14 can't be told to flush its counters.
    Counters,
    /// No question, but a wish: that counters start at zero in the next transaction.
    FlushCounters,
}

/// What the server has answered.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) rows: Vec<Message>,
    pub(super) error: Option<Message>,
}

impl Question {
    /// As a statement with a name of its own. A simple query would put an end to the client's unnamed statement, which some
    /// drivers prepare in one unit and run in the next.
    pub(super) fn bytes(self) -> Vec<u8> {
        const NAME: &str = "txsafe_lab\0";
        let sql = match self {
            Self::HeldTables | Self::Counters => HELD_TABLES,
            Self::FlushCounters => FLUSH_COUNTERS,
        };
        let messages = [
            // One that was cancelled may have left it.
            (b'C', format!("S{NAME}")),
            (b'P', format!("{NAME}{sql}\0\0\0")),
            // No formats, parameters nor formats of results: these come as texts.
            (b'B', format!("{NAME}{NAME}\0\0\0\0\0\0")),
            // All rows.
            (b'E', format!("{NAME}\0\0\0\0")),
            (b'C', format!("P{NAME}")),
            (b'C', format!("S{NAME}")),
            (b'S', String::new()),
        ];
        messages
            .iter()
            .flat_map(|(kind, body)| Message::new(*kind, body.as_bytes()).bytes)
            .collect()
    }
}

impl LockWatch {
    pub(super) fn new(graph: LockGraph) -> Self {
        Self { graph, major: 0, transaction: None, before: HashMap::new(), looks: 0 }
    }

    /// Takes a ParameterStatus: one of those at the start of a session tells the server's version.
    pub(super) fn hear_setting(&mut self, message: &Message) {
        let body = String::from_utf8_lossy(message.body());
        if let Some(version) = body.strip_prefix("server_version\0") {
            let digits = version.split(|c: char| !c.is_ascii_digit()).next();
            self.major = digits.and_then(|digits| digits.parse().ok()).unwrap_or(0);
        }
    }

    /// What to ask once a request has been answered, and with which status.
    pub(super) fn question(&self, request: &Request, status: Option<u8>) -> Option<Question> {
        /// The first version that can be told to flush its counters.
        const FLUSHES: u32 = 15;
        match status {
            // Where nothing was read yet, the question would take the snapshot that belongs to the first statement, and
            // SET TRANSACTION would come too late. And what runs nothing locks nothing.
            Some(b'T') if request.has_read && !request.sql.is_empty() => Some(Question::HeldTables),
            Some(b'I') if self.major < FLUSHES => Some(Question::Counters),
            Some(b'I') => Some(Question::FlushCounters),
            _ => None,
        }
    }

    /// Takes an answer, and what had been run before the question.
    pub(super) fn hear(&mut self, question: Question, sql: &str, answer: &Answer) {
        let rows = answer.rows.iter().filter_map(Row::of).collect::<Vec<_>>();
        match question {
            Question::HeldTables => self.look(sql, &rows),
            Question::Counters | Question::FlushCounters => self.between_transactions(&rows),
        }
    }

    fn between_transactions(&mut self, rows: &[Row]) {
        self.transaction = None;
        self.before = counted(rows);
        self.looks = rows.first().map_or(0, |row| row.looks);
    }

    fn look(&mut self, sql: &str, rows: &[Row]) {
        if let Some(row) = rows.first() {
            // Each look counts one more, unless the counters were flushed since.
            if row.looks <= self.looks {
                self.before.clear();
            }
            self.looks = row.looks;
            if let Some(ended) =
                self.transaction.take_if(|open| open.start != row.transaction_start)
            {
                self.before = ended.counted;
            }
            self.transaction.get_or_insert_with(|| Transaction {
                start: row.transaction_start.clone(),
                log: self.graph.watch(name_of(&row.application_name)),
                counted: HashMap::new(),
                not_held: std::mem::take(&mut self.before),
            });
        }
        if let Some(transaction) = &mut self.transaction {
            transaction.look(sql, rows);
        }
    }
}

impl Transaction {
    fn look(&mut self, sql: &str, rows: &[Row]) {
        for row in rows {
            if !row.may_be_written {
                self.not_held.insert(row.table.clone(), row.counted);
            }
        }
        self.counted = counted(rows);
        let is_written = |row: &Row| {
            let not_held = self.not_held.get(&row.table).copied().unwrap_or_default();
            row.may_be_written && row.counted > not_held
        };
        // Rows that were written behind a lock on them weren't waited for either.
        let waits = !is_impatient(sql);
        let held = rows.iter().filter(|row| row.is_locked || is_written(row));
        let tables = held.map(|row| HeldTable::new(&row.table, waits || !row.is_locked));
        self.log.holds(sql.trim(), &tables.collect::<Vec<_>>());
    }
}

/// A line of the answer; see `held_tables.sql`.
#[derive(Debug, Clone)]
struct Row {
    table: String,
    is_locked: bool,
    may_be_written: bool,
    counted: i64,
    transaction_start: String,
    application_name: String,
    looks: i64,
}

impl Row {
    fn of(message: &Message) -> Option<Self> {
        let columns: [_; 8] = message.columns().try_into().ok()?;
        let [table, rows, whole, written, counted, start, application, looks] = columns;
        let is = |flag: Option<String>| flag.as_deref() == Some("t");
        Some(Self {
            table: table?,
            is_locked: is(rows) || is(whole),
            may_be_written: is(written),
            counted: counted?.parse().ok()?,
            transaction_start: start?,
            application_name: application.unwrap_or_default(),
            looks: looks?.parse().ok()?,
        })
    }
}

fn counted(rows: &[Row]) -> HashMap<String, i64> {
    rows.iter().map(|row| (row.table.clone(), row.counted)).collect()
}

/// Whether a statement goes past what others have locked.
fn is_impatient(sql: &str) -> bool {
    let words = sql.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|w| !w.is_empty());
    let words: Vec<_> = words.map(str::to_ascii_lowercase).collect();
    words.iter().any(|word| word == "nowait")
        || words.windows(2).any(|two| two == ["skip", "locked"])
}

/// The transaction in `service/transaction`, which is what txsafe says.
fn name_of(application_name: &str) -> &str {
    match application_name.rsplit('/').next() {
        None | Some("") => "without a name",
        Some(name) => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table, `w` if it may be written, `l` if locked, and how many rows are counted.
    type Told<'a> = (&'a str, &'a str, i64);

    fn row(start: &str, (table, flags, counted): Told<'_>) -> Row {
        Row {
            table: table.into(),
            is_locked: flags.contains('l'),
            may_be_written: flags.contains('w'),
            counted,
            transaction_start: start.into(),
            application_name: "shop/ship".into(),
            looks: 1,
        }
    }

    /// The edges that follow from looks: when the transaction began, the statement, and the tables.
    fn edges(looks: &[(&str, &str, &[Told<'_>])]) -> Vec<String> {
        let graph = LockGraph::new();
        let mut watch = LockWatch::new(graph.clone());
        for (start, sql, rows) in looks {
            let rows: Vec<_> = rows.iter().map(|of| row(start, *of)).collect();
            watch.look(sql, &rows);
        }
        graph.assert_no_inversions();
        drawn(&graph)
    }

    fn drawn(graph: &LockGraph) -> Vec<String> {
        let drawn = graph.observed_order().dot();
        let edges = drawn.lines().filter_map(|line| line.trim().split_once(" ["));
        edges.map(|(edge, _)| edge.replace('"', "")).collect()
    }

    #[test]
    fn rows_that_are_only_inserted_are_not_locked() {
        let seen = edges(&[
            ("1", "UPDATE a", &[("a", "w", 1)]),
            ("1", "INSERT b", &[("a", "w", 1), ("b", "w", 0)]),
            ("1", "UPDATE c", &[("a", "w", 1), ("b", "w", 0), ("c", "w", 1)]),
        ]);
        assert_eq!(seen, ["a -> c"]);
    }

    #[test]
    fn what_a_savepoint_gave_back_stays_counted_and_is_not_held() {
        let seen = edges(&[
            ("1", "UPDATE a", &[("a", "w", 1)]),
            ("1", "UPDATE b", &[("a", "w", 1), ("b", "w", 1)]),
            ("1", "ROLLBACK TO", &[("a", "w", 1), ("b", "", 1)]),
            ("1", "INSERT b", &[("a", "w", 1), ("b", "w", 1)]),
            ("1", "UPDATE c", &[("a", "w", 1), ("b", "w", 1), ("c", "w", 1)]),
        ]);
        assert_eq!(seen, ["a -> b", "a -> c"]);
    }

    #[test]
    fn a_chained_transaction_starts_with_nothing() {
        let seen = edges(&[
            ("1", "UPDATE a", &[("a", "w", 1)]),
            ("2", "INSERT a", &[("a", "w", 1)]),
            ("2", "UPDATE b", &[("a", "w", 1), ("b", "w", 1)]),
            ("2", "UPDATE a", &[("a", "w", 2), ("b", "w", 1)]),
        ]);
        assert_eq!(seen, ["b -> a"]);
    }

    /// PostgreSQL 14: `a` and `b` were updated before, and only if the counters were flushed since, now again.
    #[test]
    fn what_was_counted_before_the_transaction_is_not_its_own_unless_it_was_flushed() {
        for (first_look, expected) in [(8, vec![]), (1, vec!["a -> b"])] {
            let graph = LockGraph::new();
            let mut watch = LockWatch::new(graph.clone());
            let at = |looks, told| Row { looks, ..row("1", told) };
            watch.between_transactions(&[at(7, ("a", "", 1)), at(7, ("b", "", 1))]);
            watch.look("a", &[at(first_look, ("a", "w", 1)), at(first_look, ("b", "", 1))]);
            let next = first_look + 1;
            watch.look("b", &[at(next, ("a", "w", 1)), at(next, ("b", "w", 2))]);
            assert_eq!(drawn(&graph), expected, "{first_look}");
        }
    }

    #[test]
    fn what_is_skipped_is_not_waited_for() {
        let seen = edges(&[
            ("1", "UPDATE a", &[("a", "w", 1)]),
            ("1", "SELECT … FOR UPDATE  skip\nLocked", &[("a", "w", 1), ("b", "l", 0)]),
            ("1", "UPDATE c", &[("a", "w", 1), ("b", "l", 0), ("c", "w", 1)]),
        ]);
        assert_eq!(seen, ["a -> c", "b -> c"]);
    }

    #[test]
    fn a_transaction_is_named_as_the_application_says() {
        assert_eq!(name_of("shop/ship"), "ship");
        assert_eq!(name_of("psql"), "psql");
        assert_eq!(name_of(""), "without a name");
    }

    #[test]
    fn nothing_is_asked_before_the_first_statement_or_in_a_failed_transaction() {
        let request =
            |sql: &str, has_read| Request { sql: sql.into(), has_read, ..Request::default() };
        let watch = LockWatch::new(LockGraph::new());
        let read = request("SELECT 1", true);
        assert_eq!(watch.question(&read, Some(b'T')), Some(Question::HeldTables));
        assert_eq!(watch.question(&read, Some(b'E')), None);
        assert_eq!(watch.question(&request("BEGIN", false), Some(b'T')), None);
        assert_eq!(watch.question(&request("", true), Some(b'T')), None);
    }

    #[test]
    fn counters_are_flushed_by_servers_that_can_and_else_read() {
        let mut watch = LockWatch::new(LockGraph::new());
        for (name, value, expected) in [
            ("server_version", "14.23", Question::Counters),
            ("server_version", "15.18 (Debian 15.18-0+deb12u1)", Question::FlushCounters),
            ("server_encoding", "UTF8", Question::FlushCounters),
            ("server_version", "19beta1", Question::FlushCounters),
        ] {
            watch.hear_setting(&Message::new(b'S', format!("{name}\0{value}\0").as_bytes()));
            let asked = watch.question(&Request::default(), Some(b'I'));
            assert_eq!(asked, Some(expected), "{name} {value}");
        }
    }
}
