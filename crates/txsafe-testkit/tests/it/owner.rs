//! A process that owns a server dies without a chance to clear up.

use std::env;
use std::io::{BufRead, BufReader, Read as _};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use txsafe_testkit::Postgres;

use crate::process::Traces;

const ROLE: &str = "TXSAFE_TEST_OWNER";

#[test]
fn a_killed_owner_leaves_nothing_behind() {
    let mut owner = Owner::spawn("waits");
    kill(owner.pid(), Signal::SIGKILL).unwrap();
    owner.assert_died_of(Signal::SIGKILL);
    owner.traces.assert_gone_soon();
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let mut owner = Owner::spawn("waits");
    // A terminal sends SIGINT to the whole foreground process group.
    killpg(owner.pid(), Signal::SIGINT).unwrap();
    owner.assert_died_of(Signal::SIGINT);
    owner.traces.assert_gone_soon();
}

#[test]
fn an_abort_leaves_nothing_behind() {
    let mut owner = Owner::spawn("aborts");
    owner.assert_died_of(Signal::SIGABRT);
    owner.traces.assert_gone_soon();
}

#[test]
fn a_static_server_leaves_nothing_behind() {
    let mut owner = Owner::spawn("shares");
    assert!(owner.process.wait().unwrap().success());
    owner.traces.assert_gone_soon();
}

/// Another run of this test binary, executing [`is_played_by_another_process`] alone.
struct Owner {
    process: Child,
    traces: Traces,
}

impl Owner {
    fn spawn(role: &str) -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .args(["--exact", "owner::is_played_by_another_process", "--nocapture"])
            .env(ROLE, role)
            .env_remove("DATABASE_URL")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let data_dir = BufReader::new(process.stdout.as_mut().unwrap())
            .lines()
            .find_map(|line| Some(line.unwrap().split_once("data_dir=")?.1.to_owned()))
            .expect("the owner starts a server");
        let traces = Traces::of(&PathBuf::from(data_dir));
        // The owner goes on once its input ends; one that waits, waits for the signal instead.
        if role != "waits" {
            drop(process.stdin.take());
        }
        Self { process, traces }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.id()).unwrap())
    }

    fn assert_died_of(&mut self, signal: Signal) {
        // `wait` would close our end of the owner's input first, and so let it end in peace.
        let input = self.process.stdin.take();
        assert_eq!(self.process.wait().unwrap().signal(), Some(signal as i32));
        drop(input);
    }
}

#[test]
fn is_played_by_another_process() {
    let Ok(role) = env::var(ROLE) else { return };
    let own;
    let server = if role == "shares" {
        Postgres::shared_blocking().unwrap()
    } else {
        own = Postgres::start_blocking().unwrap();
        &own
    };
    println!("data_dir={}", server.data_dir().unwrap().display());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    if role == "aborts" {
        std::process::abort();
    }
}
