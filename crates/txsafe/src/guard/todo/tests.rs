use super::{list::HEADING, *};
use crate::guard::{code::Code, finding::Site, policy::Severity};
use std::{
    fs,
    io::{BufRead, BufReader, Write, read_to_string, stdin, stdout},
    panic::Location,
    process::{Command, Stdio},
    time::Duration,
};

fn finding(transaction: &str, file: &str, line: u32) -> Finding {
    Finding {
        code: Code::ExternalWait,
        severity: Severity::Error,
        what: "waited".into(),
        transaction: transaction.into(),
        place: Location::caller(),
        site: Some(Site {
            file: file.into(),
            line,
            function: None,
            called: None,
            is_behind: false,
        }),
        other_connection: false,
        elapsed: Duration::ZERO,
        waited: None,
        times: None,
        statements: 0,
        last_sql: None,
        locks: Vec::new(),
        occurrences: 1,
        expired: None,
    }
}

/// A folder of a test's own, with a package in it.
struct Folder(PathBuf);

impl Folder {
    fn new(test: &str) -> Self {
        let folder = env::temp_dir().join(format!("txsafe-todo-{}-{test}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(folder.join("src")).unwrap();
        fs::write(folder.join("Cargo.toml"), "").unwrap();
        fs::write(folder.join("src/pay.rs"), "").unwrap();
        Self(folder)
    }

    fn todo(&self) -> PathBuf {
        self.0.join("todo.tsv")
    }

    /// Why a file with these lines can't be used.
    fn refused(&self, lines: &str) -> String {
        fs::write(self.todo(), lines).unwrap();
        Todo::read(&self.todo(), false).err().unwrap().to_string()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn calls_are_told_apart_by_their_names() {
    let folder = Folder::new("names");
    let path = folder.0.join("todo.tsv");
    let marked = Finding { code: Code::ExternalCall, ..finding("pay", "src/pay.rs", 1) };
    let asked = Finding { code: Code::SystemCall, ..marked.clone() };
    let writing = Todo::read(&path, true).unwrap();
    assert!(writing.has(&marked, "mailer.receipt") && writing.has(&asked, "open64(/etc/hostname)"));
    let known = Todo::read(&path, false).unwrap();
    assert!(known.has(&marked, "mailer.receipt") && !known.has(&marked, "stripe.charge"));
    assert!(known.has(&asked, "open64(/tmp/7)") && !known.has(&asked, "connect(10.0.0.7:80)"));
}

#[test]
fn what_was_written_down_is_known_and_nothing_else() {
    let folder = Folder::new("known");
    let path = folder.todo();
    let missing = Todo::read(&path, false).err().unwrap().to_string();
    assert!(missing.contains("TXSAFE_GUARD_TODO=write"), "{missing}");

    let writing = Todo::read(&path, true).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), HEADING, "also where nothing is found");
    assert!(writing.has(&finding("pay", "lib/pay.rs", 7), ""));
    assert!(writing.has(&finding("pay", "lib/pay.rs", 9), ""), "lines move");
    let text = fs::read_to_string(&path).unwrap();
    assert_eq!(text, format!("{HEADING}TXS001\tpay\tlib/pay.rs\t-\n"));

    let known = Todo::read(&path, false).unwrap();
    assert!(known.has(&finding("pay", "lib/pay.rs", 8), ""));
    assert!(!known.has(&finding("ship", "lib/pay.rs", 8), ""));
    assert!(!known.has(&finding("pay", "lib/ship.rs", 8), ""));

    let wrong = folder.refused("TXS001 pay\n");
    assert!(wrong.contains("line 1: \"TXS001 pay\""), "{wrong}");
}

#[test]
fn lines_are_in_order_whenever_they_were_found() {
    let folder = Folder::new("order");
    let written = |transactions: &[&str]| {
        let _ = fs::remove_file(folder.todo());
        let todo = Todo::read(&folder.todo(), true).unwrap();
        assert!(transactions.iter().all(|name| todo.has(&finding(name, "lib/pay.rs", 1), "")));
        fs::read_to_string(folder.todo()).unwrap()
    };
    assert_eq!(written(&["b", "c", "a"]), written(&["c", "a", "b"]));

    let noted = "# ours\nTXS001\tb\tlib/pay.rs\t-\n# TX-117\nTXS001\td\tlib/pay.rs\t-";
    fs::write(folder.todo(), noted).unwrap();
    let todo = Todo::read(&folder.todo(), true).unwrap();
    assert!(
        todo.has(&finding("c", "lib/pay.rs", 1), "")
            && todo.has(&finding("e", "lib/pay.rs", 1), "")
    );
    let text = fs::read_to_string(folder.todo()).unwrap();
    let expected = noted.replace("# TX-117", "TXS001\tc\tlib/pay.rs\t-\n# TX-117");
    assert_eq!(text, format!("{expected}\nTXS001\te\tlib/pay.rs\t-\n"));
}

#[test]
fn a_file_is_named_as_seen_from_the_list() {
    let folder = Folder::new("names");
    fs::create_dir(folder.0.join("tests")).unwrap();
    let path = folder.0.join("tests/../tests/todo.tsv");
    let todo = Todo::read(&path, true).unwrap();
    let absolute = folder.0.join("src/pay.rs");
    assert!(todo.has(&finding("pay", absolute.to_str().unwrap(), 1), ""));
    // Cargo's registry lies outside of the workspace.
    assert!(todo.has(&finding("ship", env::current_exe().unwrap().to_str().unwrap(), 1), ""));
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("TXS001\tpay\t../src/pay.rs\t-\n"), "{text}");
    assert!(text.contains("TXS001\tship\t/"), "{text}");

    // As rustc tells it of this file, from the workspace; and as it is seen from here.
    let sources = Sources::around(Path::new("todo.tsv"));
    let from_here = "src/guard/todo/tests.rs";
    let absolute = env::current_dir().unwrap().join(from_here);
    for file in [file!(), from_here, absolute.to_str().unwrap()] {
        let entry = Entry::of(&finding("pay", file, 1), "", &sources).to_string();
        assert_eq!(entry, format!("TXS001\tpay\t{from_here}\t-"));
    }
}

#[test]
fn lines_that_can_only_be_dead_are_refused() {
    let folder = Folder::new("dead");
    let live = "TXS001\tpay\tsrc/pay.rs\t-\n";
    let twice = folder.refused(&format!("# known\n{live}\n{live}"));
    assert!(twice.contains("line 4 is line 2 again") && twice.contains("take one"), "{twice}");

    let gone = "TXS001\tship\tsrc/ship.rs\t-\nTXS002\tpay\t-\t-\n";
    let refused = folder.refused(&format!("{live}{gone}"));
    assert!(refused.contains("line 2: there is no src/ship.rs any more"), "{refused}");
    assert!(Todo::read(&folder.todo(), true).is_ok(), "it is being worked on");

    fs::remove_file(folder.0.join("src/pay.rs")).unwrap();
    assert!(Todo::read(&folder.todo(), false).is_ok(), "the sources are elsewhere");
}

/// Two more processes of this test write, let loose at once, with nothing known of each other's lines.
#[test]
fn processes_that_write_at_once_lose_nothing() {
    const PATH: &str = "TXSAFE_TEST_TODO_PATH";
    const ORDER: &str = "TXSAFE_TEST_TODO_ORDER";
    if let Ok(path) = env::var(PATH) {
        return write_many(Path::new(&path), &env::var(ORDER).unwrap());
    }
    let folder = Folder::new("processes");
    let path = folder.todo();
    let writers = ["forwards", "backwards"].map(|order| {
        let mut writer = Command::new(env::current_exe().unwrap())
            .args(["--exact", "guard::todo::tests::processes_that_write_at_once_lose_nothing"])
            .env(PATH, &path)
            .env(ORDER, order)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = BufReader::new(writer.stdout.take().unwrap()).lines();
        assert!(told.any(|line| line.unwrap().ends_with("ready")), "it ended early");
        (writer, told)
    });
    let writing = writers.map(|(mut writer, told)| {
        drop(writer.stdin.take());
        (writer, told)
    });
    for (mut writer, told) in writing {
        told.for_each(|line| drop(line.unwrap()));
        assert!(writer.wait().unwrap().success());
    }
    let lines = (0..MANY).map(|n| format!("TXS001\tt{n:03}\tlib/pay.rs\t-\n"));
    assert_eq!(fs::read_to_string(&path).unwrap(), HEADING.to_owned() + &lines.collect::<String>());
}

const MANY: usize = 200;

/// From either end, so that each writes what the other one is going to, too.
fn write_many(path: &Path, order: &str) {
    let todo = Todo::read(path, true).unwrap();
    writeln!(stdout(), "ready").unwrap();
    read_to_string(stdin()).unwrap();
    for n in 0..MANY {
        let n = if order == "forwards" { n } else { MANY - 1 - n };
        assert!(todo.has(&finding(&format!("t{n:03}"), "lib/pay.rs", 1), ""));
    }
}
