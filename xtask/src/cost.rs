//! `cargo xtask cost`: what txsafe adds to the build of a service.
//!
//! Each service is built from nothing, without txsafe and with it, in folders of their own below `target/`. All of them
//! together become `docs/build-cost.md`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::run;

/// A small service on axum and tokio, with a handler that runs a transaction.
struct Service {
    name: &'static str,
    dependencies: &'static str,
    adapter: &'static str,
    bare: &'static str,
    guarded: &'static str,
    /// What its adapter has besides the defaults, or in their place.
    features: &'static [&'static str],
}

const AXUM: &str = r#"
axum = "0.8"
tokio = { version = "1", features = ["full"] }
tracing = "0.1"
"#;

const SERVICES: [Service; 3] = [
    Service {
        name: "sqlx",
        dependencies: r#"sqlx = { version = "0.9", features = ["postgres", "runtime-tokio"] }"#,
        adapter: "txsafe-sqlx",
        bare: include_str!("../services/sqlx/bare.rs"),
        guarded: include_str!("../services/sqlx/guarded.rs"),
        features: &["", "uuid", "origins", "sql", "dev"],
    },
    Service {
        name: "diesel-async",
        dependencies: r#"
diesel = { version = "2.3", default-features = false, features = ["postgres_backend"] }
diesel-async = { version = "0.9", features = ["deadpool", "postgres"] }
"#,
        adapter: "txsafe-diesel",
        bare: include_str!("../services/diesel-async/bare.rs"),
        guarded: include_str!("../services/diesel-async/guarded.rs"),
        features: &["", "uuid", "origins", "sql", "dev"],
    },
    Service {
        name: "diesel-r2d2",
        dependencies: r#"diesel = { version = "2.3", features = ["postgres", "r2d2"] }"#,
        adapter: "txsafe-diesel",
        bare: include_str!("../services/diesel-r2d2/bare.rs"),
        guarded: include_str!("../services/diesel-r2d2/guarded.rs"),
        features: &["blocking"],
    },
];

/// A build from nothing.
#[derive(Debug, Clone, Copy)]
struct Built {
    wall: Duration,
    processor: Duration,
}

/// What is built: a service, bare or with an adapter and one more feature of it.
struct Variant<'s> {
    service: &'s Service,
    feature: Option<&'static str>,
}

/// The page with the table, as users read it.
const PAGE: &str = "docs/build-cost.md";

/// Builds what `arguments` name and prints a table; without arguments builds all, and writes the page.
pub(crate) fn run(arguments: &[OsString]) -> Result<(), String> {
    let names = SERVICES.each_ref().map(|service| service.name);
    let unknown = arguments.iter().find(|argument| !names.iter().any(|name| *argument == name));
    if let Some(unknown) = unknown {
        let unknown = unknown.display();
        return Err(format!("`{unknown}` is no service; there are: {}", names.join(", ")));
    }
    let is_wanted = |service: &&Service| {
        arguments.is_empty() || arguments.iter().any(|argument| argument == service.name)
    };
    let mut table = String::from(
        "| service | with | crates | dev: processor time | dev: wall | release: processor time | release: wall |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for service in SERVICES.iter().filter(is_wanted) {
        add_rows(service, &mut table)?;
    }
    println!("\n{table}");
    if arguments.is_empty() { write_page(&table) } else { Ok(()) }
}

fn write_page(table: &str) -> Result<(), String> {
    let (date, rustc) = (first_line_of("date", "+%F")?, first_line_of("rustc", "--version")?);
    let cores = std::thread::available_parallelism().map_err(|error| error.to_string())?;
    let page = format!(
        "# What txsafe adds to a build\n\n\
         `cargo xtask cost` wrote this page on {date} with {rustc}, on a machine with {cores} cores.\n\n\
         It builds three small services on axum, tokio and tracing from nothing, without txsafe and with it \
         (`xtask/services/`).\n\
         *Crates* counts packages in all, or those that txsafe adds. *Processor time* is the sum over all cores; *wall* is \
         what a clock\nshows. The percentage compares with the same service without txsafe. Incremental compilation is off, \
         as it always is for\ncrates of a registry.\n\n{table}"
    );
    let path = run::workspace_root().join(PAGE);
    fs::write(&path, page).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("{PAGE} is written.");
    Ok(())
}

fn first_line_of(program: &str, argument: &str) -> Result<String, String> {
    let output = Command::new(program).arg(argument).output();
    let output = output.map_err(|error| format!("`{program} {argument}` can't be run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn add_rows(service: &Service, table: &mut String) -> Result<(), String> {
    let bare = Variant { service, feature: None };
    let (crates, dev, release) = (bare.crates()?, bare.build(&[])?, bare.build(&["--release"])?);
    let count = crates.len();
    let line = format!("| {} | | {count} | {} | {} |", service.name, dev.alone(), release.alone());
    println!("{line}");
    let _ = writeln!(table, "{line}");
    for feature in service.features {
        let with = Variant { service, feature: Some(feature) };
        let added = with.crates()?.difference(&crates).count();
        let dev = with.build(&[])?.beside(dev);
        let release = with.build(&["--release"])?.beside(release);
        let name = if feature.is_empty() {
            format!("`{}`", service.adapter)
        } else {
            format!("`{}`, `{feature}`", service.adapter)
        };
        let line = format!("| {} | {name} | + {added} | {dev} | {release} |", service.name);
        println!("{line}");
        let _ = writeln!(table, "{line}");
    }
    Ok(())
}

impl Variant<'_> {
    /// The packages that are built, each version of its own.
    fn crates(&self) -> Result<BTreeSet<String>, String> {
        let folder = self.write()?;
        let mut tree = run::cargo_in(&folder);
        let tree =
            tree.args(["tree", "--edges", "normal,build", "--prefix", "none", "--no-dedupe"]);
        let tree = tree.args(["--format", "{p}"]).output().map_err(|error| error.to_string())?;
        if !tree.status.success() {
            return Err(format!("cargo tree failed: {}", String::from_utf8_lossy(&tree.stderr)));
        }
        let packages = String::from_utf8_lossy(&tree.stdout);
        let named = packages.lines().map(|line| line.split(" (").next().unwrap_or(line).to_owned());
        Ok(named.filter(|package| !package.starts_with("service ")).collect())
    }

    fn build(&self, profile: &[&str]) -> Result<Built, String> {
        let folder = self.write()?;
        let mut fetch = run::cargo_in(&folder);
        succeed(fetch.args(["fetch", "--quiet"]))?;
        let target = folder.join("target");
        if target.exists() {
            fs::remove_dir_all(&target)
                .map_err(|error| format!("{}: {error}", target.display()))?;
        }
        let (start, before) = (Instant::now(), processor_time_of_children()?);
        let mut build = run::cargo_in(&folder);
        // Cargo compiles by default what lies on this disk incrementally, which costs more, but never what comes from a
        // registry, as txsafe does for its users.
        build.env("CARGO_INCREMENTAL", "0");
        succeed(build.args(["build", "--quiet"]).args(profile))?;
        let built =
            Built { wall: start.elapsed(), processor: processor_time_of_children()? - before };
        let _ = fs::remove_dir_all(&target);
        Ok(built)
    }

    /// The package, with the versions of this workspace.
    fn write(&self) -> Result<PathBuf, String> {
        let folder = run::target_folder().join("cost").join(self.service.name);
        let root = run::workspace_root();
        let (main, adapter) = match self.feature {
            None => (self.service.bare, String::new()),
            Some(feature) => (self.service.guarded, self.adapter(root, feature)),
        };
        let Service { dependencies, .. } = self.service;
        let manifest = format!(
            "[package]\nname = \"service\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n\
             [workspace]\n\n[dependencies]{AXUM}{dependencies}\n{adapter}\n"
        );
        let write = || {
            fs::create_dir_all(folder.join("src"))?;
            fs::write(folder.join("src/main.rs"), main)?;
            fs::write(folder.join("Cargo.toml"), manifest)?;
            fs::copy(root.join("Cargo.lock"), folder.join("Cargo.lock"))
        };
        write().map_err(|error| format!("{}: {error}", folder.display()))?;
        Ok(folder)
    }

    fn adapter(&self, root: &Path, feature: &str) -> String {
        let name = self.service.adapter;
        let path = root.join("crates").join(name);
        let defaults = if feature == "blocking" { ", default-features = false" } else { "" };
        let features = if feature.is_empty() { String::new() } else { format!("{feature:?}") };
        format!("{name} = {{ path = {path:?}{defaults}, features = [{features}] }}")
    }
}

impl Built {
    fn alone(self) -> String {
        format!("{} | {}", seconds(self.processor), seconds(self.wall))
    }

    fn beside(self, bare: Self) -> String {
        let more = |with: Duration, without: Duration| {
            let percent = (with.as_secs_f64() / without.as_secs_f64() - 1.0) * 100.0;
            format!("{} ({percent:+.0} %)", seconds(with))
        };
        format!("{} | {}", more(self.processor, bare.processor), more(self.wall, bare.wall))
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

fn succeed(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|error| format!("cargo can't be run: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} failed")) }
}

/// Of all children that have ended, and theirs.
/// Source: `proc_pid_stat(5)`, fields 16 and 17, in hundredths of a second.
fn processor_time_of_children() -> Result<Duration, String> {
    let path = "/proc/self/stat";
    let stat = fs::read_to_string(path).map_err(|error| {
        format!("{path}: {error}; processor times are read there, which is Linux's alone")
    })?;
    // The second field is a name in parentheses, which may have spaces.
    let fields = stat.rsplit_once(") ").map_or("", |(_, fields)| fields);
    let ticks = |field: usize| {
        let value = fields.split_ascii_whitespace().nth(field - 3);
        value
            .and_then(|value| value.parse::<u64>().ok())
            .ok_or(format!("{path} has no field {field}"))
    };
    Ok(Duration::from_millis((ticks(16)? + ticks(17)?) * 10))
}
