//! Arguments of system calls, as a finding shows them; and which of them are worth a finding.

use libc::{c_char, c_int, sockaddr, sockaddr_storage, sockaddr_un, socklen_t, timespec};
use std::{
    borrow::Cow,
    ffi::CStr,
    fmt, fs,
    mem::{MaybeUninit, offset_of, size_of},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

/// Who is at the other end of a socket.
pub(crate) enum Peer {
    Network(SocketAddr),
    /// A socket in the file system, or in the abstract namespace.
    Local(String),
    /// The other half of a pair, or a client that didn't give itself a name.
    Unnamed,
    /// The kernel, say.
    Other,
}

/// Where logs go. To write one is no finding, as it is none on standard output.
const LOGS: [&str; 2] = ["/dev/log", "/run/systemd/journal/"];

impl Peer {
    /// If it is worth a finding. The other half of a pair is this process's own: signal handlers wake runtimes by that.
    pub(crate) fn outside(self) -> Option<Self> {
        let is_outside = match &self {
            Self::Network(_) => true,
            Self::Local(path) => !LOGS.iter().any(|log| path.starts_with(log)),
            Self::Unnamed | Self::Other => false,
        };
        is_outside.then_some(self)
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(address) => write!(f, "{address}"),
            Self::Local(path) => write!(f, "unix:{path}"),
            Self::Unnamed => f.write_str("unix"),
            Self::Other => f.write_str("?"),
        }
    }
}

/// An address that is connected to, if that is worth a finding.
///
/// # Safety
/// `length` bytes may be read at `address`, if it isn't null.
pub(crate) unsafe fn address(address: *const sockaddr, length: socklen_t) -> Option<Peer> {
    // SAFETY: as promised.
    unsafe { destination(address, length) }.and_then(Peer::outside)
}

/// An address that may be missing.
///
/// # Safety
/// `length` bytes may be read at `address`, if it isn't null.
pub(crate) unsafe fn destination(address: *const sockaddr, length: socklen_t) -> Option<Peer> {
    if address.is_null() || length == 0 {
        return None;
    }
    let mut storage = MaybeUninit::<sockaddr_storage>::zeroed();
    let length = (length as usize).min(size_of::<sockaddr_storage>());
    // SAFETY: so much may be read there, as promised, and fits into the storage, which nobody else knows.
    unsafe {
        address.cast::<u8>().copy_to_nonoverlapping(storage.as_mut_ptr().cast::<u8>(), length);
    }
    // SAFETY: any bytes are one, those of zero included.
    Some(read(&unsafe { storage.assume_init() }, length))
}

/// Who a socket is connected to.
pub(crate) fn peer(socket: c_int) -> Option<Peer> {
    let mut storage = MaybeUninit::<sockaddr_storage>::zeroed();
    let mut length = size_of::<sockaddr_storage>() as socklen_t;
    // SAFETY: it writes so many bytes at most, and into the storage.
    let answer = unsafe { libc::getpeername(socket, storage.as_mut_ptr().cast(), &raw mut length) };
    // SAFETY: any bytes are one, those of zero included.
    (answer == 0).then(|| read(&unsafe { storage.assume_init() }, length as usize))
}

fn read(storage: &sockaddr_storage, length: usize) -> Peer {
    match c_int::from(storage.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that it is one, and the storage is large enough for each, and aligned.
            let address = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(address.sin_addr.s_addr));
            Peer::Network((IpAddr::V4(ip), u16::from_be(address.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above.
            let address = unsafe { &*(&raw const *storage).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
            Peer::Network((IpAddr::V6(ip), u16::from_be(address.sin6_port)).into())
        }
        libc::AF_UNIX => {
            // SAFETY: as above.
            let address = unsafe { &*(&raw const *storage).cast::<sockaddr_un>() };
            let path = &address.sun_path;
            let length = length.saturating_sub(offset_of!(sockaddr_un, sun_path)).min(path.len());
            let path: Vec<u8> = path[..length].iter().map(|&byte| byte.cast_unsigned()).collect();
            match path.split_first() {
                None => Peer::Unnamed,
                Some((0, [])) => Peer::Unnamed,
                Some((0, name)) => Peer::Local(format!("@{}", String::from_utf8_lossy(name))),
                Some(_) => {
                    let end = path.iter().position(|&byte| byte == 0).unwrap_or(path.len());
                    Peer::Local(String::from_utf8_lossy(&path[..end]).into_owned())
                }
            }
        }
        _ => Peer::Other,
    }
}

/// Whether a file is a socket, and none of the three that every program has.
pub(crate) fn is_socket(file: c_int) -> bool {
    if file <= libc::STDERR_FILENO {
        return false;
    }
    let mut stat = MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: it writes one into it; any bytes are one, those of zero included, if it doesn't.
    let stat = unsafe {
        libc::fstat(file, stat.as_mut_ptr());
        stat.assume_init()
    };
    stat.st_mode & libc::S_IFMT == libc::S_IFSOCK
}

/// What of the file system isn't on a disk, or is read to tell the local time.
const NOT_ON_DISK: [&str; 5] =
    ["/dev/", "/proc/", "/sys/", "/etc/localtime", "/usr/share/zoneinfo/"];

/// Whether to open it may be to wait for a disk.
pub(crate) fn is_on_disk(path: &str) -> bool {
    !NOT_ON_DISK.iter().any(|place| path.starts_with(place))
}

/// The path of a file that is open.
pub(crate) fn file(file: c_int) -> String {
    match fs::read_link(format!("/proc/self/fd/{file}")) {
        Ok(path) => path.display().to_string(),
        Err(_) => file.to_string(),
    }
}

/// A text that may be missing.
///
/// # Safety
/// It ends with a zero, if it isn't null, and lives as long as the caller says.
pub(crate) unsafe fn text<'a>(text: *const c_char) -> Option<Cow<'a, str>> {
    // SAFETY: as promised.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy())
}

/// Whether a name of a host is an address, for which nobody is asked.
pub(crate) fn is_number(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok()
}

/// How long is slept, if it is at all.
///
/// # Safety
/// It may be read, if it isn't null.
pub(crate) unsafe fn duration(time: *const timespec) -> Option<Duration> {
    // SAFETY: as promised.
    of(unsafe { time.as_ref() }?).filter(|time| !time.is_zero())
}

/// How long is slept until then, if it is at all.
///
/// # Safety
/// It may be read, if it isn't null.
pub(crate) unsafe fn until(clock: libc::clockid_t, time: *const timespec) -> Option<Duration> {
    let mut now = MaybeUninit::<timespec>::zeroed();
    // SAFETY: it writes one into it; any bytes are one, those of zero included, if it doesn't.
    let now = unsafe {
        libc::clock_gettime(clock, now.as_mut_ptr());
        now.assume_init()
    };
    // SAFETY: as promised.
    unsafe { duration(time) }?.checked_sub(of(&now)?).filter(|time| !time.is_zero())
}

fn of(time: &timespec) -> Option<Duration> {
    let nanos = u32::try_from(time.tv_nsec).ok().filter(|&nanos| nanos < 1_000_000_000)?;
    Some(Duration::new(u64::try_from(time.tv_sec).ok()?, nanos))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_in_the_file_system_are_told_from_pairs() {
        // SAFETY: any bytes are one, those of zero included.
        let mut storage: sockaddr_storage = unsafe { MaybeUninit::zeroed().assume_init() };
        storage.ss_family = libc::AF_UNIX as libc::sa_family_t;
        assert!(matches!(read(&storage, 2), Peer::Unnamed));
        let journal = Peer::Local("/run/systemd/journal/socket".into());
        assert!(journal.outside().is_none());
        assert!(Peer::Local("/run/redis.sock".into()).outside().is_some());
    }

    #[test]
    fn what_is_no_disk_is_nothing_to_wait_for() {
        assert!(is_on_disk("/etc/hosts") && is_on_disk("Cargo.toml"));
        assert!(!is_on_disk("/proc/self/maps") && !is_on_disk("/etc/localtime"));
        assert!(is_number("::1") && !is_number("localhost"));
    }
}
