//! The schema of txsafe's own tables, where it isn't left to the search path.

use crate::invalid::InvalidSetting;
use std::{borrow::Cow, sync::Arc};

/// Whatever txsafe keeps in the application's database.
const TABLES: [&str; 3] = ["txsafe_idempotency_keys", "txsafe_outbox", "txsafe_sequences"];

/// The longest name of a schema, in bytes. Source: PostgreSQL manual, section 4.1.1, `NAMEDATALEN`.
const LONGEST: usize = 63;

/// A schema, as it is written in SQL: quoted, with the dot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OwnSchema(Arc<str>);

impl OwnSchema {
    /// The schema of this name.
    ///
    /// # Errors
    /// Names the setting, its value and the cure.
    pub(crate) fn new(name: &str) -> Result<Self, InvalidSetting> {
        let invalid = |cure| Err(InvalidSetting::new("own_schema", format!("{name:?}"), cure));
        if name.is_empty() {
            return invalid("name the schema, or don't set it");
        }
        if name.len() > LONGEST {
            return invalid("the longest name of a schema is 63 bytes");
        }
        // Some statements have it inside a literal.
        if name.contains(['"', '\'', '\\']) || name.chars().any(char::is_control) {
            return invalid(
                "take a schema whose name has no quotes, backslashes or control characters",
            );
        }
        Ok(Self(format!("\"{name}\".").into()))
    }
}

/// This SQL, with each of txsafe's own tables in this schema.
pub(crate) fn in_schema<'s>(
    sql: impl Into<Cow<'s, str>>,
    schema: Option<&OwnSchema>,
) -> Cow<'s, str> {
    let sql = sql.into();
    let Some(OwnSchema(schema)) = schema else { return sql };
    TABLES.into_iter().fold(sql, |sql, table| {
        if sql.contains(table) {
            sql.replace(table, &format!("{schema}{table}")).into()
        } else {
            sql
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_own_table_gets_the_schema_and_nothing_else_does() {
        let ops = OwnSchema::new("Ops 1").unwrap();
        let sql = "SELECT 'txsafe_outbox'::regclass FROM txsafe_outbox JOIN jobs ON true";
        let expected = "SELECT '\"Ops 1\".txsafe_outbox'::regclass FROM \"Ops 1\".txsafe_outbox JOIN jobs ON true";
        assert_eq!(in_schema(sql, Some(&ops)), expected);
        assert_eq!(in_schema(sql, None), sql);
        assert_eq!(in_schema("SELECT 1", Some(&ops)), "SELECT 1");
    }

    #[test]
    fn names_that_cannot_be_meant_are_refused() {
        for (name, cure) in
            [("", "name the schema"), ("it's", "no quotes"), (&"s".repeat(64), "63 bytes")]
        {
            let error = OwnSchema::new(name).unwrap_err().to_string();
            assert!(error.contains("own_schema") && error.contains(cure), "{error}");
        }
    }
}
