//! Package managers, and what each calls PostgreSQL.

use std::env;
use std::io::{self, IsTerminal as _};
use std::process::{Command, Stdio};

/// A package manager that we know the right packages for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PackageManager {
    Apt,
    Dnf,
    Pacman,
    Apk,
    Brew,
}

impl PackageManager {
    /// The one on this machine.
    pub(crate) fn detect() -> Option<Self> {
        Self::among(is_on_path)
    }

    /// What a person would type; installs the server, libpq with its headers, and PgBouncer.
    pub(crate) fn install_line(self) -> &'static str {
        match self {
            Self::Apt => "apt-get install postgresql libpq-dev pgbouncer",
            Self::Dnf => "dnf install postgresql-server libpq-devel pgbouncer",
            Self::Pacman => "pacman -S postgresql pgbouncer",
            Self::Apk => "apk add postgresql libpq-dev pgbouncer",
            Self::Brew => "brew install postgresql@17 pgbouncer",
        }
    }

    /// Some systems carry a foreign manager too, so the order matters: `apt-get` exists on Fedora as
    /// a package, `brew` on any Linux.
    fn among(is_there: impl Fn(&str) -> bool) -> Option<Self> {
        [
            ("dnf", Self::Dnf),
            ("pacman", Self::Pacman),
            ("apk", Self::Apk),
            ("apt-get", Self::Apt),
            ("brew", Self::Brew),
        ]
        .into_iter()
        .find_map(|(program, manager)| is_there(program).then_some(manager))
    }
}

/// Installs with apt, as root or through sudo.
pub(crate) fn install_with_apt() -> Result<(), String> {
    let mut command = as_root()?;
    command.args(["/bin/sh", "-euc", include_str!("apt.sh"), "txsafe-setup"]);
    // apt draws a bar for people and writes lines for logs.
    if !io::stdout().is_terminal() {
        command.arg("--quiet");
    }
    let status = command.status().map_err(|error| format!("apt-get can't be run: {error}"))?;
    if status.success() {
        return Ok(());
    }
    Err(format!(
        "apt-get failed ({status}); correct what it complains about above, or install by hand: {}",
        PackageManager::Apt.install_line()
    ))
}

/// A command prefix under which the rest runs as root.
fn as_root() -> Result<Command, String> {
    if is_root() {
        return Ok(Command::new("env"));
    }
    if !is_on_path("sudo") {
        return Err(format!(
            "only root can install packages, and there is no sudo; as root run: {}",
            PackageManager::Apt.install_line()
        ));
    }
    let mut sudo = Command::new("sudo");
    // Without a person to ask, sudo must fail rather than wait for a password.
    if !io::stdin().is_terminal() {
        sudo.arg("-n");
    }
    Ok(sudo)
}

pub(crate) fn is_root() -> bool {
    Command::new("id")
        .arg("-u")
        .stderr(Stdio::null())
        .output()
        .is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

pub(crate) fn is_on_path(program: &str) -> bool {
    // Servers lie where only root looks.
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.into_iter().any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(programs: &[&str]) -> Option<PackageManager> {
        PackageManager::among(|program| programs.contains(&program))
    }

    #[test]
    fn distributions_are_told_by_their_package_manager() {
        assert_eq!(with(&["apt-get"]), Some(PackageManager::Apt));
        assert_eq!(with(&["dnf"]), Some(PackageManager::Dnf));
        assert_eq!(with(&["pacman"]), Some(PackageManager::Pacman));
        assert_eq!(with(&["apk"]), Some(PackageManager::Apk));
        assert_eq!(with(&["brew"]), Some(PackageManager::Brew));
        assert_eq!(with(&[]), None);
    }

    #[test]
    fn the_systems_own_manager_comes_first() {
        assert_eq!(with(&["brew", "apt-get"]), Some(PackageManager::Apt));
        assert_eq!(with(&["apt-get", "dnf"]), Some(PackageManager::Dnf));
    }

    #[test]
    fn every_line_installs_postgresql() {
        use PackageManager::{Apk, Apt, Brew, Dnf, Pacman};
        for manager in [Apt, Dnf, Pacman, Apk, Brew] {
            assert!(manager.install_line().contains("postgresql"), "{manager:?}");
        }
    }
}
