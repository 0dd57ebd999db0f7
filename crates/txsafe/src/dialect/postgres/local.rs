//! The SQL that makes the application's own settings on PostgreSQL.

use super::literal::push_literal;
use crate::dialect::local::{LocalSettings, LocalSql};
use std::fmt::Write;

/// The role comes last: it may have fewer rights than the session. The question has binds, so that its text is one for all values.
pub(super) fn set_local(local: &LocalSettings) -> LocalSql {
    let LocalSettings { settings, search_path, role } = local;
    let (mut with_begin, mut binds) = (String::new(), Vec::new());
    for (name, value) in settings {
        // Words that SQL reserves are fine as parts of a name that is quoted.
        let quoted_name = name.split('.').map(quoted).collect::<Vec<_>>().join(".");
        for part in ["; SET LOCAL ", &quoted_name, " = "] {
            with_begin.push_str(part);
        }
        push_literal(&mut with_begin, value);
        binds.extend([name.clone(), value.clone()]);
    }
    if let Some(schemas) = search_path {
        let schemas = schemas.iter().map(|schema| quoted(schema)).collect::<Vec<_>>().join(", ");
        with_begin.push_str("; SET LOCAL search_path = ");
        with_begin.push_str(&schemas);
        binds.extend(["search_path".to_owned(), schemas]);
    }
    if let Some(role) = role {
        with_begin.push_str("; SET LOCAL ROLE ");
        with_begin.push_str(&quoted(role));
        binds.extend(["role".to_owned(), role.clone()]);
    }
    let mut question = String::from("SELECT concat(''");
    for n in (1..=binds.len()).step_by(2) {
        // Writing to a String can't fail.
        let _ = write!(question, ", set_config(${n}, ${}, true)", n + 1);
    }
    question.push_str(") AS answer");
    LocalSql { with_begin, question, binds }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cannot_leave_their_literal() {
        let local = LocalSettings {
            settings: vec![("app.user".into(), "7'; DROP TABLE t; -- $1 \\".into())],
            search_path: Some(vec!["tenant\"7".into(), "public".into()]),
            role: Some("o'brien".into()),
        };
        let LocalSql { with_begin, question, binds } = set_local(&local);
        assert_eq!(
            with_begin,
            "; SET LOCAL \"app\".\"user\" = E'7''; DROP TABLE t; -- $1 \\\\'\
             ; SET LOCAL search_path = \"tenant\"\"7\", \"public\"\
             ; SET LOCAL ROLE \"o'brien\""
        );
        assert_eq!(
            question,
            "SELECT concat('', set_config($1, $2, true), set_config($3, $4, true), \
             set_config($5, $6, true)) AS answer"
        );
        assert_eq!(binds[2..], ["search_path", "\"tenant\"\"7\", \"public\"", "role", "o'brien"]);
    }
}
