//! Bind values, for the lock graph. SQLx gives out what it has encoded in one way only: by showing it for debugging.

use sqlx::postgres::PgArguments;
use std::fmt::{self, Write};
use txsafe::driver::BindKey;

/// More than that isn't made, nor read: what tells a row is short, and rarely stands behind what is long.
const MOST_BYTES: usize = 4 * 1024;

/// The value with this number, counted from 0, if it can be found.
pub(crate) fn nth_bind(arguments: &PgArguments, n: usize) -> Option<BindKey> {
    let shown = shown(arguments);
    let types = between(&shown, "types: [", "],")?;
    let ty = types.split(", ").nth(n)?;
    let buffer = between(&shown, "buffer: [", "],")?;
    let mut bytes = buffer.split(", ").map(|byte| byte.parse::<u8>().ok());
    let mut value = Vec::new();
    for _ in 0..=n {
        let length =
            i32::from_be_bytes([bytes.next()??, bytes.next()??, bytes.next()??, bytes.next()??]);
        // NULL has the length -1, and no bytes.
        value = bytes.by_ref().take(usize::try_from(length).unwrap_or(0)).collect::<Option<_>>()?;
    }
    Some(match (ty, value.as_slice()) {
        ("PgTypeInfo(Int2)", &[a, b]) => BindKey::Integer(i16::from_be_bytes([a, b]).into()),
        ("PgTypeInfo(Int4)", &[a, b, c, d]) => {
            BindKey::Integer(i32::from_be_bytes([a, b, c, d]).into())
        }
        ("PgTypeInfo(Int8)", value) => BindKey::Integer(i64::from_be_bytes(value.try_into().ok()?)),
        (_, []) => return None,
        (_, value) => BindKey::Bytes(value.to_vec()),
    })
}

/// As much of it as is short.
fn shown(arguments: &PgArguments) -> String {
    struct Short(String);

    impl Write for Short {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0.push_str(part);
            if self.0.len() > MOST_BYTES { Err(fmt::Error) } else { Ok(()) }
        }
    }

    let mut shown = Short(String::new());
    // Where it was cut, there is an end missing, and nothing is found.
    let _ = write!(shown, "{arguments:?}");
    shown.0
}

fn between<'s>(text: &'s str, start: &str, end: &str) -> Option<&'s str> {
    let (_, rest) = text.split_once(start)?;
    rest.split_once(end).map(|(between, _)| between)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::Arguments;

    #[test]
    fn sqlx_shows_them_so() {
        let mut arguments = PgArguments::default();
        arguments.add("a, ], b").unwrap();
        arguments.add(-7_i16).unwrap();
        arguments.add(None::<i64>).unwrap();
        arguments.add(1_i32 << 30).unwrap();
        arguments.add(i64::MIN).unwrap();
        arguments.add(Vec::<i64>::new()).unwrap();
        arguments.add(9_i64).unwrap();
        let nth = |n| nth_bind(&arguments, n);
        assert_eq!(nth(0), Some(BindKey::Bytes("a, ], b".into())));
        assert_eq!(nth(1), Some(BindKey::Integer(-7)));
        assert_eq!(nth(2), None);
        assert_eq!(nth(3), Some(BindKey::Integer(1 << 30)));
        assert_eq!(nth(4), Some(BindKey::Integer(i64::MIN)));
        assert_eq!(nth(6), Some(BindKey::Integer(9)));
        assert_eq!(nth(7), None);
    }

    #[test]
    fn what_is_long_is_left() {
        let mut arguments = PgArguments::default();
        arguments.add(7_i64).unwrap();
        arguments.add("x".repeat(1 << 20)).unwrap();
        assert!(shown(&arguments).len() < 2 * MOST_BYTES);
        assert_eq!(nth_bind(&arguments, 0), None);
    }
}
