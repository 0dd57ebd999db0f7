//! Errors name the cure.

use std::env;
use std::process::Command;

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

/// Runs [`is_played_by_another_process`] alone, with variables that must not disturb other tests.
fn in_another_process(role: &str, variables: &[(&str, &str)]) -> String {
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "trouble::is_played_by_another_process", "--nocapture"])
        .env(ROLE, role)
        .envs(variables.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
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
        _ => {}
    }
}
