//! The function behind ours, as the loader finds it.

use libc::c_void;
use std::{
    ptr,
    sync::atomic::{AtomicPtr, Ordering::Relaxed},
};

/// The next function of a name, looked up when it is first called.
pub(crate) struct Next {
    /// With a zero at its end.
    name: &'static str,
    found: AtomicPtr<c_void>,
}

impl Next {
    pub(crate) const fn new(name: &'static str) -> Self {
        assert!(name.as_bytes()[name.len() - 1] == 0, "C reads to the zero at the end");
        Self { name, found: AtomicPtr::new(ptr::null_mut()) }
    }

    #[inline]
    pub(crate) fn get(&self) -> *mut c_void {
        match self.found.load(Relaxed) {
            found if found.is_null() => self.find(),
            // It is an address of code, behind which nothing has to be seen.
            found => found,
        }
    }

    #[cold]
    fn find(&self) -> *mut c_void {
        // SAFETY: `new` has looked for the zero at its end.
        let found = unsafe { libc::dlsym(libc::RTLD_NEXT, self.name.as_ptr().cast()) };
        if found.is_null() {
            // There is no C library without it; and no function to fail with.
            std::process::abort();
        }
        self.found.store(found, Relaxed);
        found
    }
}
