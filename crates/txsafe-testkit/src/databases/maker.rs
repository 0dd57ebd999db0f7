use std::time::{Duration, Instant};

use super::names;
use super::registry::Set;
use super::session::Session;

/// How a clone is copied: `STRATEGY` exists from PostgreSQL 15 on; before that, files are all there is.
///
/// Copying files takes half the time of writing each page to the log. But it flushes each file, which takes ten times as long
/// where fsync is on.
fn strategy(session: &Session) -> &'static str {
    match (session.version >= 150_000, session.is_fast) {
        (false, _) => "",
        (true, true) => " STRATEGY file_copy",
        (true, false) => " STRATEGY wal_log",
    }
}

/// What becomes of a clone once it is made.
#[derive(Clone, Copy, Debug)]
pub(super) enum Use<'a> {
    Ahead,
    Taken { owner: i32, test: Option<&'a str> },
}

/// Makes a clone of the template, and returns its name.
pub(super) async fn make_clone(
    session: &Session,
    set: &Set,
    template: &str,
    then: Use<'_>,
) -> Result<String, tokio_postgres::Error> {
    let name = names::of_clone(&set.suite);
    session.begins(set, &name, "making").await?;
    let sql = format!("CREATE DATABASE {name} TEMPLATE {template}{}", strategy(session));
    if let Err(error) = session.client.batch_execute(&sql).await {
        session.forget(&name).await?;
        return Err(error);
    }
    match then {
        Use::Ahead => session.becomes(&name, "ready", None, None).await?,
        Use::Taken { owner, test } => session.becomes(&name, "taken", Some(owner), test).await?,
    }
    Ok(name)
}

/// Drops a database that the registry has forgotten, whoever is connected to it.
pub(super) async fn drop_database(
    session: &Session,
    name: &str,
) -> Result<(), tokio_postgres::Error> {
    end_sessions(session, name).await?;
    let name = name.replace('"', "\"\"");
    session.client.batch_execute(&format!("DROP DATABASE IF EXISTS \"{name}\" WITH (FORCE)")).await
}

/// Ends the sessions of a database, and waits until they are gone, for a while.
///
/// The server would do so itself, but looks only once in a tenth of a second whether they are.
pub(super) async fn end_sessions(
    session: &Session,
    name: &str,
) -> Result<(), tokio_postgres::Error> {
    // The server ends its own workers itself, and refuses that to a role that isn't a superuser.
    const END: &str = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                       WHERE datname = $1 AND backend_type = 'client backend'";
    const PAUSE: Duration = Duration::from_millis(2);
    const LONGEST: Duration = Duration::from_secs(5);

    let until = Instant::now() + LONGEST;
    let end = session.client.prepare(END).await?;
    while session.client.query_one(&end, &[&name]).await?.get::<_, i64>(0) > 0
        && Instant::now() < until
    {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}
