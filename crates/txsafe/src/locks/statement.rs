//! The statement that locks rows.

use super::{
    key::{self, LockKey},
    mode::Mode,
    rank::{TableRank, Target},
};
use crate::dialect::own_schema::{OwnSchema, in_schema};
use std::borrow::Cow;

/// A statement that locks rows of one rank in ascending order of their keys, and returns them.
///
/// PostgreSQL locks rows above the sort of such a plan, so in the order of the keys, whoever else locks them too.
/// Source: PostgreSQL manual, "SELECT", "The Locking Clause".
///
/// The keys are its one parameter, of type `text`: the text of an array. So each rank and mode has one text, which
/// drivers prepare once, and drivers needn't know the types of keys. It reads, with what stands between chosen by the
/// driver: `SELECT` columns, [`from`](Self::from), the parameter, [`rest`](Self::rest).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockStatement {
    from: String,
    rest: String,
    keys: String,
}

impl LockStatement {
    pub(crate) fn new<R: TableRank, M: Mode>(keys: &[R::Key], skips_locked: bool) -> Self {
        let (table, key) = table_and_key::<R>();
        Self {
            from: format!(" FROM {table} WHERE {key} = ANY (CAST("),
            rest: format!(
                " AS text)::{}[]) ORDER BY {key}{} {}{}",
                R::Key::SQL_TYPE,
                R::Key::COLLATE,
                M::CLAUSE,
                if skips_locked { " SKIP LOCKED" } else { "" },
            ),
            keys: key::array(keys),
        }
    }

    /// What stands between the columns and the parameter.
    #[must_use]
    pub fn from(&self) -> &str {
        &self.from
    }

    /// What stands behind the parameter.
    #[must_use]
    pub fn rest(&self) -> &str {
        &self.rest
    }

    /// The value of the parameter.
    #[must_use]
    pub fn keys(&self) -> &str {
        &self.keys
    }
}

/// A statement that is no query of rows: with one parameter, `$1`, of type `text`, and one column of that type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LockCall {
    sql: Cow<'static, str>,
    parameter: String,
}

impl LockCall {
    pub(crate) fn new(sql: impl Into<Cow<'static, str>>, parameter: String) -> Self {
        Self { sql: sql.into(), parameter }
    }

    /// Locks rows in ascending order of their keys, and reads none of them.
    pub(crate) fn rows<R: TableRank, M: Mode>(keys: &[R::Key]) -> Self {
        let LockStatement { from, rest, keys } = LockStatement::new::<R, M>(keys, false);
        // A query with an aggregate can't lock, so the one within does.
        Self::new(format!("SELECT max('locked') FROM (SELECT 1{from}$1{rest}) AS locked"), keys)
    }

    /// The same, with txsafe's own table in this schema.
    pub(crate) fn in_schema(self, schema: Option<&OwnSchema>) -> Self {
        Self { sql: in_schema(self.sql, schema), ..self }
    }

    /// The statement.
    #[must_use]
    pub fn sql(&self) -> &str {
        &self.sql
    }

    /// The value of the parameter.
    #[must_use]
    pub fn parameter(&self) -> &str {
        &self.parameter
    }
}

fn table_and_key<R: TableRank>() -> (String, String) {
    let Target::Table { name, key } = R::TARGET else {
        unreachable!("`rank!` gives table ranks a table");
    };
    (name.split('.').map(quoted).collect::<Vec<_>>().join("."), quoted(key))
}

/// An identifier as it is written in the catalog, whatever characters it has.
fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::super::mode::{KeyShare, NoKeyUpdate};
    use super::*;

    crate::rank!(Order: table "shop.orders" key "id" as i64);
    crate::rank!(Item: table "items" key "sku" as String);

    #[test]
    fn keys_are_sorted_by_the_server_as_they_are_here() {
        let orders = LockStatement::new::<Order, NoKeyUpdate>(&[1, 2], false);
        assert_eq!(
            format!("SELECT *{}$1{}", orders.from(), orders.rest()),
            "SELECT * FROM \"shop\".\"orders\" WHERE \"id\" = ANY (CAST($1 AS text)::bigint[]) \
             ORDER BY \"id\" FOR NO KEY UPDATE"
        );
        let items = LockStatement::new::<Item, KeyShare>(&["a".into()], true);
        assert!(items.rest().ends_with("\"sku\" COLLATE \"C\" FOR KEY SHARE SKIP LOCKED"));
    }
}
