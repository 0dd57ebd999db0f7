//! Bind values, for the lock graph. SQLx gives out what it has encoded in one way only: by showing it for debugging.

use sqlx::postgres::PgArguments;
use std::fmt::{self, Write};
use txsafe::driver::BindKey;

/// Longer text is neither rendered nor read: a key is short, and the first keys of a list show how it is sorted.
const MOST_BYTES: usize = 16 * 1024;

/// All of them, as [`nth_bind`] reads them.
pub(crate) fn shown(arguments: &PgArguments) -> String {
    struct Short(String);

    impl Write for Short {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            self.0.push_str(part);
            if self.0.len() > MOST_BYTES { Err(fmt::Error) } else { Ok(()) }
        }
    }

    let mut shown = Short(String::new());
    // Where it was cut, values at its end are missing.
    let _ = write!(shown, "{arguments:?}");
    shown.0
}

/// The value with this number, counted from 0, if it can be found.
pub(crate) fn nth_bind(shown: &str, n: usize) -> Option<BindKey> {
    let (types, rest) = shown.split_once("types: [")?.1.split_once("],")?;
    let ty = types.split(", ").nth(n)?;
    let ty = ty.strip_prefix("PgTypeInfo(").and_then(|ty| ty.strip_suffix(')')).unwrap_or(ty);
    let buffer = rest.split_once("buffer: [")?.1;
    // What was cut has no end, and maybe half a number.
    let buffer = match buffer.split_once("],") {
        Some((buffer, _)) => buffer,
        None => buffer.rsplit_once(", ")?.0,
    };
    let mut bytes = buffer.split(", ").map_while(|byte| byte.parse::<u8>().ok());
    let mut value = Vec::new();
    let mut length = 0;
    for _ in 0..=n {
        // NULL has the length -1, and no bytes.
        length = usize::try_from(int4(&mut bytes)?).unwrap_or(0);
        value = bytes.by_ref().take(length).collect();
    }
    match ty.strip_suffix("Array") {
        Some(element) => Some(BindKey::List(elements(element, &mut value.into_iter())?)),
        None if value.len() < length => None,
        None => key(ty, &value),
    }
}

/// What is there of an array's elements. Source: `array_recv` in PostgreSQL's `arrayfuncs.c`.
fn elements(ty: &str, bytes: &mut impl Iterator<Item = u8>) -> Option<Vec<BindKey>> {
    let (dimensions, _flags, _oid) = (int4(bytes)?, int4(bytes)?, int4(bytes)?);
    if dimensions != 1 {
        return (dimensions == 0).then(Vec::new);
    }
    let (many, _lower_bound) = (int4(bytes)?, int4(bytes)?);
    let mut keys = Vec::new();
    for _ in 0..many {
        let Some(length) = int4(bytes) else { break };
        let length = usize::try_from(length).ok()?;
        let value: Vec<_> = bytes.by_ref().take(length).collect();
        if value.len() < length {
            break;
        }
        keys.push(key(ty, &value)?);
    }
    Some(keys)
}

fn key(ty: &str, value: &[u8]) -> Option<BindKey> {
    Some(match (ty, value) {
        ("Int2", &[a, b]) => BindKey::Integer(i16::from_be_bytes([a, b]).into()),
        ("Int4", &[a, b, c, d]) => BindKey::Integer(i32::from_be_bytes([a, b, c, d]).into()),
        ("Int8", value) => BindKey::Integer(i64::from_be_bytes(value.try_into().ok()?)),
        (_, []) => return None,
        (_, value) => BindKey::Bytes(value.to_vec()),
    })
}

fn int4(bytes: &mut impl Iterator<Item = u8>) -> Option<i32> {
    Some(i32::from_be_bytes([bytes.next()?, bytes.next()?, bytes.next()?, bytes.next()?]))
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
        arguments.add(vec![3_i32, -9]).unwrap();
        arguments.add(vec!["b".to_owned(), "a".to_owned()]).unwrap();
        let shown = shown(&arguments);
        let nth = |n| nth_bind(&shown, n);
        assert_eq!(nth(0), Some(BindKey::Bytes("a, ], b".into())));
        assert_eq!(nth(1), Some(BindKey::Integer(-7)));
        assert_eq!(nth(2), None);
        assert_eq!(nth(3), Some(BindKey::Integer(1 << 30)));
        assert_eq!(nth(4), Some(BindKey::Integer(i64::MIN)));
        assert_eq!(nth(5), Some(BindKey::List(Vec::new())));
        assert_eq!(nth(6), Some(BindKey::Integer(9)));
        let list = [3, -9].map(BindKey::Integer);
        assert_eq!(nth(7), Some(BindKey::List(list.into())));
        let list = ["b", "a"].map(|text| BindKey::Bytes(text.into()));
        assert_eq!(nth(8), Some(BindKey::List(list.into())));
        assert_eq!(nth(9), None);
    }

    #[test]
    fn of_what_is_long_the_start_is_read() {
        let mut arguments = PgArguments::default();
        arguments.add(7_i64).unwrap();
        arguments.add((0..100_000).collect::<Vec<i64>>()).unwrap();
        arguments.add("x".repeat(1 << 20)).unwrap();
        let shown = shown(&arguments);
        assert!(shown.len() < 2 * MOST_BYTES);
        assert_eq!(nth_bind(&shown, 0), Some(BindKey::Integer(7)));
        let Some(BindKey::List(list)) = nth_bind(&shown, 1) else { panic!("no list") };
        assert!(list.len() > 100 && list[100] == BindKey::Integer(100), "{}", list.len());
        assert_eq!(nth_bind(&shown, 2), None);
    }
}
