//! The functions that stand before those of the C library.
//!
//! An executable's own functions are found before those of its libraries, by its own code and by that of the libraries. Each
//! of these looks whether its thread runs a transaction, notes the call if so, and passes on what it was given.
//!
//! What all of it rests on, and each `SAFETY` refers to:
//!
//! 1. Each has the signature of the function it stands before, by the types of the `libc` crate. `open`, `open64`, `openat`
//!    and `openat64` are variadic in C: their last argument is there only if the flags say so. Rust can't define variadic
//!    functions; in the calling conventions of Linux an argument that is an integer lies where it would otherwise, and one
//!    that isn't there is read as some number, which nobody looks at.
//! 2. Whoever calls keeps the contract of the real function, and gives it the same pointers; so what that may read for its
//!    arguments, a text or an address, may be read here as well.
//! 3. `Next` gives the function of that name which the loader finds behind this one; so it has the signature of (1).
//! 4. They never unwind into their callers: `note` catches what is thrown, and nothing else can.
//! 5. Outside of a transaction, all that happens before the real function is a load from a thread-local without initialiser
//!    and destructor: so they may be called in signal handlers, before `main`, and while a thread ends.

use crate::{names, next::Next, quiet};
use libc::{
    addrinfo, c_char, c_int, c_void, clockid_t, iovec, mode_t, msghdr, size_t, sockaddr, socklen_t,
    ssize_t, timespec,
};
use std::mem::transmute;
use txsafe::guard::{in_transaction, note_send, note_system_call};

/// Defines a function that notes, and passes on.
macro_rules! before {
    ($(#[$more:meta])* fn $name:ident($($argument:ident: $type:ty),+) -> $returns:ty, $note:block) => {
        $(#[$more])*
        // SAFETY: nothing else defines that name, and whoever means the C library's gets what it would (1, 3).
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name($($argument: $type),+) -> $returns {
            if in_transaction() {
                quiet::noting(|| $note);
            }
            // SAFETY: (3); the arguments are the caller's (2).
            unsafe { next!($name, fn($($type),+) -> $returns)($($argument),+) }
        }
    };
}

/// The real function.
macro_rules! next {
    ($name:ident, fn($($type:ty),+) -> $returns:ty) => {{
        static NEXT: Next = Next::new(concat!(stringify!($name), "\0"));
        transmute::<*mut c_void, unsafe extern "C" fn($($type),+) -> $returns>(NEXT.get())
    }};
}

before! {
    fn connect(socket: c_int, address: *const sockaddr, length: socklen_t) -> c_int, {
        // SAFETY: `connect` reads as much of it (2).
        if let Some(peer) = unsafe { names::address(address, length) } {
            note_system_call(|| format!("connect({peer})"));
        }
    }
}

before! {
    fn send(socket: c_int, bytes: *const c_void, length: size_t, flags: c_int) -> ssize_t, {
        sent("send", socket, None);
    }
}

before! {
    fn sendto(
        socket: c_int, bytes: *const c_void, length: size_t, flags: c_int, to: *const sockaddr, to_length: socklen_t
    ) -> ssize_t, {
        // SAFETY: `sendto` reads as much of it, if it isn't null (2).
        sent("sendto", socket, unsafe { names::destination(to, to_length) });
    }
}

before! {
    fn sendmsg(socket: c_int, message: *const msghdr, flags: c_int) -> ssize_t, {
        // SAFETY: `sendmsg` reads the message, and as much of the address in it (2).
        let to = unsafe {
            message.as_ref().and_then(|m| names::destination(m.msg_name.cast(), m.msg_namelen))
        };
        sent("sendmsg", socket, to);
    }
}

before! {
    fn write(file: c_int, bytes: *const c_void, length: size_t) -> ssize_t, {
        if names::is_socket(file) {
            sent("write", file, None);
        }
    }
}

before! {
    fn writev(file: c_int, parts: *const iovec, count: c_int) -> ssize_t, {
        if names::is_socket(file) {
            sent("writev", file, None);
        }
    }
}

/// Bytes are sent by a socket: to where it was connected, if no address is given.
fn sent(function: &str, socket: c_int, to: Option<names::Peer>) {
    if let Some(peer) = to.or_else(|| names::peer(socket)).and_then(names::Peer::outside) {
        note_send(socket, || format!("{function}({peer})"));
    }
}

/// The lookup's own calls, of libraries that look names up for the C library, are part of it.
///
/// # Safety
/// That of the real function.
// SAFETY: as for the others.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const addrinfo,
    result: *mut *mut addrinfo,
) -> c_int {
    // SAFETY: (3).
    let real = unsafe {
        next!(
            getaddrinfo,
            fn(*const c_char, *const c_char, *const addrinfo, *mut *mut addrinfo) -> c_int
        )
    };
    if !in_transaction() {
        // SAFETY: the arguments are the caller's (2).
        return unsafe { real(node, service, hints, result) };
    }
    quiet::noting(|| {
        // SAFETY: `getaddrinfo` reads the name, if it isn't null (2).
        if let Some(host) = unsafe { names::text(node) }.filter(|host| !names::is_number(host)) {
            note_system_call(|| format!("getaddrinfo({host})"));
        }
    });
    // SAFETY: the arguments are the caller's (2).
    quiet::quietly(|| unsafe { real(node, service, hints, result) })
}

before! {
    fn nanosleep(time: *const timespec, rest: *mut timespec) -> c_int, {
        // SAFETY: `nanosleep` reads it (2).
        if let Some(time) = unsafe { names::duration(time) } {
            note_system_call(|| format!("nanosleep({time:?})"));
        }
    }
}

before! {
    fn clock_nanosleep(
        clock: clockid_t, flags: c_int, time: *const timespec, rest: *mut timespec
    ) -> c_int, {
        // SAFETY: `clock_nanosleep` reads it (2).
        let time = unsafe {
            match flags & libc::TIMER_ABSTIME {
                0 => names::duration(time),
                _ => names::until(clock, time),
            }
        };
        if let Some(time) = time {
            note_system_call(|| format!("clock_nanosleep({time:?})"));
        }
    }
}

/// Defines one of the family of `open`, whose real function is variadic.
macro_rules! before_open {
    (fn $name:ident($($argument:ident: $type:ty),*)) => {
        // SAFETY: as for the others; of the last argument, see (1).
        #[unsafe(no_mangle)]
        pub(crate) unsafe extern "C" fn $name(
            $($argument: $type,)* path: *const c_char, flags: c_int, mode: mode_t,
        ) -> c_int {
            quiet::opened();
            if in_transaction() {
                quiet::noting(|| {
                    // SAFETY: the real function reads it (2).
                    if let Some(path) = unsafe { names::text(path) }.filter(|path| names::is_on_disk(path)) {
                        note_system_call(|| format!("{}({path})", stringify!($name)));
                    }
                });
            }
            static NEXT: Next = Next::new(concat!(stringify!($name), "\0"));
            // SAFETY: (3), of a variadic function; the arguments are the caller's (2).
            unsafe {
                transmute::<*mut c_void, unsafe extern "C" fn($($type,)* *const c_char, c_int, ...) -> c_int>(
                    NEXT.get(),
                )($($argument,)* path, flags, mode)
            }
        }
    };
}

before_open! { fn open() }
before_open! { fn open64() }
before_open! { fn openat(directory: c_int) }
before_open! { fn openat64(directory: c_int) }

before! {
    fn fsync(file: c_int) -> c_int, {
        note_system_call(|| format!("fsync({})", names::file(file)));
    }
}

before! {
    fn fdatasync(file: c_int) -> c_int, {
        note_system_call(|| format!("fdatasync({})", names::file(file)));
    }
}

/// All of them, with their names, as the loader knows them.
pub(crate) fn all() -> [(&'static std::ffi::CStr, *const c_void); 15] {
    macro_rules! named {
        ($($name:ident),+) => {[
            $((
                std::ffi::CStr::from_bytes_with_nul(concat!(stringify!($name), "\0").as_bytes())
                    .unwrap_or_default(),
                $name as *const c_void,
            )),+
        ]};
    }
    named![
        connect,
        send,
        sendto,
        sendmsg,
        write,
        writev,
        getaddrinfo,
        nanosleep,
        clock_nanosleep,
        open,
        open64,
        openat,
        openat64,
        fsync,
        fdatasync
    ]
}
