//! Where the transaction of a request waits between those who take it, and is taken by the layer at the end.

use super::{
    error::{RequestTxError, RequestTxErrorKind},
    layer::Shared,
    name,
    request_tx::{RequestDatabase, RequestTx},
    settings::Settings,
};
use crate::IdempotencyKey;
use http::request::Parts;
use std::{
    any::type_name,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};
use txsafe::{Keyed, OwnedTx};

pub(super) type Tx<Db> = OwnedTx<<Db as RequestDatabase>::Driver, <Db as RequestDatabase>::Order>;

/// The place of one request's transaction.
pub(super) struct Slot<Db: RequestDatabase> {
    shared: Arc<Shared<Db>>,
    inside: Mutex<Inside<Db>>,
}

struct Inside<Db: RequestDatabase> {
    /// Those of the layer, as the layers of the route have changed them.
    settings: Settings,
    state: State<Db>,
}

enum State<Db: RequestDatabase> {
    NotBegun,
    Beginning,
    /// A [`RequestTx`] has it.
    Lent,
    Waiting(Tx<Db>),
    /// By an earlier request with its idempotency key.
    AlreadyCommitted,
    /// What held it panicked.
    Panicked,
    /// The request has its response, or is gone.
    Over,
}

/// What a request has left of its transaction when it has its response.
pub(super) enum Left<Db: RequestDatabase> {
    Nothing,
    Open(Tx<Db>),
    /// Somebody holds it still.
    Held,
    Panicked,
}

impl<Db: RequestDatabase> Slot<Db> {
    pub(super) fn new(shared: Arc<Shared<Db>>, settings: Settings) -> Self {
        Self { shared, inside: Mutex::new(Inside { settings, state: State::NotBegun }) }
    }

    pub(super) fn error(&self, kind: RequestTxErrorKind) -> RequestTxError {
        RequestTxError::new(kind, self.shared.map_error.as_ref())
    }

    /// Takes the transaction, which begins now if it hasn't.
    pub(super) async fn take(
        self: &Arc<Self>,
        parts: &Parts,
    ) -> Result<RequestTx<Db>, RequestTxError> {
        let settings = {
            let mut inside = self.lock();
            match mem::replace(&mut inside.state, State::Beginning) {
                State::NotBegun => inside.settings.clone(),
                State::Waiting(tx) => {
                    inside.state = State::Lent;
                    return Ok(RequestTx::new(tx, Arc::clone(self)));
                }
                other => {
                    let kind = other.refusal();
                    inside.state = other;
                    drop(inside);
                    return Err(self.error(kind));
                }
            }
        };
        let beginning = Beginning(self);
        match self.begin(settings, parts).await {
            Ok(Keyed::Ran(tx)) => beginning.begun(tx),
            Ok(Keyed::AlreadyCommitted) => {
                self.replace(State::AlreadyCommitted);
                Err(self.error(RequestTxErrorKind::AlreadyCommitted))
            }
            Err(kind) => Err(self.error(kind)),
        }
    }

    async fn begin(
        &self,
        settings: Settings,
        parts: &Parts,
    ) -> Result<Keyed<Tx<Db>>, RequestTxErrorKind> {
        let Shared { db, place, key_of, .. } = &*self.shared;
        let name = settings.name.unwrap_or_else(|| name::of_route(parts).into());
        let key = match key_of {
            Some(key_of) => IdempotencyKey::of(parts)?.map(|key| key_of(&key, parts)),
            None => None,
        };
        let db = db.with(settings.options.unwrap_or_default()).called_at(place);
        let begun = match &key {
            Some(key) => db.idempotency_key(key).begin(&name).await,
            None => db.begin(&name).await.map(Keyed::Ran),
        };
        begun.map_err(RequestTxErrorKind::Begin)
    }

    /// Whoever took the transaction is done with it.
    pub(super) fn give_back(&self, tx: Tx<Db>) {
        let mut inside = self.lock();
        if matches!(inside.state, State::Lent) {
            inside.state = if thread::panicking() { State::Panicked } else { State::Waiting(tx) };
        }
        // What isn't kept is dropped, and rolled back by that, without the lock.
    }

    /// The layer of a route changes what it sets.
    pub(super) fn change(&self, settings: &Settings) -> Result<(), RequestTxError> {
        let mut inside = self.lock();
        if matches!(inside.state, State::NotBegun) {
            inside.settings.change(settings);
            return Ok(());
        }
        drop(inside);
        Err(self.error(RequestTxErrorKind::BegunBefore(type_name::<Db>())))
    }

    pub(super) fn settings(&self) -> Settings {
        self.lock().settings.clone()
    }

    /// Nobody gets the transaction any more.
    pub(super) fn close(&self) -> Left<Db> {
        match self.replace(State::Over) {
            State::NotBegun | State::AlreadyCommitted | State::Over => Left::Nothing,
            State::Waiting(tx) => Left::Open(tx),
            State::Beginning | State::Lent => Left::Held,
            State::Panicked => Left::Panicked,
        }
    }

    fn replace(&self, state: State<Db>) -> State<Db> {
        mem::replace(&mut self.lock().state, state)
    }

    fn lock(&self) -> MutexGuard<'_, Inside<Db>> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<Db: RequestDatabase> State<Db> {
    /// Why there is no transaction to be taken.
    fn refusal(&self) -> RequestTxErrorKind {
        match self {
            Self::NotBegun | Self::Waiting(_) => unreachable!("there is one"),
            Self::Beginning | Self::Lent => RequestTxErrorKind::AlreadyTaken,
            Self::AlreadyCommitted => RequestTxErrorKind::AlreadyCommitted,
            Self::Panicked => RequestTxErrorKind::Panicked,
            Self::Over => RequestTxErrorKind::RequestEnded,
        }
    }
}

/// A transaction begins; if that fails, or whoever waits for it goes away, another one may try.
struct Beginning<'s, Db: RequestDatabase>(&'s Arc<Slot<Db>>);

impl<Db: RequestDatabase> Beginning<'_, Db> {
    fn begun(self, tx: Tx<Db>) -> Result<RequestTx<Db>, RequestTxError> {
        let mut inside = self.0.lock();
        if !matches!(inside.state, State::Beginning) {
            drop(inside);
            // Dropped, it is rolled back.
            return Err(self.0.error(RequestTxErrorKind::RequestEnded));
        }
        inside.state = State::Lent;
        drop(inside);
        Ok(RequestTx::new(tx, Arc::clone(self.0)))
    }
}

impl<Db: RequestDatabase> Drop for Beginning<'_, Db> {
    fn drop(&mut self) {
        let mut inside = self.0.lock();
        if matches!(inside.state, State::Beginning) {
            inside.state = State::NotBegun;
        }
    }
}
