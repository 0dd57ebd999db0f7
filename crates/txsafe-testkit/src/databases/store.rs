use std::cell::{Cell, RefCell};
use std::rc::Rc;

use tokio::sync::Mutex;
use tokio::task;
use tokio_postgres::Config;
use tokio_postgres::error::SqlState;

use super::maker::{Use, drop_database, make_clone};
use super::registry::Set;
use super::session::{Session, literal, new_owner};
use super::sweep::sweep;
use super::template::{self, Migrate};
use super::trouble::explained;
use crate::{Error, url};

/// How the databases of a suite are made.
#[derive(Clone)]
pub(super) struct Plan {
    pub(super) set: Set,
    /// Whether no other process may use the template, because it has no fingerprint.
    pub(super) is_private: bool,
    pub(super) ahead: usize,
    pub(super) migrate: Migrate,
}

/// The databases of a suite on a server, as one process sees them.
pub(super) struct Store {
    plan: Plan,
    url: String,
    server: Config,
    /// Whoever takes a database here owns it.
    owner: i32,
    registry: Mutex<Option<Rc<Session>>>,
    /// Sessions that make and drop databases, while none of them does.
    idle: RefCell<Vec<Session>>,
    template: Mutex<Option<Result<String, Error>>>,
    is_busy: Cell<bool>,
    /// A test has taken a database since the copies were last counted.
    is_wanted: Cell<bool>,
    has_swept: Cell<bool>,
}

/// The server said no, or the migrations did.
enum Failed {
    Server(tokio_postgres::Error),
    Migrations(Error),
}

impl From<tokio_postgres::Error> for Failed {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Server(error)
    }
}

impl Store {
    pub(super) fn new(plan: Plan, url: String) -> Result<Self, Error> {
        let server = url::parsed(&url)?;
        Ok(Self {
            plan,
            url,
            server,
            owner: new_owner(),
            registry: Mutex::default(),
            idle: RefCell::default(),
            template: Mutex::default(),
            is_busy: Cell::new(false),
            is_wanted: Cell::new(false),
            has_swept: Cell::new(false),
        })
    }

    /// A database for this test: its name, and the URL that leads to it.
    pub(super) async fn take(
        self: &Rc<Self>,
        test: Option<&str>,
    ) -> Result<(String, String), Error> {
        const TRIES: usize = 3;
        let mut tries = 0;
        loop {
            tries += 1;
            match self.try_to_take(test).await {
                Ok(name) => {
                    self.in_background();
                    let url = url::with_database(&self.url, &name);
                    return Ok((name, url));
                }
                Err(Failed::Migrations(error)) => return Err(error),
                // The template may have been dropped, and the server restarted, since they were last seen.
                Err(Failed::Server(error)) if tries < TRIES && is_worth_a_try(&error) => {
                    *self.template.lock().await = None;
                }
                Err(Failed::Server(error)) => return Err(explained(error, &self.server)),
            }
        }
    }

    /// Drops a database; on a server with fsync, where that takes a second, behind the caller's back, unless `is_awaited`.
    pub(super) async fn remove(
        self: &Rc<Self>,
        name: String,
        is_awaited: bool,
    ) -> Result<(), Error> {
        let database = name.clone();
        let removed = async {
            let session = self.session().await?;
            session.forget(&name).await?;
            if session.is_fast || is_awaited {
                drop_database(&session, &name).await?;
                self.put_back(session);
            } else {
                let store = Rc::clone(self);
                task::spawn_local(async move {
                    // If it fails or this process ends, the registry doesn't know it any more, and others drop it.
                    if drop_database(&session, &name).await.is_ok() {
                        store.put_back(session);
                    }
                });
            }
            Ok(())
        };
        removed.await.map_err(|source: tokio_postgres::Error| {
            let message = format!(
                "the database {database} was not dropped; end the sessions of other roles, the prepared transactions and the \
                 replication slots in it first"
            );
            Error::caused(message, source)
        })
    }

    /// Keeps a database: no process drops it.
    pub(super) async fn keep(&self, name: &str, test: Option<&str>) -> Result<(), Error> {
        let kept = async {
            let session = self.session().await?;
            let reason =
                format!("kept by txsafe for the test {}", test.unwrap_or("without a name"));
            // What has a comment isn't dropped.
            let comment = format!("COMMENT ON DATABASE {name} IS {}", literal(&reason));
            session.client.batch_execute(&comment).await?;
            session.forget(name).await?;
            self.put_back(session);
            Ok(())
        };
        kept.await.map_err(|error| explained(error, &self.server))
    }

    async fn try_to_take(self: &Rc<Self>, test: Option<&str>) -> Result<String, Failed> {
        let registry = self.registry().await?;
        let set = &self.plan.set;
        if let Some(name) = registry.claim(set, test).await? {
            return Ok(name);
        }
        // Those whose maker went away while the server made them are as good as others, whoever finds them first.
        registry.adopt().await?;
        if let Some(name) = registry.claim(set, test).await? {
            return Ok(name);
        }
        let template = self.template().await?;
        let session = self.session().await?;
        let then = Use::Taken { owner: self.owner, test };
        let name = make_clone(&session, set, &template, then).await?;
        self.put_back(session);
        Ok(name)
    }

    /// Has clones made until enough are ready, and clears up once in this process.
    fn in_background(self: &Rc<Self>) {
        self.is_wanted.set(true);
        if !self.is_busy.replace(true) {
            let store = Rc::clone(self);
            task::spawn_local(async move {
                // What fails here fails again, and loudly, where a test waits for it.
                _ = store.refill_and_sweep().await;
                store.is_busy.set(false);
            });
        }
    }

    /// On one session: in a process that has one test, another one costs more than what it does.
    async fn refill_and_sweep(&self) -> Result<(), Failed> {
        let set = &self.plan.set;
        let session = self.session().await?;
        session.adopt().await?;
        // Tests take clones while this runs, too.
        while self.is_wanted.replace(false) {
            while session.ahead(set).await? < self.plan.ahead {
                let template = self.template().await?;
                make_clone(&session, set, &template, Use::Ahead).await?;
            }
            if !self.has_swept.replace(true) {
                sweep(&session, set).await?;
            }
        }
        self.put_back(session);
        Ok(())
    }

    async fn template(&self) -> Result<String, Failed> {
        let mut known = self.template.lock().await;
        if let Some(known) = &*known {
            return known.clone().map_err(Failed::Migrations);
        }
        let made = self.find_or_make_template().await?;
        *known = Some(made.clone());
        made.map_err(Failed::Migrations)
    }

    async fn find_or_make_template(&self) -> Result<Result<String, Error>, tokio_postgres::Error> {
        let Plan { set, migrate, .. } = &self.plan;
        let session = self.session().await?;
        // Released with the session, whatever happens.
        session.lock(set).await?;
        let made = match session.template(set).await? {
            Some(name) => Ok(name),
            None => {
                let url_of = |name: &str| url::with_database(&self.url, name);
                let made = template::make(&session, set, url_of, migrate).await?;
                if let Ok(name) = &made {
                    let owner = self.plan.is_private.then_some(self.owner);
                    session.becomes(name, "template", owner, None).await?;
                }
                made
            }
        };
        session.unlock(set).await?;
        self.put_back(session);
        Ok(made)
    }

    /// The session whose lock says that this process lives.
    async fn registry(&self) -> Result<Rc<Session>, tokio_postgres::Error> {
        let mut registry = self.registry.lock().await;
        match &*registry {
            Some(session) if !session.client.is_closed() => Ok(Rc::clone(session)),
            _ => {
                let session = Rc::new(Session::open(&self.server, self.owner).await?);
                *registry = Some(Rc::clone(&session));
                Ok(session)
            }
        }
    }

    /// A session for work that takes a while. One that fails isn't put back.
    async fn session(&self) -> Result<Session, tokio_postgres::Error> {
        let idle = self.idle.borrow_mut().pop();
        match idle {
            Some(session) if !session.client.is_closed() => Ok(session),
            _ => Session::open(&self.server, new_owner()).await,
        }
    }

    fn put_back(&self, session: Session) {
        const MOST: usize = 3;
        let mut idle = self.idle.borrow_mut();
        if idle.len() < MOST {
            idle.push(session);
        }
    }
}

fn is_worth_a_try(error: &tokio_postgres::Error) -> bool {
    error.is_closed() || error.code() == Some(&SqlState::INVALID_CATALOG_NAME)
}
