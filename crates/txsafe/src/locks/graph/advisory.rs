//! Advisory locks of plain SQL as classes and keys.
//!
//! All locks of one number share one space of numbers, whatever they are for. A number that stands in the text is a constant of the
//! program, and a class of its own; one that is bound is taken for the key of something, as those of rows are, unless it is such a
//! constant. The form with two numbers says itself which is which.

use super::{
    class::ClassId,
    log::BindKey,
    sql::{KeySource, LockName},
};
use crate::locks::key::LockKey;

/// The class of locks of which only a number is known.
const ANY: &str = "advisory locks";

impl LockName {
    /// The class, and the key in it as far as that is known.
    pub(crate) fn resolve(
        &self,
        bind: impl Fn(usize) -> Option<BindKey>,
    ) -> Option<(ClassId, Option<u64>)> {
        let number = |source: &KeySource| match source {
            KeySource::Literal(text) => text.parse::<i64>().ok(),
            KeySource::Bind(n) => match bind(*n)? {
                BindKey::Integer(number) => Some(number),
                BindKey::Bytes(_) | BindKey::List(_) => None,
            },
        };
        let (class, key) = match self {
            Self::One(source @ KeySource::Literal(text)) => {
                (ClassId::of_advisory(&format!("advisory lock {text}")), number(source))
            }
            Self::One(source) => {
                let key = number(source);
                let constant = key.and_then(|key| ClassId::known(&format!("advisory lock {key}")));
                (constant, key)
            }
            Self::Two(first, second) => {
                let namespace = number(first).map_or_else(|| "…".to_owned(), |n| n.to_string());
                let class = ClassId::of_advisory(&format!("advisory locks ({namespace}, …)"));
                (class, second.as_ref().and_then(number))
            }
            Self::Computed(text) => (ClassId::of_advisory(&format!("advisory lock {text}")), None),
        };
        Some((class.or_else(|| ClassId::named(ANY))?, key.map(|key| key.to_prefix())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(name: LockName, bind: Option<i64>) -> (String, Option<u64>) {
        let (class, key) = name.resolve(|_| bind.map(BindKey::Integer)).unwrap();
        (class.name().to_string(), key)
    }

    #[test]
    fn constants_are_classes_and_what_is_bound_is_a_key() {
        let (bind, literal) =
            (KeySource::Bind(0), |text: &str| KeySource::Literal(text.to_owned()));
        let key = |number: i64| Some(number.to_prefix());
        let one = |source: &KeySource| LockName::One(source.clone());
        assert_eq!(resolved(one(&bind), Some(70_001)), (ANY.into(), key(70_001)));
        assert_eq!(
            resolved(one(&literal("70001")), None),
            ("advisory lock 70001".into(), key(70_001))
        );
        assert_eq!(resolved(one(&bind), Some(70_001)), ("advisory lock 70001".into(), key(70_001)));
        assert_eq!(resolved(one(&bind), None), (ANY.into(), None));
        let two = LockName::Two(literal("7"), Some(bind.clone()));
        assert_eq!(resolved(two, Some(9)), ("advisory locks (7, …)".into(), key(9)));
        assert_eq!(
            resolved(LockName::Two(bind, None), Some(7)),
            ("advisory locks (7, …)".into(), None)
        );
        let computed = LockName::Computed("hashtext($1)".into());
        assert_eq!(resolved(computed, Some(7)), ("advisory lock hashtext($1)".into(), None));
    }
}
