//! Where the transaction of a request is while no extractor has it; at the end the layer takes it from there.

use super::{
    error::{RequestTxError, RequestTxErrorKind},
    layer::Shared,
    name,
    request_tx::{RequestDatabase, RequestTx},
    settings::Settings,
};
use crate::IdempotencyKey;
use http::{Extensions, request::Parts};
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
    /// Those of the layer, with what the layers of the route have changed.
    settings: Settings,
    state: State<Db>,
}

enum State<Db: RequestDatabase> {
    NotBegun,
    Beginning,
    /// A [`RequestTx`] has it.
    Lent,
    Waiting(Tx<Db>),
    /// An earlier request with its idempotency key has committed.
    AlreadyCommitted,
    /// The code that held it panicked.
    Panicked,
    /// The handler has returned its response, or the request was dropped.
    Over,
}

/// What is left of a request's transaction when the response is there.
pub(super) enum Left<Db: RequestDatabase> {
    Nothing,
    Open(Tx<Db>),
    /// Some code still holds it.
    Held,
    Panicked,
}

impl<Db: RequestDatabase> Slot<Db> {
    pub(super) fn new(shared: Arc<Shared<Db>>, settings: Settings) -> Self {
        Self { shared, inside: Mutex::new(Inside { settings, state: State::NotBegun }) }
    }

    /// The place of the request that has these extensions.
    pub(super) fn of(extensions: &Extensions) -> Result<Arc<Self>, RequestTxError> {
        extensions.get::<Arc<Self>>().map(Arc::clone).ok_or_else(|| {
            RequestTxError::new(RequestTxErrorKind::MissingLayer(type_name::<Db>()), None)
        })
    }

    pub(super) fn error(&self, kind: RequestTxErrorKind) -> RequestTxError {
        RequestTxError::new(kind, self.shared.map_error.as_ref())
    }

    /// Takes the transaction. Begins it, if nothing has.
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
            Some(key_of) => IdempotencyKey::of(&parts.headers)?.map(|key| key_of(&key, parts)),
            None => None,
        };
        let db = db.with(settings.options.unwrap_or_default()).called_at(place);
        let begun = match &key {
            Some(key) => db.idempotency_key(key).begin(&name).await,
            None => db.begin(&name).await.map(Keyed::Ran),
        };
        begun.map_err(RequestTxErrorKind::Begin)
    }

    /// The extractor that had the transaction was dropped.
    pub(super) fn give_back(&self, tx: Tx<Db>) {
        let mut inside = self.lock();
        if matches!(inside.state, State::Lent) {
            inside.state = if thread::panicking() { State::Panicked } else { State::Waiting(tx) };
        }
        // A transaction that isn't kept is rolled back by its drop, after the lock is released.
    }

    /// Changes the settings that the layer of a route has.
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

    /// Ends the request: no extractor gets the transaction any more.
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
    /// Why no extractor can have the transaction.
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

/// While a transaction begins. Dropped before it has begun, because that failed or because its extractor was dropped, it lets
/// the next extractor begin one.
struct Beginning<'s, Db: RequestDatabase>(&'s Arc<Slot<Db>>);

impl<Db: RequestDatabase> Beginning<'_, Db> {
    fn begun(self, tx: Tx<Db>) -> Result<RequestTx<Db>, RequestTxError> {
        let mut inside = self.0.lock();
        if !matches!(inside.state, State::Beginning) {
            drop(inside);
            // Its drop rolls it back.
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
