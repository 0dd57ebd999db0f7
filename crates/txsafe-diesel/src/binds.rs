//! Bind values, as Diesel shows them behind a statement: ` -- binds: [7, "x", Some(8)]`.

use txsafe::driver::BindKey;

/// The value with this number, counted from 0, if it is one that keys are made of.
pub(crate) fn nth_bind(shown: &str, n: usize) -> Option<BindKey> {
    let list = shown.strip_prefix(" -- binds: [")?.strip_suffix(']')?;
    let value = elements(list).nth(n)?;
    let value =
        value.strip_prefix("Some(").and_then(|value| value.strip_suffix(')')).unwrap_or(value);
    Some(key(value))
}

/// Diesel shows an array in full; its first elements show how it is sorted.
const MOST_ELEMENTS: usize = 64;

fn key(value: &str) -> BindKey {
    if let Ok(number) = value.parse() {
        return BindKey::Integer(number);
    }
    if let Some(list) = value.strip_prefix('[').and_then(|value| value.strip_suffix(']')) {
        let elements = elements(list).filter(|element| !element.is_empty());
        return BindKey::List(elements.take(MOST_ELEMENTS).map(key).collect());
    }
    let text = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    BindKey::Bytes(text.unwrap_or(value).as_bytes().to_vec())
}

/// The SQL of a statement that Diesel shows with its bind values behind it. Messages must not show those unless asked to.
pub(crate) fn without_binds(shown: &str) -> &str {
    shown.split(" -- binds: ").next().unwrap_or_default()
}

/// What stands between commas that are in no string and in no brackets.
fn elements(list: &str) -> impl Iterator<Item = &str> {
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    let elements = list.split(move |c: char| {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            '"' => in_string = !in_string,
            '(' | '[' | '{' if !in_string => depth += 1,
            ')' | ']' | '}' if !in_string => depth = depth.saturating_sub(1),
            ',' => return !in_string && depth == 0,
            _ => {}
        }
        false
    });
    elements.map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_found_among_others() {
        let shown =
            r#" -- binds: [-7, "a, \"b\"]", Some(8), None, [1, 2], Point { x: 1, y: 2 }, 9]"#;
        let nth = |n| nth_bind(shown, n);
        let bytes = |text: &str| Some(BindKey::Bytes(text.into()));
        assert_eq!(nth(0), Some(BindKey::Integer(-7)));
        assert_eq!(nth(1), bytes(r#"a, \"b\"]"#));
        assert_eq!(nth(2), Some(BindKey::Integer(8)));
        assert_eq!(nth(4), Some(BindKey::List([1, 2].map(BindKey::Integer).into())));
        assert_eq!(nth(6), Some(BindKey::Integer(9)));
        assert_eq!(nth(7), None);
        assert_eq!(nth_bind("", 0), None);
        assert_eq!(nth_bind(" -- binds: [[]]", 0), Some(BindKey::List(Vec::new())));
        let list = ["b, c", "a"].map(|text| BindKey::Bytes(text.into()));
        assert_eq!(nth_bind(r#" -- binds: [["b, c", "a"]]"#, 0), Some(BindKey::List(list.into())));
    }

    #[test]
    fn diesel_shows_them_so() {
        let query = diesel::sql_query("UPDATE t SET a = $1 WHERE id = $2")
            .bind::<diesel::sql_types::Text, _>("x")
            .bind::<diesel::sql_types::Integer, _>(7);
        let shown = diesel::debug_query::<diesel::pg::Pg, _>(&query).to_string();
        let binds = shown.strip_prefix("UPDATE t SET a = $1 WHERE id = $2").unwrap();
        assert_eq!(nth_bind(binds, 0), Some(BindKey::Bytes("x".into())));
        assert_eq!(nth_bind(binds, 1), Some(BindKey::Integer(7)));
    }
}
