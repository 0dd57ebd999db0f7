use std::env;
use std::thread;

/// The variable that keeps the databases of tests for their author to look into.
pub(super) const VARIABLE: &str = "TXSAFE_KEEP_DATABASES";

/// Whether a database that is dropped now is kept.
pub(super) fn is_kept() -> bool {
    decides(env::var(VARIABLE).ok().as_deref(), thread::panicking())
}

fn decides(variable: Option<&str>, is_panicking: bool) -> bool {
    match variable {
        Some("1") => is_panicking,
        Some("all") => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_variable_and_the_panic_decide() {
        assert!(!decides(None, true));
        assert!(!decides(Some("0"), true));
        assert!(!decides(Some("1"), false));
        assert!(decides(Some("1"), true));
        assert!(decides(Some("all"), false));
    }
}
