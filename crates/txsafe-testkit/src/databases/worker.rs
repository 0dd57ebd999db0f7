use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use tokio::runtime;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::task::{self, LocalSet};

use super::store::{Plan, Store};
use crate::{Error, Postgres};

/// Gets the answer, on the worker's thread.
pub(super) type Reply<T> = Box<dyn FnOnce(Result<T, Error>) + Send>;

pub(super) enum Request {
    /// A database for this test: its name and its URL.
    Take {
        test: Option<Arc<str>>,
        reply: Reply<(String, String)>,
    },
    Remove {
        name: String,
        is_awaited: bool,
        reply: Reply<()>,
    },
    Keep {
        name: String,
        test: Option<Arc<str>>,
        reply: Reply<()>,
    },
}

/// The thread that makes and drops databases: the runtimes of tests come and go, and clones are made ahead of them.
#[derive(Clone, Debug)]
pub(super) struct Worker(UnboundedSender<Request>);

impl Worker {
    /// Starts it, for the server at this URL, or the one that all tests of this process share.
    pub(super) fn start(plan: Plan, url: Option<String>) -> Result<Self, Error> {
        let (sender, requests) = mpsc::unbounded_channel();
        let failed = |source| Error::caused("no thread could be started to make databases", source);
        let runtime =
            runtime::Builder::new_current_thread().enable_all().build().map_err(failed)?;
        let work = move || {
            let store = server_of(url).and_then(|url| Store::new(plan, url)).map(Rc::new);
            LocalSet::new().block_on(&runtime, serve(store, requests));
        };
        thread::Builder::new().name("txsafe-databases".to_owned()).spawn(work).map_err(failed)?;
        Ok(Self(sender))
    }

    /// Hands it a request.
    pub(super) fn ask(&self, request: Request) {
        // It ends after everybody who could ask.
        let _ = self.0.send(request);
    }
}

fn server_of(url: Option<String>) -> Result<String, Error> {
    url.map_or_else(|| Postgres::shared_blocking().map(|server| server.url().to_owned()), Ok)
}

async fn serve(store: Result<Rc<Store>, Error>, mut requests: UnboundedReceiver<Request>) {
    while let Some(request) = requests.recv().await {
        match &store {
            Ok(store) => {
                task::spawn_local(answer(Rc::clone(store), request));
            }
            Err(error) => match request {
                Request::Take { reply, .. } => reply(Err(error.clone())),
                Request::Remove { reply, .. } | Request::Keep { reply, .. } => {
                    reply(Err(error.clone()));
                }
            },
        }
    }
}

async fn answer(store: Rc<Store>, request: Request) {
    match request {
        Request::Take { test, reply } => reply(store.take(test.as_deref()).await),
        Request::Remove { name, is_awaited, reply } => {
            reply(store.remove(name, is_awaited).await);
        }
        Request::Keep { name, test, reply } => reply(store.keep(&name, test.as_deref()).await),
    }
}
