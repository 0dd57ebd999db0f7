//! Calls as C makes them.

#![allow(unsafe_code, reason = "calls the C library")]

use crate::support::{found_by, listener};
use std::{
    io::Error,
    net::TcpStream,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    ptr,
};

#[test]
fn calls_of_c_are_found() {
    let stream = TcpStream::connect(listener()).unwrap();
    let (socket, bytes) = (stream.as_raw_fd(), c"x".as_ptr().cast());
    let found = found_by(|_| {
        // SAFETY: the socket is open, and each pointer leads to what the function asks for.
        unsafe {
            assert_eq!(libc::send(socket, bytes, 1, 0), 1);
            assert_eq!(libc::sendto(socket, bytes, 1, 0, ptr::null(), 0), 1);
            let mut part = libc::iovec { iov_base: bytes.cast_mut(), iov_len: 1 };
            assert_eq!(libc::writev(socket, &raw const part, 1), 1);
            let mut message: libc::msghdr = std::mem::zeroed();
            message.msg_iov = &raw mut part;
            message.msg_iovlen = 1;
            assert_eq!(libc::sendmsg(socket, &raw const message, 0), 1);
            let time = libc::timespec { tv_sec: 0, tv_nsec: 1_000 };
            assert_eq!(libc::nanosleep(&raw const time, ptr::null_mut()), 0);
            let mut found = ptr::null_mut();
            let host = c"localhost".as_ptr();
            assert_eq!(libc::getaddrinfo(host, ptr::null(), ptr::null(), &raw mut found), 0);
            libc::freeaddrinfo(found);
        }
    });
    let calls: Vec<_> = found.iter().map(|(call, _)| call.split('(').next().unwrap()).collect();
    assert_eq!(calls, ["send", "sendto", "writev", "sendmsg", "nanosleep", "getaddrinfo"]);
}

#[test]
fn the_mode_of_a_new_file_is_passed_on() {
    let path = std::env::temp_dir().join(format!("txsafe-{}-mode", std::process::id()));
    let name = std::ffi::CString::new(path.to_str().unwrap()).unwrap();
    let found = found_by(|_| {
        let flags = libc::O_CREAT | libc::O_WRONLY | libc::O_CLOEXEC;
        // SAFETY: a text with a zero at its end; what is opened is owned by nobody else.
        let file = unsafe { OwnedFd::from_raw_fd(libc::open(name.as_ptr(), flags, 0o600)) };
        drop(file);
        // SAFETY: as above.
        let file = unsafe { OwnedFd::from_raw_fd(libc::openat(libc::AT_FDCWD, name.as_ptr(), 0)) };
        drop(file);
    });
    let mode = std::os::unix::fs::PermissionsExt::mode(&path.metadata().unwrap().permissions());
    std::fs::remove_file(&path).unwrap();
    assert_eq!(mode & 0o777, 0o600);
    let calls: Vec<_> = found.into_iter().map(|(call, _)| call).collect();
    assert_eq!(calls, [format!("open({})", path.display()), format!("openat({})", path.display())]);
}

#[test]
fn errno_stays_what_it_was() {
    let stream = TcpStream::connect(listener()).unwrap();
    found_by(|_| {
        // SAFETY: this thread's own `errno`, an open socket, and one byte.
        unsafe {
            *libc::__errno_location() = libc::EDOM;
            assert_eq!(libc::write(stream.as_raw_fd(), c"x".as_ptr().cast(), 1), 1);
            assert_eq!(*libc::__errno_location(), libc::EDOM, "a success leaves it alone");
            assert_eq!(libc::send(-1, c"x".as_ptr().cast(), 1, 0), -1);
        }
        assert_eq!(Error::last_os_error().raw_os_error(), Some(libc::EBADF));
    });
}
