//! The statements of the outbox. All clocks are the server's, all identities `(topic, key)`, and whatever ends a delivery
//! names its lease: who has lost that changes nothing.

use super::{claim::Claim, delivery::Delivery, mark::Ended, new_message::NewMessage};
use crate::{
    dialect::{
        isolation::Isolation,
        own_schema::{OwnSchema, in_schema},
        words::cut,
    },
    locks::key,
    transaction::options::TxOptions,
};
use std::{borrow::Cow, sync::Arc, time::Duration};

/// The longest error text that is kept, in bytes.
const LONGEST_ERROR: usize = 1_000;

/// A statement with its bind values, all `text`, whose rows have one column `answer` of type `text[]`, without NULLs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    transaction: &'static str,
    sql: Cow<'static, str>,
    binds: Vec<String>,
}

/// The leases that a statement is about, in its first arrays. Others give more of each.
macro_rules! given {
    () => {
        given!("$1::text::text[], $2::text::text[], $3::text::text[]", "")
    };
    (error) => {
        given!("$1::text::text[], $2::text::text[], $3::text::text[], $4::text::text[]", ", error")
    };
    (pause, error) => {
        given!(
            "$1::text::text[], $2::text::text[], $3::text::text[], $4::text::text[], $5::text::text[]",
            ", pause, error"
        )
    };
    ($arrays:literal, $more:literal) => {
        concat!(
            "unnest(",
            $arrays,
            ") AS given (topic, key, lease",
            $more,
            ") JOIN txsafe_outbox AS message ON message.topic = given.topic AND message.key = given.key \
             AND message.lease = given.lease::uuid"
        )
    };
}

/// Changes the messages that are still under these leases, and answers what became of each lease; of one that is lost,
/// nothing. See [`Changed`](super::changed::Changed).
///
/// The rows are locked first, because what another transaction has locked can be skipped only there; and because there
/// alone `again_at` is that of the version that is locked: a change that looked for it by itself would pass over a row that
/// was written again since the statement's snapshot.
macro_rules! change {
    ($changes:expr $(, $more:ident)*) => {
        concat!(
            "WITH mine AS MATERIALIZED (SELECT given.*, message.again_at FROM ",
            given!($($more),*),
            " FOR UPDATE OF message SKIP LOCKED), ",
            $changes,
            " SELECT ARRAY[given.lease, CASE WHEN mine.lease IS NULL THEN 'locked' \
             WHEN mine.again_at IS NULL THEN 'changed' ELSE 'written again' END] AS answer FROM ",
            given!($($more),*),
            " LEFT JOIN mine ON mine.lease = given.lease",
        )
    };
}

/// The rows that [`change!`] has locked.
macro_rules! mine {
    () => {
        " mine WHERE message.topic = mine.topic AND message.key = mine.key"
    };
}

/// Makes those that were written again under their lease as if they had been written then.
macro_rules! again {
    ($last_error:literal) => {
        concat!(
            "again AS (UPDATE txsafe_outbox AS message SET lease = NULL, again_at = NULL, attempts = 0, \
             due_at = mine.again_at, written_at = least(mine.again_at, clock_timestamp()), last_error = ",
            $last_error,
            " FROM",
            mine!(),
            " AND mine.again_at IS NOT NULL)"
        )
    };
}

/// The rows of an answer.
pub type Rows = Vec<Vec<String>>;

impl Ask {
    /// The name of the transaction that it is, where it is one of its own.
    #[must_use]
    pub fn transaction(&self) -> &'static str {
        self.transaction
    }

    /// The statement.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// The same, on the table in this schema.
    pub(super) fn in_schema(self, schema: Option<&OwnSchema>) -> Self {
        Self { sql: in_schema(self.sql, schema), ..self }
    }

    /// Its bind values.
    #[must_use]
    pub fn binds(&self) -> Vec<&str> {
        self.binds.iter().map(String::as_str).collect()
    }

    /// The options of its transaction: whatever the database presets for the application's own, this one writes, and
    /// `SKIP LOCKED` is for who sees what was committed last.
    #[must_use]
    pub fn options(&self) -> TxOptions {
        TxOptions::new().isolation(Isolation::ReadCommitted).read_only(false).deferrable(false)
    }

    /// Writes a message, or joins it to the one of its key; answers the key and what it did.
    ///
    /// A row that is there is locked until the writer's COMMIT, so that no worker claims it and reads what was before. The
    /// lease, the pause before a retry and the attempts of one that isn't dead stay as they are.
    pub(crate) fn write(message: &NewMessage) -> Self {
        let NewMessage { topic, payload, key, delay } = message;
        let key = key.clone().unwrap_or_default();
        let binds = vec![topic.clone(), key, payload.clone(), interval(*delay)];
        Self::new(
            "outbox_write",
            "INSERT INTO txsafe_outbox AS message (topic, key, payload, due_at) VALUES ($1, \
             coalesce(nullif($2, ''), gen_random_uuid()::text), $3, clock_timestamp() + $4::text::interval) \
             ON CONFLICT (topic, key) DO UPDATE SET payload = excluded.payload, \
             last_write = CASE WHEN message.dead_at IS NULL THEN 'joined' ELSE 'revived' END, \
             written_at = CASE WHEN message.dead_at IS NULL THEN message.written_at ELSE excluded.written_at END, \
             due_at = CASE WHEN message.dead_at IS NOT NULL THEN excluded.due_at \
             WHEN message.attempts = 0 THEN least(message.due_at, excluded.due_at) ELSE message.due_at END, \
             lease = CASE WHEN message.dead_at IS NULL THEN message.lease END, \
             again_at = CASE WHEN message.dead_at IS NULL AND message.lease IS NOT NULL \
             THEN least(message.again_at, excluded.due_at) END, \
             attempts = CASE WHEN message.dead_at IS NULL THEN message.attempts ELSE 0 END, \
             dead_at = NULL RETURNING ARRAY[key, last_write] AS answer",
            binds,
        )
    }

    /// Leases the messages that are due longest.
    ///
    /// They are found in a CTE, because a subquery may be planned to run more than once, and would lock more each time.
    /// Each topic is looked up by itself, so that others, and the dead, are never passed on the way.
    ///
    /// What was written by now is covered by this delivery. Attempts that are used up count anew for a message that was
    /// written again since the last one, which its worker didn't survive: no delivery has covered that.
    pub(crate) fn claim(topics: &[Arc<str>], most: usize, delivery: &Delivery) -> Self {
        Self::new(
            "outbox_claim",
            "WITH due AS MATERIALIZED (SELECT found.topic, found.key \
             FROM unnest($1::text::text[]) AS known (topic) CROSS JOIN LATERAL (\
             SELECT topic, key, due_at FROM txsafe_outbox \
             WHERE topic = known.topic AND dead_at IS NULL AND due_at <= now() \
             ORDER BY due_at LIMIT $2::text::bigint FOR UPDATE SKIP LOCKED) AS found \
             ORDER BY found.due_at LIMIT $2::text::bigint) \
             UPDATE txsafe_outbox AS message SET \
             attempts = CASE WHEN attempts >= $4::text::integer AND again_at IS NOT NULL THEN 1 ELSE attempts + 1 END, \
             lease = gen_random_uuid(), again_at = NULL, due_at = clock_timestamp() + $3::text::interval FROM due \
             WHERE message.topic = due.topic AND message.key = due.key \
             RETURNING ARRAY[message.topic, message.key, message.payload, attempts::text, \
             (extract(epoch FROM clock_timestamp() - written_at) * 1000)::bigint::text, lease::text] AS answer",
            vec![
                array(topics.iter().map(|topic| String::from(&**topic))),
                most.to_string(),
                interval(delivery.lease),
                delivery.max_attempts.to_string(),
            ],
        )
    }

    /// Renews leases.
    pub(super) fn renew(claims: &[&Claim], lease: Duration) -> Self {
        let sql = change!(concat!(
            "renewed AS (UPDATE txsafe_outbox AS message SET due_at = clock_timestamp() + $4::text::interval FROM",
            mine!(),
            ")"
        ));
        Self::under_leases("outbox_renew", sql, claims.iter().copied(), [interval(lease)])
    }

    /// They are delivered; those that were written again meanwhile are to be delivered again.
    pub(super) fn delivered(ended: &[Ended]) -> Self {
        let sql = change!(concat!(
            again!("NULL"),
            ", delivered AS (DELETE FROM txsafe_outbox AS message USING",
            mine!(),
            " AND mine.again_at IS NULL)"
        ));
        Self::mark(sql, ended, [])
    }

    /// They are to be tried again, each after its pause.
    pub(super) fn failed(ended: &[Ended]) -> Self {
        let sql = change!(
            concat!(
                "failed AS (UPDATE txsafe_outbox AS message SET lease = NULL, again_at = NULL, \
                 due_at = clock_timestamp() + mine.pause::interval, last_error = mine.error FROM",
                mine!(),
                ")"
            ),
            pause,
            error
        );
        let pauses = array(ended.iter().map(|ended| interval(ended.pause())));
        Self::mark(sql, ended, [pauses, errors(ended)])
    }

    /// They are given up; those that were written again meanwhile are to be delivered again, because a dead one would have
    /// been revived by that.
    pub(super) fn dead(ended: &[Ended]) -> Self {
        let sql = change!(
            concat!(
                again!("mine.error"),
                ", dead AS (UPDATE txsafe_outbox AS message SET lease = NULL, dead_at = clock_timestamp(), \
                 last_error = mine.error FROM",
                mine!(),
                " AND mine.again_at IS NULL)"
            ),
            error
        );
        Self::mark(sql, ended, [errors(ended)])
    }

    /// They are anybody's, as if they hadn't been claimed.
    pub(super) fn released(ended: &[Ended]) -> Self {
        let sql = change!(concat!(
            "released AS (UPDATE txsafe_outbox AS message SET lease = NULL, again_at = NULL, due_at = clock_timestamp(), \
             attempts = attempts - 1 FROM",
            mine!(),
            ")"
        ));
        Self::mark(sql, ended, [])
    }

    /// How many messages there are, by topic.
    pub(super) fn backlog() -> Self {
        Self::new(
            "outbox_backlog",
            "SELECT ARRAY[topic, \
             count(*) FILTER (WHERE dead_at IS NULL AND NOT (lease IS NOT NULL AND due_at > now()))::text, \
             count(*) FILTER (WHERE dead_at IS NULL AND lease IS NOT NULL AND due_at > now())::text, \
             count(dead_at)::text, \
             greatest(0, extract(epoch FROM now() - min(due_at) FILTER (WHERE dead_at IS NULL)) * 1000)::bigint::text] \
             AS answer FROM txsafe_outbox GROUP BY topic ORDER BY topic",
            vec![],
        )
    }

    /// Those that were given up first.
    pub(super) fn list_dead(topic: &str, most: usize) -> Self {
        Self::new(
            "outbox_dead",
            "SELECT ARRAY[topic, key, payload, attempts::text, \
             (extract(epoch FROM clock_timestamp() - written_at) * 1000)::bigint::text, coalesce(last_error, '')] \
             AS answer FROM txsafe_outbox WHERE topic = $1 AND dead_at IS NOT NULL \
             ORDER BY dead_at LIMIT $2::text::bigint",
            vec![topic.to_owned(), most.to_string()],
        )
    }

    /// A dead one is to be delivered after all.
    pub(super) fn requeue(topic: &str, key: &str) -> Self {
        Self::new(
            "outbox_requeue",
            "UPDATE txsafe_outbox SET dead_at = NULL, attempts = 0, due_at = clock_timestamp() \
             WHERE topic = $1 AND key = $2 AND dead_at IS NOT NULL RETURNING ARRAY[key] AS answer",
            vec![topic.to_owned(), key.to_owned()],
        )
    }

    /// All dead ones of a topic are; answers how many.
    pub(super) fn requeue_all(topic: &str) -> Self {
        Self::new(
            "outbox_requeue",
            "WITH requeued AS (UPDATE txsafe_outbox SET dead_at = NULL, attempts = 0, due_at = clock_timestamp() \
             WHERE topic = $1 AND dead_at IS NOT NULL RETURNING key) \
             SELECT ARRAY[count(*)::text] AS answer FROM requeued",
            vec![topic.to_owned()],
        )
    }

    fn mark<const N: usize>(sql: &'static str, ended: &[Ended], more: [String; N]) -> Self {
        let claims = ended.iter().map(|ended| &ended.claim);
        Self::under_leases("outbox_mark", sql, claims, more)
    }

    /// A statement on messages under these leases.
    fn under_leases<'c, const N: usize>(
        transaction: &'static str,
        sql: &'static str,
        claims: impl Iterator<Item = &'c Claim> + Clone,
        more: [String; N],
    ) -> Self {
        let of = |part: fn(&Claim) -> &str| array(claims.clone().map(|claim| part(claim).into()));
        let mut binds = vec![
            of(|claim| &claim.message.topic),
            of(|claim| &claim.message.key),
            of(|claim| &claim.lease),
        ];
        binds.extend(more);
        Self::new(transaction, sql, binds)
    }

    fn new(transaction: &'static str, sql: &'static str, binds: Vec<String>) -> Self {
        Self { transaction, sql: Cow::Borrowed(sql), binds }
    }
}

/// As PostgreSQL reads it, whatever its version: the number of seconds has 31 bits, and that of others may have as few.
fn interval(duration: Duration) -> String {
    format!("{}.{:06} seconds", duration.as_secs(), duration.subsec_micros())
}

/// As an array literal.
fn array(texts: impl Iterator<Item = String>) -> String {
    key::array(&texts.collect::<Vec<_>>())
}

/// What each failed with, as much of it as is kept.
fn errors(ended: &[Ended]) -> String {
    array(ended.iter().map(|ended| kept(ended.error())))
}

/// As much of an error as is kept.
fn kept(error: &str) -> String {
    cut(error, LONGEST_ERROR).replace('\0', "\u{fffd}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_errors_are_as_postgresql_takes_them() {
        assert_eq!(interval(Duration::from_micros(1_500_007)), "1.500007 seconds");
        assert_eq!(interval(Duration::ZERO), "0.000000 seconds");
        assert_eq!(kept("a\0b"), "a\u{fffd}b");
        assert_eq!(kept(&"é".repeat(600)).len(), 1_000);
    }
}
