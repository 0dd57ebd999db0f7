//! The server that the demo runs on: a given one, or one of its own.

use txsafe_testkit::Postgres;

use crate::{error::Error, screen::Screen};

/// The server that the demo runs on.
#[derive(Debug)]
pub(crate) enum Server {
    /// Ours; it ends with this value.
    Own(Postgres),
    /// Somebody else's, at this URL.
    Given(String),
}

impl Server {
    /// The given server, or a new one with the settings of a fresh PostgreSQL: durable, and looking for deadlocks
    /// after a second.
    pub(crate) async fn find(url: Option<&str>, screen: &Screen) -> Result<Self, Error> {
        match url {
            Some(url) if !is_url(url) => Err(Error::NotAUrl),
            Some(url) => Ok(Self::Given(url.to_owned())),
            None => {
                screen.note("starting a throw-away PostgreSQL server");
                let server = Postgres::builder().durable(true).start().await;
                server.map(Self::Own).map_err(Error::NoServer)
            }
        }
    }

    pub(crate) fn url(&self) -> &str {
        match self {
            Self::Own(server) => server.url(),
            Self::Given(url) => url,
        }
    }

    pub(crate) fn is_given(&self) -> bool {
        matches!(self, Self::Given(_))
    }
}

fn is_url(url: &str) -> bool {
    ["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme))
}
