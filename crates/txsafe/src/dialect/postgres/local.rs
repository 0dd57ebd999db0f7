//! Settings of the application's own, as PostgreSQL is told of them.

use super::literal::push_literal;
use crate::dialect::local::{LocalSettings, LocalSql};

/// The role comes last: it may have fewer rights than the session.
pub(super) fn set_local(local: &LocalSettings) -> LocalSql {
    let LocalSettings { settings, search_path, role } = local;
    let mut with_begin = String::new();
    let mut question = String::from("SELECT concat(''");
    let mut ask = |name: &str, value: &str| {
        question.push_str(", set_config('");
        question.push_str(name);
        question.push_str("', ");
        push_bare_literal(&mut question, value);
        question.push_str(", true)");
    };
    for (name, value) in settings {
        for part in ["; SET LOCAL ", name, " = "] {
            with_begin.push_str(part);
        }
        push_literal(&mut with_begin, value);
        ask(name, value);
    }
    if let Some(schemas) = search_path {
        let schemas = schemas.iter().map(|schema| quoted(schema)).collect::<Vec<_>>().join(", ");
        with_begin.push_str("; SET LOCAL search_path = ");
        with_begin.push_str(&schemas);
        ask("search_path", &schemas);
    }
    if let Some(role) = role {
        with_begin.push_str("; SET LOCAL ROLE ");
        with_begin.push_str(&quoted(role));
        ask("role", role);
    }
    question.push_str(") AS answer");
    LocalSql { with_begin, question }
}

/// A literal without the sign that numbers the parameters of a question.
fn push_bare_literal(sql: &mut String, text: &str) {
    let from = sql.len();
    push_literal(sql, text);
    if text.contains('$') {
        let literal = sql.split_off(from);
        // A literal with escapes doubles its backslashes, of which there are none otherwise.
        let literal = literal.strip_prefix('E').unwrap_or(&literal);
        sql.push('E');
        sql.push_str(&literal.replace('$', "\\x24"));
    }
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
            settings: vec![("app.tenant_id".into(), "7'; DROP TABLE t; -- $1 \\".into())],
            search_path: Some(vec!["tenant\"7".into(), "public".into()]),
            role: Some("o'brien".into()),
        };
        let LocalSql { with_begin, question } = set_local(&local);
        assert_eq!(
            with_begin,
            "; SET LOCAL app.tenant_id = E'7''; DROP TABLE t; -- $1 \\\\'\
             ; SET LOCAL search_path = \"tenant\"\"7\", \"public\"\
             ; SET LOCAL ROLE \"o'brien\""
        );
        assert_eq!(
            question,
            "SELECT concat('', set_config('app.tenant_id', E'7''; DROP TABLE t; -- \\x241 \\\\', true), \
             set_config('search_path', '\"tenant\"\"7\", \"public\"', true), \
             set_config('role', 'o''brien', true)) AS answer"
        );
    }
}
