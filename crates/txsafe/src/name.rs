//! Transaction names: how reports, metrics and `pg_stat_activity` call a transaction.

use crate::invalid::InvalidSetting;

/// The longest transaction name, in bytes.
pub(crate) const LONGEST: usize = 128;

/// What the server keeps of an `application_name`, in bytes, down to the last whole character.
pub(crate) const KEPT: std::ops::RangeInclusive<usize> = 60..=63;

/// Checks a transaction name: 1 to 128 bytes without control characters. Anything else is allowed, quotes and
/// non-ASCII letters included; `application_name` shows as much of it as the server keeps (63 bytes).
///
/// # Errors
/// Names the name and the cure.
pub(crate) fn check(name: &str) -> Result<(), InvalidSetting> {
    let cure = "reports and metrics go by it: name what the code does";
    checked(
        "transaction name",
        name,
        cure,
        "the longest is 128 bytes: name the kind of work, not its data",
    )
}

/// Checks a service name by the same rules.
pub(crate) fn check_service(name: &str) -> Result<(), InvalidSetting> {
    let cure =
        "`pg_stat_activity` shows it before the transaction's name: give one, or don't set it";
    checked("service", name, cure, "the longest is 128 bytes")
}

/// Checks the name of a pool by the same rules.
pub(crate) fn check_pool(name: &str) -> Result<(), InvalidSetting> {
    let cure = "its gauges carry it as a label: give one, or don't set it";
    checked("pool_name", name, cure, "the longest is 128 bytes")
}

/// Checks the topic of a message by the same rules.
pub(crate) fn check_topic(topic: &str) -> Result<(), InvalidSetting> {
    let cure = "it decides which worker delivers a message: name what is to happen";
    checked("topic", topic, cure, "the longest is 128 bytes: data belongs into the payload")
}

fn checked(
    setting: &'static str,
    name: &str,
    if_empty: &'static str,
    if_long: &'static str,
) -> Result<(), InvalidSetting> {
    let invalid = |value: String, cure| Err(InvalidSetting::new(setting, value, cure));
    if name.trim().is_empty() {
        return invalid(format!("{name:?}"), if_empty);
    }
    if name.len() > LONGEST {
        let start: String = name.chars().take(24).collect();
        return invalid(format!("\"{start}…\" ({} bytes)", name.len()), if_long);
    }
    if name.chars().any(char::is_control) {
        return invalid(format!("{name:?}"), "remove the control characters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_one_to_128_bytes_of_anything_printable() {
        for good in ["place_order", "o'clock \"x\"", "Überweisung", &"x".repeat(128)] {
            assert_eq!(check(good), Ok(()));
        }
        for (bad, part) in [("", "name what"), (" ", "name what"), ("a\0b", "control")] {
            assert!(check(bad).unwrap_err().to_string().contains(part));
        }
        let long = check(&"é".repeat(65)).unwrap_err().to_string();
        assert!(long.contains("130 bytes") && long.len() < 200, "{long}");
    }
}
