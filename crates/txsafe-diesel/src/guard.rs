//! What is seen while a transaction runs, besides its database; see [`txsafe::guard`].

pub use txsafe::guard::*;

/// Marks a function as a call of something outside, whatever it does; see [`txsafe::guard::external_io`].
///
/// # Examples
/// ```
/// use txsafe_diesel::guard::external_io;
///
/// #[external_io("mail.send")]
/// async fn send(to: &str) -> usize {
///     to.len()
/// }
/// # let _ = send;
/// ```
#[doc(inline)]
pub use txsafe::__external_io_diesel as external_io;
