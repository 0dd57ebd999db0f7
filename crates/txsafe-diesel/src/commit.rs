//! COMMIT where the wire isn't observed.

/// COMMIT that is checked: the server answers success to the COMMIT of a transaction that is aborted, or isn't there. It
/// refuses a savepoint in the former (25P02) and outside of one (25P01), and so COMMIT isn't reached. `before` comes
/// between them.
pub(crate) fn commit_unseen_sql(before: &str) -> String {
    let sep = if before.is_empty() { "" } else { "; " };
    format!("SAVEPOINT txsafe; {before}{sep}COMMIT")
}
