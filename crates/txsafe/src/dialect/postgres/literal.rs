//! Texts of others inside SQL.

/// `text` cut to `bytes` on a character boundary.
pub(crate) fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    &text[..end.unwrap_or(0)]
}

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
