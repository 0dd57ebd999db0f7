//! Whether the functions are in effect.

use crate::{calls, quiet};
use std::fs::File;

/// Whether the functions stand before the C library's in this program: for its own code, and for the libraries that it has
/// loaded, such as libpq.
///
/// They don't if something else of the program defines functions of the same names, or if the linker was told to hide the names
/// of an executable. What `LD_PRELOAD` names comes behind an executable's own functions, and does no harm. A test that relies on
/// them asks:
///
/// ```
/// assert!(txsafe_interpose::is_active());
/// ```
#[must_use]
pub fn is_active() -> bool {
    reaches_rust() && reaches_libraries()
}

/// By calling through: the standard library opens a file that can't be, and we hear of it.
fn reaches_rust() -> bool {
    let before = quiet::times_opened();
    let opened = quiet::quietly(|| File::open(""));
    opened.is_err() && quiet::times_opened() != before
}

/// By the question that the loader answers for each library.
fn reaches_libraries() -> bool {
    calls::all().into_iter().all(|(name, ours)| {
        // SAFETY: a name that ends with a zero.
        let first = unsafe { libc::dlsym(libc::RTLD_DEFAULT, name.as_ptr()) };
        first.cast_const() == ours
    })
}
