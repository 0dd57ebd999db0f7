//! What surrounds the noting of a call, so that whoever called doesn't notice.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
};

thread_local! {
    /// What is called now is part of something that has been noted.
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
    /// How often a file was opened.
    static OPENED: Cell<u32> = const { Cell::new(0) };
}

/// Notes a call: `errno` stays what it was, nothing is thrown, and what is called meanwhile isn't noted.
#[cold]
pub(crate) fn noting(note: impl FnOnce()) {
    // One that panics looks for the names on its stack in files; and it doesn't commit.
    if IS_QUIET.get() || thread::panicking() {
        return;
    }
    let errno = errno();
    let thrown = quietly(|| catch_unwind(AssertUnwindSafe(note)));
    // What was thrown may throw again when it is dropped.
    std::mem::forget(thrown);
    set_errno(errno);
}

/// Runs `part` without noting what it calls. It must not unwind.
pub(crate) fn quietly<R>(part: impl FnOnce() -> R) -> R {
    let before = IS_QUIET.replace(true);
    let result = part();
    IS_QUIET.set(before);
    result
}

pub(crate) fn opened() {
    OPENED.set(OPENED.get().wrapping_add(1));
}

/// How often this thread has opened a file, in vain or not.
pub(crate) fn times_opened() -> u32 {
    OPENED.get()
}

fn errno() -> libc::c_int {
    // SAFETY: it is the address of this thread's own, and valid while the thread runs.
    unsafe { *libc::__errno_location() }
}

fn set_errno(errno: libc::c_int) {
    // SAFETY: as above.
    unsafe { *libc::__errno_location() = errno }
}
