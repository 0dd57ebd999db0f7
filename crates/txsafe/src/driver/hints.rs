//! What the compiler says to code that treats a closure's transaction like one that was begun by hand. Nothing implements these
//! traits: the methods of `Tx` that ask for them exist for their error messages.

/// Asked for by `Tx::commit`.
#[diagnostic::on_unimplemented(
    message = "a transaction in a closure isn't committed by a call",
    label = "return `Ok(…)` from the closure instead",
    note = "returning `Ok` commits, and returning `Err` rolls back",
    note = "`Database::begin` begins a transaction that is committed by hand"
)]
pub trait Commits {}

/// Asked for by `Tx::rollback`.
#[diagnostic::on_unimplemented(
    message = "a transaction in a closure isn't rolled back by a call",
    label = "return `Err(…)` from the closure instead",
    note = "returning `Ok` commits, and returning `Err` rolls back",
    note = "`Database::begin` begins a transaction that is rolled back by hand"
)]
pub trait RollsBack {}

/// Asked for by `Tx::begin`.
#[diagnostic::on_unimplemented(
    message = "a transaction has begun already",
    label = "run a part that may fail by itself in `tx.savepoint(…)`",
    note = "a helper that may run in a transaction or begin one takes `impl Transact`"
)]
pub trait Begins {}

/// Asked for by `Tx::as_mut` of SQLx.
#[diagnostic::on_unimplemented(
    message = "`&mut Tx` is the executor itself",
    label = "pass `&mut tx` to queries, or `tx` where it is a `&mut Tx` already",
    note = "`tx.connection()` lends the connection to helpers that want one; what runs there is unseen"
)]
pub trait LendsByAsMut {}

/// The methods that a closure's transaction doesn't have, for the messages of the compiler.
#[doc(hidden)]
#[macro_export]
macro_rules! __hint_methods {
    ($mode:ident $tx:ident) => {
        /// What the compiler answers to methods of other transactions.
        impl<O: $crate::LockOrder, Held> $tx<'_, O, Held> {
            #[doc(hidden)]
            pub fn commit(self) -> $crate::__returns!($mode 'static, ())
            where
                Self: $crate::driver::hints::Commits,
            {
                unreachable!("nothing implements it")
            }

            #[doc(hidden)]
            pub fn rollback(self) -> $crate::__returns!($mode 'static, ())
            where
                Self: $crate::driver::hints::RollsBack,
            {
                unreachable!("nothing implements it")
            }

            #[doc(hidden)]
            pub fn begin(&mut self) -> $crate::__returns!($mode 'static, ())
            where
                Self: $crate::driver::hints::Begins,
            {
                unreachable!("nothing implements it")
            }
        }
    };
}
