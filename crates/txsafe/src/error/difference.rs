//! Where the statements of two runs of one closure differ.

use super::trail::Trail;
use std::{collections::BTreeMap, fmt};

/// The first difference between the statements of two runs.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// The statement of this number, in both runs; none in the one that had ended before.
    Statement(usize, Option<String>, Option<String>),
    /// In statements of this many and that many, and in what the trails don't keep of them.
    Unkept(usize, usize),
}

impl Difference {
    /// That between these, if there is one. Bind values aren't compared.
    pub(crate) fn between(first: &Trail, second: &Trail) -> Option<Self> {
        let ((first_count, first_unkept), (second_count, second_unkept)) =
            (first.extent(), second.extent());
        let kept = |trail| Trail::compared(trail).collect::<BTreeMap<_, _>>();
        let (first_kept, second_kept) = (kept(first), kept(second));
        let common = first_count.min(second_count);
        let differs = |number: &usize| {
            let both = first_kept.get(number).zip(second_kept.get(number));
            both.is_some_and(|(first, second)| first != second)
        };
        let sql = |kept: &BTreeMap<_, &str>, number| kept.get(&number).map(ToString::to_string);
        let at = |number| (sql(&first_kept, number), sql(&second_kept, number));
        let unkept = Self::Unkept(first_count, second_count);
        if let Some(number) = (1..=common).find(differs) {
            let (first, second) = at(number);
            return Some(Self::Statement(number, first, second));
        }
        if first_count == second_count {
            let left_out_alike = first_kept.keys().eq(second_kept.keys());
            let differs = first_unkept.cut != second_unkept.cut
                || (left_out_alike && first_unkept.omitted != second_unkept.omitted);
            return differs.then_some(unkept);
        }
        let number = common + 1;
        // What both ran alike is left out of the longer trail, and maybe the statement behind it, too.
        match at(number) {
            (None, None) => Some(unkept),
            (first, second) => Some(Self::Statement(number, first, second)),
        }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Statement(number, Some(first), Some(second)) => {
                write!(
                    f,
                    "statement {number} was `{first}` in the first run and `{second}` in the second"
                )
            }
            Self::Statement(number, Some(first), None) => {
                write!(
                    f,
                    "statement {number} was `{first}` in the first run, and the second had none"
                )
            }
            Self::Statement(number, None, second) => {
                let second = second.as_deref().unwrap_or_default();
                write!(
                    f,
                    "statement {number} was `{second}` in the second run, and the first had none"
                )
            }
            Self::Unkept(first, second) => write!(
                f,
                "the first run had {first} statements and the second {second}, and they differ in what the trail doesn't keep",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn trail(statements: impl IntoIterator<Item = impl Into<String>>) -> Trail {
        let now = Instant::now();
        let mut trail = Trail::new(now);
        statements.into_iter().for_each(|sql| trail.push(sql, now, now, None));
        trail
    }

    fn many(n: usize) -> Vec<String> {
        (1..=n).map(|i| format!("SELECT {i}")).collect()
    }

    fn told(first: &Trail, second: &Trail) -> String {
        Difference::between(first, second).map(|it| it.to_string()).unwrap_or_default()
    }

    #[test]
    fn the_first_statement_that_differs_is_told() {
        assert_eq!(told(&trail(many(3)), &trail(many(3))), "");
        assert_eq!(
            told(&trail(["a", "b", "c"]), &trail(["a", "x", "y"])),
            "statement 2 was `b` in the first run and `x` in the second"
        );
        let fewer = "statement 2 was `b` in the first run, and the second had none";
        assert_eq!(told(&trail(["a", "b"]), &trail(["a"])), fewer);
        let more = "statement 2 was `b` in the second run, and the first had none";
        assert_eq!(told(&trail(["a"]), &trail(["a", "b"])), more);
    }

    #[test]
    fn what_is_left_out_and_what_is_cut_counts() {
        assert_eq!(told(&trail(many(200)), &trail(many(200))), "");
        let other = |n: usize| {
            let mut other = many(200);
            other[n - 1] = "other".into();
            told(&trail(many(200)), &trail(other))
        };
        assert!(other(16).starts_with("statement 16 was"), "{}", other(16));
        assert!(other(17).contains("doesn't keep"), "{}", other(17));
        assert!(other(152).contains("doesn't keep"), "{}", other(152));
        assert!(other(153).starts_with("statement 153 was"), "{}", other(153));
        assert!(told(&trail(many(200)), &trail(many(201))).contains("`SELECT 201`"));
        assert!(told(&trail(many(200)), &trail(many(100))).contains("200 statements"));
        let asking = |asks: bool| {
            let (now, mut trail) = (Instant::now(), Trail::default());
            if asks {
                trail.push_shown("SELECT oid".into(), None, (now, now), None);
            }
            many(200).into_iter().for_each(|sql| trail.push(sql, now, now, None));
            trail
        };
        assert_eq!(told(&asking(true), &asking(false)), "");
        let long = |end: &str| trail([format!("SELECT {}{end}", "é".repeat(1_000))]);
        assert_eq!(told(&long("1"), &long("1")), "");
        assert!(told(&long("1"), &long("2")).contains("doesn't keep"));
    }

    #[test]
    fn bind_values_and_what_the_driver_asks_are_left_out() {
        let now = Instant::now();
        let shown = |binds: &str, asks: bool| {
            let mut trail = Trail::new(now);
            if asks {
                trail.push_shown("SELECT oid".into(), None, (now, now), None);
            }
            let sql = "UPDATE t SET a = $1";
            trail.push_shown(format!("{sql}{binds}"), Some(sql.len()), (now, now), None);
            trail.push("SELECT 1", now, now, None);
            trail
        };
        assert_eq!(told(&shown(" -- binds: [1]", true), &shown(" -- binds: [2]", false)), "");
        assert!(told(&shown("", true), &trail(["x"])).starts_with("statement 1 was `UPDATE t"));
        let mut short = Trail::new(now);
        short.push_shown("é".into(), Some(1), (now, now), None);
        short.push_shown("a".into(), Some(7), (now, now), None);
        assert_eq!(told(&short, &trail(["é", "a"])), "", "no bytes but those that are there");
    }
}
