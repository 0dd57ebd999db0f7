//! Texts of others inside SQL.

/// A string literal that is safe whatever `standard_conforming_strings` is.
/// Source: PostgreSQL manual, section 4.1.2.2, "String Constants with C-Style Escapes".
pub(crate) fn push_literal(sql: &mut String, text: &str) {
    if text.contains('\\') {
        sql.push('E');
    }
    sql.push('\'');
    for c in text.chars() {
        if matches!(c, '\'' | '\\') {
            sql.push(c);
        }
        sql.push(c);
    }
    sql.push('\'');
}
