//! `cargo xtask api`: the public API of each published crate, as text in `docs/api/`.
//!
//! Only Rust 1.95's rustdoc writes the form of JSON that this program reads. On another version it reports that it compared
//! nothing. The JSON is an unstable feature, which the program switches on.

#![forbid(unsafe_code)]

use public_api::{Builder, Error as ApiError};
use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// The crates that are published, but for macros, whose API is the code that they make.
const CRATES: [&str; 6] = [
    "txsafe",
    "txsafe-diesel",
    "txsafe-sqlx",
    "txsafe-layers",
    "txsafe-testkit",
    "txsafe-interpose",
];

/// Where this is set, cargo calls this program in place of rustdoc.
const AS_RUSTDOC: &str = "TXSAFE_API_AS_RUSTDOC";

fn main() -> ExitCode {
    if env::var_os(AS_RUSTDOC).is_some() {
        return as_rustdoc();
    }
    let checks = match env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [flag] if flag == "--check" => true,
        _ => {
            eprintln!("error: api takes no argument but --check");
            return ExitCode::from(2);
        }
    };
    match run(checks) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

/// rustdoc with its unstable options. Not the compiler: build scripts look whether it has them, and would run again.
fn as_rustdoc() -> ExitCode {
    let rustdoc =
        Command::new("rustdoc").args(env::args_os().skip(1)).env("RUSTC_BOOTSTRAP", "1").status();
    match rustdoc {
        Ok(status) if status.success() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: rustdoc doesn't start: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(checks: bool) -> Result<(), String> {
    let folder = documented()?;
    let mut differences = Vec::new();
    for name in CRATES {
        let path = root().join("docs/api").join(name).with_extension("txt");
        let json = folder.join(name.replace('-', "_")).with_extension("json");
        let Some(api) = api_of(&json)? else { return Ok(()) };
        if !checks {
            fs::write(&path, api).map_err(|error| format!("{}: {error}", path.display()))?;
            println!("{}", path.display());
            continue;
        }
        let known = fs::read_to_string(&path).unwrap_or_default();
        differences.extend(difference(name, &known, &api));
    }
    if differences.is_empty() {
        return Ok(());
    }
    Err(format!(
        "the public API isn't that of docs/api; if it is to change, run `cargo xtask api` and commit what it writes:\n{}",
        differences.join("\n"),
    ))
}

/// Documents the workspace, as the documentation step of `.ci/run` does, so that what that has built serves again; returns the
/// folder of the JSON.
fn documented() -> Result<PathBuf, String> {
    let this = env::current_exe().map_err(|error| format!("this program's own path: {error}"))?;
    let target =
        env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from);
    let documented = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["doc", "--workspace", "--no-deps", "--all-features", "--locked", "--quiet"])
        .current_dir(root())
        .env("RUSTDOC", this)
        .env(AS_RUSTDOC, "1")
        .env("RUSTDOCFLAGS", "-Z unstable-options --output-format json --cap-lints allow")
        .status()
        .map_err(|error| format!("cargo doesn't start: {error}"))?;
    if documented.success() { Ok(target.join("doc")) } else { Err("cargo doc failed".into()) }
}

/// A line for each item. `None`, and a message, if this Rust's JSON has another form.
fn api_of(json: &Path) -> Result<Option<String>, String> {
    let api = Builder::from_rustdoc_json(json)
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .omit_auto_derived_impls(true)
        .build();
    match api {
        Ok(api) => Ok(Some(api.items().map(|item| format!("{item}\n")).collect())),
        Err(ApiError::SerdeJsonError(error)) => {
            println!(
                "not checked: this Rust's rustdoc writes another form of JSON than that of Rust 1.95, which is read here ({error})"
            );
            Ok(None)
        }
        Err(error) => Err(format!("{}: {error}", json.display())),
    }
}

fn difference(name: &str, known: &str, api: &str) -> Vec<String> {
    let only = |sign: char, of: &str, other: &str| -> Vec<String> {
        let other: Vec<_> = other.lines().collect();
        let lines = of.lines().filter(|line| !other.contains(line));
        lines.map(|line| format!("  {sign} {name}: {line}")).collect()
    };
    [only('-', known, api), only('+', api, known)].concat()
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().map(Path::to_path_buf).unwrap_or_default()
}
