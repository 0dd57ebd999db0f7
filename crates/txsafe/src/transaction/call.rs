//! One call of a transaction, before its first attempt.

use super::{
    claim::CallKey,
    keyed,
    options::TxOptions,
    settings::Settings,
    shared::{Named, Shared},
};
use crate::{
    clock::times::Ledger,
    dialect::Ask,
    driver::account::{Account, Notes},
    error::Error,
    guard::{gaps::Gaps, noticed::noticed, session_log::SessionLog},
    invalid::InvalidSetting,
    locks::graph::log::LockLog,
    telemetry::events,
};
use std::{fmt, panic::Location, sync::Arc};
use tracing::Span;

/// One call of a transaction: its name, place, settings and key.
pub struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) named: Arc<Named>,
    pub(crate) place: &'static Location<'static>,
    pub(crate) key: Option<CallKey<'static>>,
    pub(crate) once: bool,
    pub(crate) by_hand: bool,
    /// A library makes it for an application, and ends what it begins by hand.
    pub(crate) by_library: bool,
    pub(crate) borrowed: bool,
    pub(crate) on_held: bool,
    /// Its statements are txsafe's.
    pub(crate) is_own: bool,
    /// It runs behind a savepoint, and nothing is sent with a BEGIN.
    pub(crate) in_sandbox: bool,
}

/// A database whose transactions can be called.
pub trait Callable {
    /// What its transactions share.
    fn shared(&self) -> &Arc<Shared>;
}

impl Call {
    /// A call of the transaction `name`, made at `place`, with the database's presets changed by `options`.
    ///
    /// # Errors
    /// A name or a setting that can't be meant.
    pub fn new(
        shared: &Arc<Shared>,
        name: &str,
        place: &'static Location<'static>,
        options: Option<&TxOptions>,
    ) -> Result<Self, Error> {
        let settings = match options {
            None => Arc::clone(&shared.settings),
            Some(options) => shared.settings_with(options)?,
        };
        Ok(Self {
            named: shared.named(name)?,
            shared: Arc::clone(shared),
            settings,
            place,
            key: None,
            once: false,
            by_hand: false,
            by_library: false,
            borrowed: false,
            on_held: false,
            is_own: false,
            in_sandbox: false,
        })
    }

    /// The closure runs at most once; only what fails before it is tried again.
    #[must_use]
    pub fn once(mut self) -> Self {
        self.once = true;
        self
    }

    /// The caller begins and ends the transaction, and nobody polls it.
    ///
    /// # Errors
    /// The call is the wrapper of a test, which has to know what runs inside it.
    pub(crate) fn by_hand(mut self) -> Result<Self, Error> {
        if self.settings.test_wrapper {
            let cure = "what runs inside a transaction that is begun by hand isn't seen: wrap a test by `transaction`";
            return Err(InvalidSetting::new("test_wrapper", "true", cure).into());
        }
        self.by_hand = true;
        Ok(self)
    }

    /// A library makes the call for an application, whose place it names.
    #[must_use]
    pub(crate) fn by_library(mut self) -> Self {
        self.by_library = true;
        self
    }

    /// The statements are txsafe's own: there is no closure of a user's to be run again in rerun mode.
    #[must_use]
    pub(crate) fn own(mut self) -> Self {
        self.is_own = true;
        self
    }

    /// The connection is one that the caller holds.
    #[must_use]
    pub fn on_held(mut self) -> Self {
        self.on_held = true;
        self
    }

    /// The connection is the caller's own and can't be replaced.
    #[must_use]
    pub fn borrowed(mut self) -> Self {
        self.borrowed = true;
        self
    }

    /// Writes `key` in the transaction, and does nothing where it has been written before.
    ///
    /// # Errors
    /// An empty key, or one longer than 512 bytes; `nowait` where the database can't tell what it would wait for.
    pub fn key(mut self, call_key: CallKey<'_>) -> Result<Self, Error> {
        let key = &*call_key.text;
        let invalid = |value: String, cure| {
            Err(Error::from(InvalidSetting::new("idempotency_key", value, cure)))
        };
        if key.is_empty() {
            return invalid("\"\"".into(), "it tells operations apart: take the request's own id");
        }
        if key.len() > keyed::LONGEST_KEY {
            return invalid(
                format!("{} bytes long", key.len()),
                "the longest is 512 bytes: take a hash of it",
            );
        }
        if key.contains('\0') {
            return invalid(
                format!("{key:?}"),
                "a text of the database can't hold a NUL: leave it out",
            );
        }
        let dialect = self.shared.dialect;
        if dialect.question(call_key.ask()).is_none() {
            return invalid(
                format!("{key:?}"),
                "this database has no way to write it: leave it out",
            );
        }
        if call_key.nowait && dialect.question(Ask::AwaitKey).is_none() {
            let cure = "this database has one writer at a time, so what BEGIN waits for may be any of them: leave it out, and \
                        lower lock_timeout";
            return Err(InvalidSetting::new("nowait", "true", cure).into());
        }
        self.key = Some(call_key.into_owned());
        Ok(self)
    }

    /// Begins the account of an attempt.
    pub(crate) fn begin<H>(&self, account: &mut Account<H>) {
        account.begin(&self.named.name, self.shared.own_schema.as_ref(), self.notes());
    }

    /// Where the connection of an attempt notes what it sees.
    fn notes(&self) -> Notes {
        let Self { shared, named, place, on_held, by_hand, .. } = self;
        let locks =
            LockLog::new(&shared.graph, &named.name, Some(place), noticed).on(shared.dialect);
        let is_accounted = shared.guard.accounts() && !by_hand;
        let ledger = is_accounted.then(Arc::<Ledger>::default);
        // The session of a connection that the caller holds is the caller's.
        let session = if *on_held {
            SessionLog::default()
        } else {
            SessionLog::new(shared.close_on_session_state)
        };
        Notes { locks, gaps: Gaps::new(ledger.as_ref()), ledger, session }
    }

    /// The span of this call.
    pub(crate) fn span(&self) -> Span {
        events::span(&self.named.name, self.shared.dialect.system())
    }

    /// The settings of this call.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Call({:?} at {})", self.named.name, self.place)
    }
}
