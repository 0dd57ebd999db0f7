use crate::name;

/// Where all test processes write down which databases there are.
pub(super) const REGISTRY: &str = "txsafe_tests";

/// The prefix of every test's database. A sweep drops those of its role that have it and neither a row in the registry nor a
/// comment.
pub(super) const PREFIX: &str = "txsafe_test_";

/// A name for a clone that no database has had, so whoever drops one by its name never meets another one.
pub(super) fn of_clone(suite: &str) -> String {
    unique(suite)
}

/// The same for a template.
pub(super) fn of_template(suite: &str) -> String {
    format!("{}_tmpl", unique(suite))
}

/// It fits into PostgreSQL's 63 bytes, whatever the suite is called.
fn unique(suite: &str) -> String {
    format!("{PREFIX}{}_{}", name::plain(suite, 24), name::random(16))
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
