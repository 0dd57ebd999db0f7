//! How strongly rows are locked.

/// How strongly a row is locked. Source: PostgreSQL manual, section 13.3.2, "Row-Level Locks".
pub trait Mode: Send + Sync + 'static {
    /// The locking clause.
    const CLAUSE: &'static str;
    /// Modes in ascending strength: a stronger one conflicts with all that a weaker one does.
    const STRENGTH: u8;
}

macro_rules! modes {
    ($($(#[$doc:meta])* $mode:ident $clause:literal $strength:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        #[expect(clippy::exhaustive_enums, reason = "it is never made")]
        pub enum $mode {}

        impl Mode for $mode {
            const CLAUSE: &'static str = $clause;
            const STRENGTH: u8 = $strength;
        }
    )*};
}

modes! {
    /// Keeps others from deleting the row and from changing its key: what a foreign key's check takes.
    KeyShare "FOR KEY SHARE" 1;
    /// Keeps others from changing the row.
    Share "FOR SHARE" 2;
    /// For writing, but not its key. The default: foreign keys' checks of other transactions don't wait for it.
    NoKeyUpdate "FOR NO KEY UPDATE" 3;
    /// For deleting the row, or changing its key.
    ForUpdate "FOR UPDATE" 4;
}
