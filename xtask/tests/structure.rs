//! The structure that ARCHITECTURE.md describes, held against the files.

#![expect(clippy::unwrap_used, reason = "in a test, a failure is a panic")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// The features of the core. Each imports only what stands before it.
const FEATURES: [&str; 12] = [
    "clock",
    "invalid",
    "name",
    "dialect",
    "retry",
    "error",
    "telemetry",
    "locks",
    "guard",
    "driver",
    "transaction",
    "outbox",
];

/// Features that decide: what they need to know of the world is passed to them.
const PURE: [&str; 2] = ["dialect", "retry"];

#[test]
fn features_import_only_what_stands_before_them() {
    let mut wrong = Vec::new();
    for (path, text) in sources("crates/txsafe/src") {
        let feature = feature_of(&path);
        if feature == "lib" {
            continue;
        }
        let rank = FEATURES.iter().position(|name| *name == feature);
        let rank = rank.unwrap_or_else(|| panic!("{path}: `{feature}` is no feature"));
        // An adapter finds in one place what it needs, and that place isn't imported from.
        if path == "driver/mod.rs" {
            continue;
        }
        let later = &FEATURES[rank + 1..];
        let imported = imported_features(&text);
        let from_root = imported.iter().filter(|name| name.starts_with(char::is_uppercase));
        wrong.extend(from_root.map(|name| format!("{path} imports `{name}` from the root")));
        wrong.extend(
            later
                .iter()
                .filter(|name| imported.contains(**name))
                .map(|name| format!("{path} imports `{name}`, which stands behind `{feature}`")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_order_of_features_is_written_down() {
    let page = read("ARCHITECTURE.md").split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(page.contains(&FEATURES.map(|name| format!("`{name}`")).join(" → ")));
}

#[test]
fn decisions_are_pure() {
    let impure = [
        ".elapsed()",
        "metrics::",
        "std::env",
        "Instant::now",
        "SystemTime::now",
        "fastrand",
        "tokio::",
        "std::fs",
        "std::net",
        "thread::",
        "tracing::",
    ];
    for (path, text) in sources("crates/txsafe/src") {
        if PURE.contains(&feature_of(&path)) {
            let code = without_tests(&text);
            let found: Vec<_> = impure.iter().filter(|word| code.contains(**word)).collect();
            assert!(found.is_empty(), "{path} decides, and has {found:?}");
        }
    }
}

#[test]
fn the_time_is_asked_in_one_place() {
    for (path, text) in sources("crates/txsafe/src") {
        let code = without_tests(&text);
        let mut code = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        let reads = code.find(|line| line.contains("Instant::now") || line.contains(".elapsed()"));
        // What is bounded by tokio's timers follows tokio's clock.
        let may = feature_of(&path) == "clock" || path == "driver/alarm.rs";
        assert!(may || reads.is_none(), "{path} has a clock of its own: {reads:?}");
    }
}

#[test]
fn what_the_documents_name_exists() {
    let files = files_below(&root());
    for document in ["ARCHITECTURE.md", "CONTRIBUTING.md", "DESIGN.md", "README.md"] {
        let text = read(document);
        let named = text.split('`').skip(1).step_by(2).flat_map(alternatives);
        let missing: BTreeSet<_> =
            named.filter(|name| is_path(name) && !is_there(name, &files)).collect();
        assert!(missing.is_empty(), "{document} names what isn't there: {missing:?}");
    }
}

fn is_path(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    let types = [".rs", ".md", ".sql", ".toml", ".tsv", ".sh"];
    let has_type =
        types.iter().any(|end| name.strip_suffix(end).is_some_and(|name| !name.is_empty()));
    name.chars().all(is_plain) && (has_type || name.ends_with('/'))
}

/// `src/{a,b}.rs` names two files.
fn alternatives(name: &str) -> Vec<String> {
    let Some((before, rest)) = name.split_once('{') else { return vec![name.to_owned()] };
    let Some((inside, after)) = rest.split_once('}') else { return vec![name.to_owned()] };
    inside
        .split(',')
        .flat_map(|one| alternatives(&format!("{before}{}{after}", one.trim())))
        .collect()
}

/// A path counts from the root, or from any folder: tables name a folder once, and then files in it.
fn is_there(name: &str, files: &BTreeSet<String>) -> bool {
    let name = name.trim_start_matches("./");
    if let Some(folder) = name.strip_suffix('/') {
        let inside = format!("/{folder}/");
        return files.iter().any(|file| format!("/{file}").contains(&inside));
    }
    files.contains(name) || files.iter().any(|file| file.ends_with(&format!("/{name}")))
}

fn feature_of(path: &str) -> &str {
    path.split('/').next().unwrap_or_default().trim_end_matches(".rs")
}

/// The features that the code of a file, its tests aside, names by `crate::`.
fn imported_features(text: &str) -> BTreeSet<String> {
    let code = without_tests(text);
    let code: String = code
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    // What a macro names is imported where it is used.
    let code = code.replace("$crate::", "");
    let mut found = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let Some(group) = rest.strip_prefix('{') else {
            found.insert(word(rest).to_owned());
            continue;
        };
        let mut depth = 0;
        let mut expects_name = true;
        for (i, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => expects_name = true,
                c if expects_name && (c.is_alphabetic() || c == '_') => {
                    found.insert(word(&group[i..]).to_owned());
                    expects_name = false;
                }
                _ => {}
            }
        }
    }
    found
}

fn word(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// What is only for tests stands last in a file.
fn without_tests(text: &str) -> &str {
    text.split("\n#[cfg(test)]\n").next().unwrap_or(text)
}

/// The Rust files below `folder`, by their paths from there, without files of tests.
fn sources(folder: &str) -> Vec<(String, String)> {
    let folder = root().join(folder);
    let paths = files_below(&folder).into_iter();
    let paths = paths.filter(|path| path.ends_with(".rs") && !path.ends_with("tests.rs"));
    paths
        .map(|path| {
            let text = fs::read_to_string(folder.join(&path)).unwrap();
            (path, text)
        })
        .collect()
}

fn files_below(folder: &Path) -> BTreeSet<String> {
    let mut folders = vec![folder.to_owned()];
    let mut files = BTreeSet::new();
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else {
                files.insert(
                    path.strip_prefix(folder).unwrap().to_string_lossy().replace('\\', "/"),
                );
            }
        }
    }
    files
}

fn read(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Two files of adapters have at most so many lines in a row in common: what both need belongs into the core.
const LONGEST_RUN: usize = 12;

#[test]
fn adapters_repeat_no_code() {
    let adapters = ["crates/txsafe-diesel/src", "crates/txsafe-sqlx/src"];
    let files: Vec<_> = adapters
        .into_iter()
        .flat_map(|adapter| {
            let files = sources(adapter);
            files.into_iter().map(move |(path, text)| (format!("{adapter}/{path}"), code_of(&text)))
        })
        .collect();
    let mut wrong = Vec::new();
    for (n, (path, code)) in files.iter().enumerate() {
        for (other_path, other) in &files[n + 1..] {
            let runs: BTreeSet<_> = other.windows(LONGEST_RUN + 1).collect();
            if let Some(run) = code.windows(LONGEST_RUN + 1).find(|run| runs.contains(run)) {
                wrong.push(format!("{path} and {other_path} both have\n{}", run.join("\n")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The lines of a file that could be shared: without comments, imports, signatures, which traits prescribe, and lone punctuation.
fn code_of(text: &str) -> Vec<String> {
    let (mut code, mut is_import, mut is_signature) = (Vec::new(), false, false);
    for line in text.lines().map(str::trim) {
        let words = line.trim_start_matches("pub(crate) ").trim_start_matches("pub ");
        is_import |= words.starts_with("use ");
        is_signature |= words.starts_with("fn ") || words.starts_with("async fn ");
        let is_code = line.contains(char::is_alphanumeric) && !line.starts_with("//");
        if is_code && !is_import && !is_signature {
            code.push(line.to_owned());
        }
        is_import &= !line.ends_with(';');
        is_signature &= !line.ends_with('{') && !line.ends_with(';');
    }
    code
}
