//! COMMIT where nobody sees the wire.

/// COMMIT that is asked and not just sent: the server answers success to the COMMIT of a transaction that is aborted, or
/// isn't there. It refuses a savepoint in the former (25P02) and outside of one (25P01), and so COMMIT isn't reached.
pub(crate) const COMMIT_UNSEEN_SQL: &str = "SAVEPOINT txsafe; COMMIT";
