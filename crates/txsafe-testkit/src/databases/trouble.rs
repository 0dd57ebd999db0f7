use tokio_postgres::Config;
use tokio_postgres::config::Host;
use tokio_postgres::error::SqlState;

use crate::Error;

/// Why there is no database for a test, and what to do about it.
pub(super) fn explained(source: tokio_postgres::Error, server: &Config) -> Error {
    let at = address(server);
    let user = server.get_user().unwrap_or("of the URL");
    let message = match source.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => format!(
            "the role {user} may not create databases at {at}; run `ALTER ROLE {user} CREATEDB` there as a superuser, \
             or unset DATABASE_URL, so that a server is started for the tests"
        ),
        Some(&SqlState::INVALID_CATALOG_NAME) => format!(
            "the database {} doesn't exist at {at}; let DATABASE_URL name one that does, such as `postgres`: it is only \
             connected to, and nothing is changed in it",
            server.get_dbname().unwrap_or("of the URL")
        ),
        Some(&SqlState::INVALID_PASSWORD | &SqlState::INVALID_AUTHORIZATION_SPECIFICATION) => {
            format!(
                "the server at {at} doesn't let {user} in; correct user and password in DATABASE_URL"
            )
        }
        Some(&SqlState::TOO_MANY_CONNECTIONS) => format!(
            "the server at {at} has no connection left; raise its `max_connections`, or run fewer tests at once \
             (`cargo test -- --test-threads=4`)"
        ),
        Some(&SqlState::OBJECT_IN_USE) => format!(
            "a database that is to be copied at {at} is in use; end the sessions in `template1`, and don't connect to \
             databases called `txsafe_test_…_tmpl`"
        ),
        Some(&SqlState::DISK_FULL) => format!(
            "the disk of the server at {at} is full; a clone takes 8 MB and more, and `DROP DATABASE` frees those that \
             TXSAFE_KEEP_DATABASES has kept"
        ),
        Some(_) => format!(
            "the server at {at} didn't make a database for the test; its own error, the source of this one, says what to correct"
        ),
        None => format!(
            "the server at {at} can't be reached; start it, correct DATABASE_URL, or unset it, so that a server is \
             started for the tests (with TLS only: not supported here, take `sslmode=disable`)"
        ),
    };
    Error::caused(message, source)
}

/// Where the server is, without its password.
fn address(server: &Config) -> String {
    let port = server.get_ports().first().copied().unwrap_or(5432);
    match server.get_hosts().first() {
        Some(Host::Tcp(host)) => format!("{host}:{port}"),
        #[cfg(unix)]
        Some(Host::Unix(folder)) => format!("{}/.s.PGSQL.{port}", folder.display()),
        _ => format!("localhost:{port}"),
    }
}
