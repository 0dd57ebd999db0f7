//! Keys, which sort alike in Rust and in SQL.

use std::fmt::{Debug, Write};

/// A key of rows. Keys are locked in ascending order, so Rust and PostgreSQL must agree on it: integers, text by its
/// bytes (`COLLATE "C"`), bytes and UUIDs.
///
/// It is sealed: for a type of your own, declare the rank with the type that is inside.
pub trait LockKey: Ord + Clone + Debug + Send + Sync + 'static + sealed::Sealed {
    /// Its type in SQL.
    const SQL_TYPE: &'static str;
    /// What makes `ORDER BY` agree with [`Ord`].
    const COLLATE: &'static str = "";

    /// Writes the key as an element of an array literal.
    /// Source: PostgreSQL manual, section 8.15.2, "Array Value Input".
    #[doc(hidden)]
    fn write_element(&self, array: &mut String);

    /// For comparing keys of one rank where their type isn't known any more: bytes that sort as the keys do.
    #[doc(hidden)]
    fn to_sortable(&self) -> Vec<u8>;

    /// For the lock graph: compares as the keys do, as far as their first 8 bytes go.
    #[doc(hidden)]
    fn to_prefix(&self) -> u64 {
        let mut prefix = [0; 8];
        for (to, from) in prefix.iter_mut().zip(self.to_sortable()) {
            *to = from;
        }
        u64::from_be_bytes(prefix)
    }

    /// Its bytes as PostgreSQL sends them, for hashing.
    #[doc(hidden)]
    fn to_sent(&self) -> Vec<u8> {
        self.to_sortable()
    }

    /// The key itself, where it fits beside a namespace into 64 bits.
    #[doc(hidden)]
    fn to_narrow(&self) -> Option<i32> {
        None
    }
}

mod sealed {
    pub trait Sealed {}
}

macro_rules! integers {
    ($($integer:ty, $sql:literal, $narrow:expr;)*) => {$(
        impl sealed::Sealed for $integer {}

        impl LockKey for $integer {
            const SQL_TYPE: &'static str = $sql;

            fn write_element(&self, array: &mut String) {
                // Writing to a String can't fail.
                let _ = write!(array, "{self}");
            }

            fn to_sortable(&self) -> Vec<u8> {
                // Two's complement sorts as bytes once its sign is turned over.
                (self ^ <$integer>::MIN).to_be_bytes().to_vec()
            }

            fn to_prefix(&self) -> u64 {
                (i64::from(*self) ^ i64::MIN).cast_unsigned()
            }

            fn to_sent(&self) -> Vec<u8> {
                self.to_be_bytes().to_vec()
            }

            fn to_narrow(&self) -> Option<i32> {
                let narrow: fn($integer) -> Option<i32> = $narrow;
                narrow(*self)
            }
        }
    )*};
}

integers! {
    i16, "smallint", |key| Some(key.into());
    i32, "integer", Some;
    i64, "bigint", |_| None;
}

impl sealed::Sealed for String {}

impl LockKey for String {
    const SQL_TYPE: &'static str = "text";
    const COLLATE: &'static str = " COLLATE \"C\"";

    fn write_element(&self, array: &mut String) {
        array.push('"');
        for c in self.chars() {
            if matches!(c, '"' | '\\') {
                array.push('\\');
            }
            array.push(c);
        }
        array.push('"');
    }

    fn to_sortable(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

impl sealed::Sealed for Vec<u8> {}

impl LockKey for Vec<u8> {
    const SQL_TYPE: &'static str = "bytea";

    fn write_element(&self, array: &mut String) {
        array.push_str("\"\\\\x");
        for byte in self {
            let _ = write!(array, "{byte:02x}");
        }
        array.push('"');
    }

    fn to_sortable(&self) -> Vec<u8> {
        self.clone()
    }
}

#[cfg(feature = "uuid")]
impl sealed::Sealed for uuid::Uuid {}

#[cfg(feature = "uuid")]
impl LockKey for uuid::Uuid {
    const SQL_TYPE: &'static str = "uuid";

    fn write_element(&self, array: &mut String) {
        let _ = write!(array, "{self}");
    }

    fn to_sortable(&self) -> Vec<u8> {
        self.as_bytes().to_vec()
    }
}

/// Keys as an array literal.
pub(crate) fn array<K: LockKey>(keys: &[K]) -> String {
    let mut array = String::from("{");
    for (i, key) in keys.iter().enumerate() {
        if i > 0 {
            array.push(',');
        }
        key.write_element(&mut array);
    }
    array.push('}');
    array
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_sort_as_keys_do() {
        fn check<K: LockKey>(mut keys: Vec<K>) {
            keys.sort();
            let sortable: Vec<_> = keys.iter().map(K::to_sortable).collect();
            assert!(sortable.is_sorted(), "{keys:?}");
        }
        check(vec![i16::MAX, -1, 0, 1, i16::MIN]);
        check(vec![i32::MAX, -1, 0, 1, i32::MIN]);
        check(vec![i64::MAX, -1, 0, 1, i64::MIN]);
        check(["b", "a", "é", "Z", "", "a b"].map(String::from).to_vec());
        check(vec![vec![255], vec![], vec![0, 1], vec![0]]);
        #[cfg(feature = "uuid")]
        check([u128::MAX, 0, 1, 1 << 64].map(uuid::Uuid::from_u128).to_vec());
    }

    #[test]
    fn no_key_leaves_its_element() {
        let keys = ["plain", "a,b", "}", "\"", "\\", "NULL", ""].map(String::from);
        assert_eq!(array(&keys), r#"{"plain","a,b","}","\"","\\","NULL",""}"#);
        assert_eq!(array(&[vec![0u8, 255], vec![]]), r#"{"\\x00ff","\\x"}"#);
        assert_eq!(array(&[-1i64, i64::MIN]), "{-1,-9223372036854775808}");
        #[cfg(feature = "uuid")]
        assert_eq!(array(&[uuid::Uuid::nil()]), "{00000000-0000-0000-0000-000000000000}");
    }
}
