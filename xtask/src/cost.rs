//! `cargo xtask cost`: what txsafe adds to the build of a service.
//!
//! Each service is built from nothing, without txsafe and with it, in folders of their own below `target/`. All of them
//! together become `docs/build-cost.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
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
tracing-subscriber = "0.3"
"#;

const SERVICES: [Service; 3] = [
    Service {
        name: "sqlx",
        dependencies: r#"sqlx = { version = "0.9", features = ["postgres", "runtime-tokio", "tls-rustls"] }"#,
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

/// So much processor time the compiler took for each crate of a build, by package, crate and features.
type Units = BTreeMap<Unit, Duration>;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Unit {
    /// Package, version and crate.
    name: String,
    features: String,
}

/// A build from nothing.
struct Built {
    units: Units,
    wall: Duration,
}

const PROFILES: [&[&str]; 2] = [&[], &["--release"]];

/// The environment variable with the file that the compiler's times are noted in.
const LOG: &str = "TXSAFE_XTASK_COST_LOG";

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
         *Crates* counts packages in all, or those that txsafe adds. *Processor time* is the compiler's, over all cores: of the \
         bare service\nfor everything, and behind it what comes on top, which is the crates that are added, those \
         that other features change, and the\nservice itself. *Wall* is what a clock shows, and noisy. Percentages \
         compare with the bare service. Incremental compilation is\noff, as it always is for crates of a registry.\n\n{table}"
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
    let crates = bare.crates()?;
    let [dev, release] = PROFILES.map(|profile| bare.build(profile));
    let bare = [dev?, release?];
    let columns = bare
        .each_ref()
        .map(|built| format!("{} | {}", seconds(total(&built.units)), seconds(built.wall)));
    add_row(table, &format!("{} | | {} | {}", service.name, crates.len(), columns.join(" | ")));

    let (first, others) = service.features.split_first().ok_or("a service has no adapter")?;
    let default = Variant { service, feature: Some(first) };
    let packages = default.crates()?;
    let added = packages.difference(&crates).count();
    let mut columns = Vec::new();
    let mut more = vec![Vec::new(); others.len()];
    for (profile, bare) in PROFILES.into_iter().zip(&bare) {
        let built = default.build(profile)?;
        let base = total(&bare.units).as_secs_f64();
        let adds = added_time(&bare.units, &built.units);
        columns.push(format!("{} | {}", plus(adds, base), beside(built.wall, bare.wall)));
        // What a feature adds to that needn't be built from nothing.
        let mut known = Units::new();
        for (feature, cells) in others.iter().zip(&mut more) {
            let with = Variant { service, feature: Some(feature) };
            let packages = with.crates()?.difference(&packages).cloned().collect();
            let rebuilt = with.build_again(profile)?;
            known.extend(rebuilt.clone());
            let adds = adds + feature_time(&built.units, &rebuilt, &known, &packages);
            cells.push(plus(adds, base));
        }
    }
    let name = |feature: &str| match feature {
        "" => format!("`{}`", service.adapter),
        feature => format!("`{}`, `{feature}`", service.adapter),
    };
    let columns = columns.join(" | ");
    add_row(table, &format!("{} | {} | + {added} | {columns}", service.name, name(first)));
    for (feature, cells) in others.iter().zip(more) {
        let added = Variant { service, feature: Some(feature) }.crates()?;
        let added = added.difference(&crates).count();
        // What a clock would show of so little says nothing.
        let columns = cells.join(" | | ");
        add_row(table, &format!("{} | {} | + {added} | {columns} | ", service.name, name(feature)));
    }
    Ok(())
}

fn add_row(table: &mut String, row: &str) {
    let line = format!("| {row} |");
    println!("{line}");
    let _ = writeln!(table, "{line}");
}

/// What a build takes more than another one. What both compile alike cancels out, with its noise; the service itself is in both.
fn added_time(without: &Units, with: &Units) -> f64 {
    let is_own = |unit: &Unit| unit.name.starts_with("service ");
    let only_in = |these: &Units, others: &Units| {
        let those = these.iter().filter(|(unit, _)| is_own(unit) || !others.contains_key(unit));
        those.map(|(_, time)| time.as_secs_f64()).sum::<f64>()
    };
    only_in(with, without) - only_in(without, with)
}

/// What a feature takes more than the build before: packages that it adds, whichever feature had them compiled first, and crates
/// that are compiled again.
fn feature_time(before: &Units, again: &Units, known: &Units, packages: &BTreeSet<String>) -> f64 {
    let time_of = |name: &str| {
        let same = before.iter().filter(|(unit, _)| unit.name == name);
        same.map(|(_, time)| time.as_secs_f64()).sum::<f64>()
    };
    let is_added = |unit: &Unit| packages.contains(&unit.package());
    let added = known.iter().filter(|(unit, _)| is_added(unit));
    let added: f64 = added.map(|(_, time)| time.as_secs_f64()).sum();
    let changed = again.iter().filter(|(unit, _)| !is_added(unit));
    let changed = changed.map(|(unit, time)| time.as_secs_f64() - time_of(&unit.name));
    added + changed.sum::<f64>()
}

impl Unit {
    /// As `cargo tree` writes it.
    fn package(&self) -> String {
        let mut words = self.name.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        format!("{name} v{version}")
    }
}

fn total(units: &Units) -> Duration {
    units.values().sum()
}

fn plus(adds: f64, base: f64) -> String {
    format!("{adds:+.1} s ({:+.0} %)", adds / base * 100.0)
}

fn beside(with: Duration, without: Duration) -> String {
    let percent = (with.as_secs_f64() / without.as_secs_f64() - 1.0) * 100.0;
    format!("{} ({percent:+.0} %)", seconds(with))
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
        let start = Instant::now();
        let units = compile(&folder, profile)?;
        Ok(Built { units, wall: start.elapsed() })
    }

    /// Builds what another build in the same folder hasn't.
    fn build_again(&self, profile: &[&str]) -> Result<Units, String> {
        compile(&self.write()?, profile)
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

/// Builds the package in this folder, and notes how long each of its crates takes.
fn compile(folder: &Path, profile: &[&str]) -> Result<Units, String> {
    let log = folder.join("target-units.txt");
    fs::write(&log, "").map_err(|error| format!("{}: {error}", log.display()))?;
    let this_program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut build = run::cargo_in(folder);
    // Cargo compiles by default what lies on this disk incrementally, which costs more, but never what comes from a
    // registry, as txsafe does for its users.
    build.env("CARGO_INCREMENTAL", "0").env("RUSTC_WRAPPER", this_program).env(LOG, &log);
    succeed(build.args(["build", "--quiet"]).args(profile))?;
    let text = fs::read_to_string(&log).map_err(|error| format!("{}: {error}", log.display()))?;
    let mut units = Units::new();
    for line in text.lines() {
        let mut columns = line.split('\t').map(str::to_owned);
        let (Some(name), Some(features), Some(ms)) =
            (columns.next(), columns.next(), columns.next())
        else {
            return Err(format!("{}: {line:?} isn't a line of it", log.display()));
        };
        let ms = ms.parse().map_err(|error| format!("{}: {line:?}: {error}", log.display()))?;
        *units.entry(Unit { name, features }).or_default() += Duration::from_millis(ms);
    }
    Ok(units)
}

/// Runs the compiler in place of cargo, and notes how long it took: cargo calls this program as its `RUSTC_WRAPPER`.
pub(crate) fn as_compiler(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    let log = std::env::var_os(LOG)?;
    let rustc = arguments.next()?;
    let arguments: Vec<_> = arguments.collect();
    let status = Command::new(rustc).args(&arguments).status().ok()?;
    let texts: Vec<_> = arguments.iter().map(|argument| argument.to_string_lossy()).collect();
    let behind = |option: &str| {
        let places = texts.iter().enumerate().filter(|(_, text)| *text == option);
        places
            .filter_map(|(i, _)| texts.get(i + 1))
            .map(|text| text.to_string())
            .collect::<Vec<_>>()
    };
    if let ([name], Ok(time)) = (behind("--crate-name").as_slice(), processor_time_of_children()) {
        let package = |of: &str| std::env::var(format!("CARGO_PKG_{of}")).unwrap_or_default();
        let features: Vec<_> =
            behind("--cfg").into_iter().filter(|cfg| cfg.starts_with("feature=")).collect();
        let name = format!("{} {} {name}", package("NAME"), package("VERSION"));
        let line = format!("{name}\t{}\t{}\n", features.join(","), time.as_millis());
        // One write of a short line isn't torn.
        let written = fs::OpenOptions::new().append(true).open(&log);
        written.and_then(|mut log| log.write_all(line.as_bytes())).ok()?;
    }
    Some(ExitCode::from(u8::try_from(status.code().unwrap_or(1)).unwrap_or(1)))
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
