use std::iter;

/// Where all test processes write down which databases there are.
pub(super) const REGISTRY: &str = "txsafe_tests";

/// What every database of a test is called first; whatever is called so and isn't written down is dropped.
pub(super) const PREFIX: &str = "txsafe_test_";

/// A name for a clone that no database has had, so whoever drops one by its name never meets another one.
pub(super) fn of_clone(suite: &str) -> String {
    format!("{PREFIX}{}_{}", plain(suite), random())
}

/// The same for a template.
pub(super) fn of_template(suite: &str) -> String {
    format!("{PREFIX}{}_{}_tmpl", plain(suite), random())
}

fn random() -> String {
    const LENGTH: usize = 16;
    iter::repeat_with(|| fastrand::char('a'..='z')).take(LENGTH).collect()
}

/// As much of it as fits into PostgreSQL's 63 bytes with the rest of the name, and needs no quotes.
fn plain(suite: &str) -> String {
    const LONGEST: usize = 24;
    suite
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' })
        .take(LONGEST)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_and_short_enough() {
        let suite = "Größen \"&\" '; DROP DATABASE postgres; -- und noch viel mehr davon";
        for name in [of_clone(suite), of_template(suite)] {
            assert!(name.len() <= 63, "{name}");
            assert!(name.starts_with("txsafe_test_gr__en"), "{name}");
            assert!(
                name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            );
        }
    }

    #[test]
    fn clones_of_one_suite_have_names_of_their_own() {
        assert_ne!(of_clone("shop"), of_clone("shop"));
    }
}
