//! In transactions of Diesel's blocking connections.

use crate::support::{Found, Place, Wrong, found_by, listener};
use diesel::{RunQueryDsl, sql_query};
use std::{
    fs,
    io::{ErrorKind, IoSlice, Write},
    net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket},
    os::unix::net::{UnixDatagram, UnixListener, UnixStream},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};
use txsafe_diesel::{
    blocking::Tx,
    guard::{Policy, allow_external_io_blocking, external_io_blocking},
};
use txsafe_interpose::is_active;

/// A file of this test alone, which is gone afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("txsafe-{}-{name}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[track_caller]
fn only(found: &[(String, String)]) -> &str {
    match found {
        [(call, _)] => call,
        other => panic!("not one: {other:?}"),
    }
}

#[test]
fn the_functions_are_in_effect() {
    assert!(is_active());
}

#[test]
fn a_connection_is_found_and_what_is_sent_by_it() {
    let address = listener();
    let found = found_by(|_| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(b"hello").unwrap();
        let parts = [IoSlice::new(b"hel"), IoSlice::new(b"lo")];
        assert_eq!(stream.write_vectored(&parts).unwrap(), 5);
    });
    let calls: Vec<_> = found.iter().map(|(call, _)| call.as_str()).collect();
    let expected = ["connect", "send", "writev"].map(|call| format!("{call}({address})"));
    // Which function sends is the standard library's choice.
    assert!(calls.len() == 3 && calls[0] == expected[0] && calls[2] == expected[2], "{calls:?}");
    assert!([&expected[1], &format!("write({address})")].iter().any(|call| *call == calls[1]));
    for (_, site) in &found {
        assert!(site.starts_with("crates") || site.starts_with("tests"), "{site}");
        assert!(site.contains("tests/it/blocking.rs:"), "{site}");
    }
}

#[test]
fn datagrams_and_sockets_of_the_file_system_are_found() {
    let address = listener();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let found = found_by(|_| drop(socket.send_to(b"x", address)));
    assert_eq!(only(&found), format!("sendto({address})"));

    let path = Scratch::new("socket");
    let _listener = UnixListener::bind(&path.0).unwrap();
    let found = found_by(|_| drop(UnixStream::connect(&path.0).unwrap()));
    assert_eq!(only(&found), format!("connect(unix:{})", path.0.display()));
}

#[test]
fn a_lookup_is_found_once() {
    let found = found_by(|_| drop(("localhost", 80).to_socket_addrs().unwrap()));
    assert_eq!(only(&found), "getaddrinfo(localhost)");
    assert!(found_by(|_| drop(("127.0.0.1", 80).to_socket_addrs().unwrap())).is_empty());
}

#[test]
fn a_sleep_is_found() {
    let found = found_by(|_| thread::sleep(Duration::from_millis(2)));
    assert!(only(&found).ends_with("nanosleep(2ms)"), "{found:?}");
    assert!(found_by(|_| thread::sleep(Duration::ZERO)).is_empty());
}

#[test]
fn files_are_found_and_those_that_are_none_are_not() {
    let scratch = Scratch::new("file");
    let path = scratch.0.display();
    let found = found_by(|_| {
        let mut file = fs::File::create(&scratch.0).unwrap();
        file.write_all(b"x").unwrap();
        file.sync_all().unwrap();
        file.sync_data().unwrap();
        drop(file);
        fs::read("/proc/self/status").unwrap();
        println!("to write this is none");
    });
    let calls: Vec<_> = found.into_iter().map(|(call, _)| call).collect();
    assert_eq!(
        calls,
        [format!("open64({path})"), format!("fsync({path})"), format!("fdatasync({path})")]
    );
}

#[test]
fn what_a_process_says_to_itself_is_not_found() {
    let (mut one, _other) = UnixStream::pair().unwrap();
    let (left, _right) = UnixDatagram::pair().unwrap();
    let found = found_by(|_| {
        one.try_clone().unwrap().write_all(b"x").unwrap();
        left.send(b"x").unwrap();
    });
    assert!(found.is_empty(), "{found:?}");
    one.write_all(b"x").unwrap();
}

#[test]
fn nothing_is_found_outside_of_a_transaction() {
    let address = listener();
    let place = Place::new("outside");
    let found = Found::default();
    let db = place.database(found.policy());
    let outside = || {
        TcpStream::connect(address).unwrap().write_all(b"x").unwrap();
        thread::sleep(Duration::from_millis(1));
    };
    outside();
    db.transaction("outside", |mut tx| {
        sql_query("SELECT 1").execute(&mut *tx)?;
        thread::spawn(move || TcpStream::connect(address).unwrap()).join().unwrap();
        tx.after_commit(move || {
            TcpStream::connect(address)?;
            Ok::<_, std::io::Error>(())
        });
        Ok::<_, Wrong>(())
    })
    .unwrap();
    outside();
    assert!(found.calls().is_empty());
}

#[test]
fn errors_are_those_of_the_call() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let found = found_by(|_| {
        let error = TcpStream::connect(closed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        let missing = fs::File::open("/no/such/file").unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound);
    });
    assert_eq!(found.len(), 2, "{found:?}");
}

#[test]
fn what_is_allowed_is_not_found_and_what_is_marked_not_twice() {
    let address = listener();
    let found = found_by(|_| {
        allow_external_io_blocking("to see", || TcpStream::connect(address).unwrap());
    });
    assert!(found.is_empty(), "{found:?}");

    let place = Place::new("marked");
    let policy = Policy::test();
    let db = place.database(policy);
    let fails = catch_unwind(AssertUnwindSafe(|| {
        db.transaction("marked", |_| {
            external_io_blocking("shop.charge", || drop(TcpStream::connect(address)));
            Ok::<_, Wrong>(())
        })
    }));
    let message = *fails.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("TXS002") && !message.contains("TXS008"), "{message}");
}

#[test]
fn a_test_fails_and_is_told_the_line() {
    let address = listener();
    let place = Place::new("fails");
    let db = place.database(Policy::test());
    let mut line = 0;
    let fails = catch_unwind(AssertUnwindSafe(|| {
        db.transaction("transfer", |mut tx| {
            sql_query("SELECT 1").execute(&mut *tx)?;
            line = line!() + 1;
            drop(TcpStream::connect(address).unwrap());
            Ok::<_, Wrong>(())
        })
    }));
    let message = *fails.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains(&format!("TXS008 system call: connect({address})")), "{message}");
    assert!(message.contains(&format!("tests/it/blocking.rs:{line}")), "{message}");
    assert!(message.contains("in transaction \"transfer\""), "{message}");
    assert!(message.contains("behind `SELECT 1`"), "{message}");
    assert!(message.contains("docs/findings/TXS008.md"), "{message}");
}

#[test]
fn what_was_sent_before_the_next_statement_is_told_behind_the_last_one() {
    let address = listener();
    let place = Place::new("behind");
    let db = place.database(Policy::test());
    let fails = catch_unwind(AssertUnwindSafe(|| {
        db.transaction("behind", |mut tx| {
            sql_query("SELECT 1").execute(&mut *tx)?;
            drop(TcpStream::connect(address).unwrap());
            sql_query("SELECT 2").execute(&mut *tx)?;
            Ok::<_, Wrong>(())
        })
    }));
    let message = *fails.unwrap_err().downcast::<String>().unwrap();
    assert!(message.contains("behind `SELECT 1`"), "{message}");
}

#[test]
fn transactions_beside_each_other_find_their_own() {
    let addresses: Vec<_> = (0..4).map(|_| listener()).collect();
    thread::scope(|scope| {
        for address in addresses {
            scope.spawn(move || {
                for _ in 0..3 {
                    let found = found_by(|tx: &mut Tx<'_>| {
                        sql_query("SELECT pg_sleep(0.01)").execute(&mut **tx).unwrap();
                        drop(TcpStream::connect(address).unwrap());
                    });
                    assert_eq!(only(&found), format!("connect({address})"));
                }
            });
        }
    });
}

#[test]
fn many_sends_at_one_place_are_one_finding() {
    let address = listener();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    let found = found_by(|_| {
        let start = Instant::now();
        for _ in 0..1_000 {
            (&stream).write_all(b"x").unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(10));
    });
    assert_eq!(found.len(), 1, "{found:?}");
    stream.write_all(b"x").unwrap();
}
