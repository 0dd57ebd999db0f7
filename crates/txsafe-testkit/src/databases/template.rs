use std::error::Error as StdError;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use tokio::task::{self, JoinError};

use super::maker::{drop_database, end_sessions};
use super::names;
use super::registry::Set;
use super::session::Session;
use crate::Error;

type Migrated = Result<(), Box<dyn StdError + Send + Sync>>;

type Migrating = Pin<Box<dyn Future<Output = Migrated>>>;

/// The application's migrations, as a function of the URL that they run at.
#[derive(Clone)]
pub(super) enum Migrate {
    Blocking(Arc<dyn Fn(&str) -> Migrated + Send + Sync>),
    Async(Arc<dyn Fn(String) -> Migrating + Send + Sync>),
}

/// Makes a template, and returns its name.
///
/// Nobody can connect to it afterwards, because a database that somebody is connected to can't be copied.
pub(super) async fn make(
    session: &Session,
    set: &Set,
    url_of: impl Fn(&str) -> String,
    migrate: &Migrate,
) -> Result<Result<String, Error>, tokio_postgres::Error> {
    let name = names::of_template(&set.suite);
    session.begins(set, &name, "migrating").await?;
    session.client.batch_execute(&format!("CREATE DATABASE {name}")).await?;
    if let Err(error) = migrated(migrate, url_of(&name), &set.suite).await {
        session.forget(&name).await?;
        drop_database(session, &name).await?;
        return Ok(Err(error));
    }
    let close = format!("ALTER DATABASE {name} WITH ALLOW_CONNECTIONS false");
    session.client.batch_execute(&close).await?;
    // A pool of the migrations may still be there.
    end_sessions(session, &name).await?;
    Ok(Ok(name))
}

async fn migrated(migrate: &Migrate, url: String, suite: &str) -> Result<(), Error> {
    // A task of its own, which may panic.
    let ran = match migrate {
        Migrate::Blocking(migrate) => {
            let migrate = Arc::clone(migrate);
            task::spawn_blocking(move || migrate(&url)).await
        }
        Migrate::Async(migrate) => task::spawn_local(migrate(url)).await,
    };
    let message = format!(
        "the migrations of {suite:?} failed on an empty database; correct them, or the function that was given to \
         `migrate`"
    );
    match ran {
        Ok(Ok(())) => Ok(()),
        Ok(Err(source)) => Err(Error::caused(message, source)),
        Err(panic) => Err(Error::new(format!("{message}. It panicked: {}", words_of(panic)))),
    }
}

fn words_of(panic: JoinError) -> String {
    let Ok(panic) = panic.try_into_panic() else { return "(cancelled)".to_owned() };
    let words = panic.downcast_ref::<&str>().copied();
    let words = words.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    words.unwrap_or("(no message)").to_owned()
}
