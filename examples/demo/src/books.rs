//! The check of the books: whether what the callers were told is what the database holds.

use std::collections::HashMap;

use diesel::{QueryDsl as _, QueryableByName, dsl::count_star, sql_query, sql_types::BigInt};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};

use crate::{
    error::Error,
    numbers::counted,
    shop::{Shop, ledger, refused},
    tally::Answer,
};

/// What the check found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Books {
    /// Operations reported as done that left no trace.
    pub(crate) lost: u64,
    /// Operations done twice, or done although their callers were told they had failed.
    pub(crate) duplicated: u64,
    /// Sums that are wrong, in words.
    pub(crate) wrong: Vec<String>,
}

impl Books {
    /// All that is wrong, in words; nothing, if the books are exact.
    pub(crate) fn violations(&self) -> Vec<String> {
        let mut violations = self.wrong.clone();
        let operations = |number| counted(number, "operation", "operations");
        if self.lost > 0 {
            violations.push(format!("{} reported as done and lost", operations(self.lost)));
        }
        if self.duplicated > 0 {
            violations.push(format!(
                "{} done twice, or reported as failed and done",
                operations(self.duplicated)
            ));
        }
        violations
    }
}

/// Compares what the callers were told with the ledger, and the ledger with the shop.
pub(crate) async fn check(shop: &Shop, answers: &[(i64, Answer)]) -> Result<Books, Error> {
    const DOING: &str = "check the books";
    let mut conn = shop.connect(DOING).await?;
    let rows: Vec<(i64, i64)> = ledger::table
        .group_by(ledger::operation)
        .select((ledger::operation, count_star()))
        .load(&mut conn)
        .await
        .map_err(refused(DOING))?;
    let mut books = compare(answers, rows.into_iter().collect());
    for sum in SUMS {
        let wrong = count(&mut conn, sum.wrong).await.map_err(refused(DOING))?;
        if wrong != 0 {
            books.wrong.push(format!("{} ({wrong} wrong)", sum.violation));
        }
    }
    Ok(books)
}

/// `rows`: how many rows of the ledger each operation has.
fn compare(answers: &[(i64, Answer)], mut rows: HashMap<i64, i64>) -> Books {
    let mut books = Books::default();
    for (operation, answer) in answers {
        match (answer, rows.remove(operation).unwrap_or(0)) {
            (Answer::Committed, 0) => books.lost += 1,
            (Answer::Failed, 1..) | (Answer::Committed | Answer::Unknown, 2..) => {
                books.duplicated += 1;
            }
            (Answer::Committed | Answer::Failed | Answer::Unknown, _) => {}
        }
    }
    if !rows.is_empty() {
        let strangers = counted(rows.len() as u64, "operation", "operations");
        books.wrong.push(format!("{strangers} in the ledger that nobody asked for"));
    }
    books
}

/// A sum that must be right.
struct Sum {
    /// What is the matter if it isn't.
    violation: &'static str,
    /// How many are wrong.
    wrong: &'static str,
}

const SUMS: &[Sum] = &[
    Sum {
        violation: "money appeared or vanished",
        wrong: "SELECT abs(sum(balance) - 100000 * count(*))::bigint AS wrong FROM accounts",
    },
    Sum {
        violation: "balances differ from what the ledger says was moved",
        wrong: "SELECT count(*) AS wrong FROM accounts a WHERE balance <> 100000
                - (SELECT coalesce(sum(amount), 0) FROM ledger WHERE handler = 'transfer' AND subject = a.id)
                + (SELECT coalesce(sum(amount), 0) FROM ledger WHERE handler = 'transfer' AND object = a.id)",
    },
    Sum {
        violation: "stock and reservations don't add up",
        wrong: "SELECT count(*) AS wrong FROM inventory i WHERE available <> 1000000
                - (SELECT coalesce(sum(quantity), 0) FROM reservations r WHERE r.item = i.item)",
    },
    Sum {
        violation: "reservations differ from what the ledger says was reserved",
        wrong: "SELECT count(*) AS wrong
                FROM (SELECT operation, sum(amount) AS total FROM ledger WHERE handler = 'reserve' GROUP BY 1) l
                FULL JOIN (SELECT operation, sum(quantity) AS total FROM reservations GROUP BY 1) r USING (operation)
                WHERE l.total IS DISTINCT FROM r.total",
    },
    Sum {
        violation: "users and their orders count different shipments",
        wrong: "SELECT count(*) AS wrong FROM users u WHERE shipments <>
                (SELECT sum(shipments) FROM orders o WHERE o.user_id = u.id)",
    },
    Sum {
        violation: "shipments differ from what the ledger says was shipped",
        wrong: "SELECT count(*) AS wrong FROM orders o WHERE shipments <>
                (SELECT count(*) FROM ledger WHERE handler = 'ship order' AND subject = o.id)",
    },
    Sum {
        violation: "orders carry an address that is not their user's",
        wrong: "SELECT count(*) AS wrong FROM orders o JOIN users u ON u.id = o.user_id
                WHERE o.address_version <> u.address_version",
    },
    Sum {
        violation: "addresses differ from what the ledger says was changed",
        wrong: "SELECT count(*) AS wrong FROM users u WHERE address_version <>
                (SELECT count(*) FROM ledger WHERE handler = 'change address' AND subject = u.id)",
    },
    Sum {
        violation: "numbers of incidents have gaps, or were given twice",
        wrong: "SELECT count(*) AS wrong FROM (
                    SELECT number, row_number() OVER (PARTITION BY organization ORDER BY number) AS expected
                    FROM incidents) n
                WHERE number <> expected",
    },
    Sum {
        violation: "organizations count other incidents than they have",
        wrong: "SELECT count(*) AS wrong FROM organizations o WHERE last_incident <>
                (SELECT count(*) FROM incidents i WHERE i.organization = o.id)",
    },
    Sum {
        violation: "incidents differ from what the ledger says was opened",
        wrong: "SELECT count(*) AS wrong
                FROM (SELECT operation, subject, object FROM ledger WHERE handler = 'open incident') l
                FULL JOIN incidents i ON i.operation = l.operation
                    AND i.organization = l.subject AND i.number = l.object
                WHERE i.operation IS NULL OR l.operation IS NULL",
    },
];

#[derive(QueryableByName)]
struct Wrong {
    #[diesel(sql_type = BigInt)]
    wrong: i64,
}

async fn count(conn: &mut AsyncPgConnection, sql: &str) -> diesel::QueryResult<i64> {
    sql_query(sql).get_result::<Wrong>(conn).await.map(|row| row.wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_to_be_wrong_is_found() {
        let answers = [
            (1, Answer::Committed),
            (2, Answer::Committed), // lost
            (3, Answer::Committed), // twice
            (4, Answer::Failed),
            (5, Answer::Failed), // done all the same
            (6, Answer::Unknown),
            (7, Answer::Unknown),
        ];
        let rows = [(1, 1), (3, 2), (5, 1), (7, 1), (8, 1)].into();
        let books = compare(&answers, rows);
        assert_eq!((books.lost, books.duplicated, books.wrong.len()), (1, 2, 1));
        assert_eq!(books.violations().len(), 3);
    }

    #[test]
    fn exact_books_have_no_violations() {
        let answers = [(1, Answer::Committed), (2, Answer::Failed)];
        assert_eq!(compare(&answers, [(1, 1)].into()).violations(), Vec::<String>::new());
    }
}
