//! Errors name the cure.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use txsafe_testkit::Postgres;

use crate::database::connect;

const ROLE: &str = "TXSAFE_TEST_TROUBLE";

#[test]
fn missing_programs_are_explained() {
    let said = in_another_process("missing", &[("TXSAFE_PG_BIN", "/nonexistent/bin")]);
    assert!(said.contains("missing=true"), "{said}");
    assert!(said.contains("`cargo xtask setup`"), "{said}");
    assert!(said.contains("`apt-get install postgresql libpq-dev`"), "{said}");
    assert!(said.contains("/nonexistent/bin: no initdb"), "{said}");
}

#[tokio::test]
async fn database_url_names_the_shared_server() {
    let server = Postgres::start().await.unwrap();
    let said = in_another_process("given", &[("DATABASE_URL", server.url())]);
    assert!(said.contains(&format!("port={}", server.port())), "{said}");
    assert!(said.contains("or unset DATABASE_URL"), "{said}");
    // The other process has ended, and did not take the server with it.
    connect(server.url()).await.unwrap();
}

#[test]
fn a_refused_setting_is_explained_by_the_log() {
    let error = Postgres::builder().setting("no_such_setting", "on").start_blocking().unwrap_err();
    assert!(error.to_string().contains(r#"parameter "no_such_setting""#), "{error}");
}

#[test]
fn an_unknown_locale_is_explained() {
    let error = Postgres::builder().locale("xx_XX.UTF-8").start_blocking().unwrap_err();
    assert!(error.to_string().contains("apt-get install locales"), "{error}");
}

#[test]
fn a_server_without_translations_is_passed_over() {
    let folder = Untranslated::new();
    let said = in_another_process("german", &[("TXSAFE_PG_BIN", folder.0.to_str().unwrap())]);
    assert!(said.contains("Division durch Null"), "{said}");
    assert!(
        said.contains(&format!("{} has no messages in the language of de_DE", folder.0.display())),
        "{said}"
    );
}

/// The programs of a server, in a folder of their own, whose messages stay English.
struct Untranslated(PathBuf);

impl Untranslated {
    fn new() -> Self {
        let server = Postgres::start_blocking().unwrap();
        let started =
            fs::read_to_string(server.data_dir().unwrap().join("postmaster.opts")).unwrap();
        let programs = Path::new(started.split(' ').next().unwrap()).parent().unwrap();
        let folder = env::temp_dir().join(format!("txsafe-untranslated-{}", process::id()));
        fs::create_dir(&folder).unwrap();
        let this = Self(folder);
        for program in ["initdb", "postgres"] {
            let original = programs.join(program);
            let script = format!("#!/bin/sh\nLC_ALL=C exec {} \"$@\"\n", original.display());
            fs::write(this.0.join(program), script).unwrap();
        }
        let open = Command::new("chmod").arg("-R").arg("a+rx").arg(&this.0).status().unwrap();
        assert!(open.success());
        this
    }
}

impl Drop for Untranslated {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Runs [`is_played_by_another_process`] alone, with variables that must not disturb other tests.
fn in_another_process(role: &str, variables: &[(&str, &str)]) -> String {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "trouble::is_played_by_another_process", "--nocapture"])
        .env(ROLE, role)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
}

#[test]
fn is_played_by_another_process() {
    match env::var(ROLE).as_deref() {
        Ok("missing") => {
            let error = Postgres::start_blocking().unwrap_err();
            println!("missing={} {error}", error.is_missing_programs());
        }
        Ok("given") => {
            let server = Postgres::shared_blocking().unwrap();
            server.schema_blocking("given").unwrap().remove_blocking().unwrap();
            println!("port={} {}", server.port(), server.restart_blocking().unwrap_err());
        }
        Ok("german") => {
            let server = Postgres::builder().locale("de_DE.UTF-8").start_blocking().unwrap();
            println!("{}", said_to(server.url(), "SELECT 1 / 0"));
        }
        _ => {}
    }
}

/// The error of a statement.
#[tokio::main(flavor = "current_thread")]
async fn said_to(url: &str, sql: &str) -> String {
    let failed = connect(url).await.unwrap().batch_execute(sql).await.unwrap_err();
    failed.as_db_error().unwrap().message().to_owned()
}
