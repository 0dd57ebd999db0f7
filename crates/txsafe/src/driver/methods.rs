//! The methods of a transaction that are the same on every driver. Coherence keeps `Tx` itself in the adapters, where it is an
//! executor or dereferences to a connection; so they are a macro, written and documented here once.

/// Writes the methods of an adapter's `Tx<'c, O, Held>`, whose driver is `$driver` and whose rows are `$row`. `async` makes
/// methods that are awaited, `blocking` those that aren't.
///
/// The futures are boxed, because the compiler repeats the errors of a type that names all its parameters at each use.
#[doc(hidden)]
#[macro_export]
macro_rules! __tx_methods {
    ($mode:ident $tx:ident on $driver:ident reads $row:ident) => {
        impl<'c, O: $crate::LockOrder, Held> $tx<'c, O, Held> {
            /// Goes on to the rank `R`, whose rows may be locked from here on. It asks nothing of the server.
            ///
            /// The rank only rises: what is locked stays locked until the transaction ends. A wrong order doesn't compile; see
            /// [`lock_order!`](crate::lock_order).
            pub fn at<R: $crate::Rank>(self) -> $tx<'c, O, R>
            where
                O: $crate::Allows<Held, R>,
            {
                self.with_rank()
            }

            /// Locks a [set](crate::LockSet) of rows and advisory locks, of any ranks that may be locked now, in their order
            /// however they are written down. What was read comes back with the transaction, whose rank is the highest of the
            /// set:
            ///
            /// ```text
            /// tx.lock_all((row::<OrderRow>(7), rows::<UserRow>([3, 5])))  →  ((order, users), tx)
            /// ```
            ///
            /// # Errors
            /// A `row` doesn't exist; the order rejects a lock at run time, as for [`lock`](Self::lock); the server reports an error.
            #[track_caller]
            pub fn lock_all<S>(
                self,
                set: S,
            ) -> $crate::__returns!($mode 'c, AllLocked<'c, S, O, Held>)
            where
                S: $crate::LockSet<$driver, O, Held> + 'c,
                Held: 'static,
            {
                let at = ::std::panic::Location::caller();
                $crate::__wait!(
                    $mode $crate::driver::lock_set::lock_all::<$driver, O, Held, S>(self, &set, at)
                )
            }

            /// Locks a row of a rank that was passed already, if nobody else holds it: `None` if somebody does, or if there is
            /// no such row. It doesn't wait, so it may go back.
            ///
            /// # Errors
            /// This transaction holds the row in a weaker mode; the server reports an error.
            #[track_caller]
            pub fn try_lock_earlier<T>(
                &mut self,
                key: <T::Rank as $crate::Rank>::Key,
            ) -> $crate::__returns!($mode '_, Option<$crate::Locked<'c, T>>)
            where
                T: $row,
                O: $crate::Passed<Held, T::Rank>,
                Held: 'static,
            {
                let at = ::std::panic::Location::caller();
                $crate::__wait!(
                    $mode $crate::driver::lock::try_row::<$driver, O, Held, T>(self, &key, at)
                )
            }
        }

        /// What was read by [`lock_all`](Tx::lock_all), and the transaction.
        type AllLocked<'c, S, O, Held> = (
            <S as $crate::LockSet<$driver, O, Held>>::Rows<'c>,
            $tx<'c, O, <S as $crate::LockSet<$driver, O, Held>>::Highest>,
        );

        /// Locks of rows.
        impl<'c, O: $crate::LockOrder, Held: 'static> $tx<'c, O, Held> {
            /// Locks a row of the current rank, by [`NoKeyUpdate`](crate::NoKeyUpdate), and reads it: `tx.lock::<UserRow>(7)`.
            ///
            /// # Errors
            /// No row has this key; the transaction holds a greater key of this rank, or the row in a weaker mode; the server
            /// reports an error.
            #[track_caller]
            pub fn lock<T>(
                &mut self,
                key: <T::Rank as $crate::Rank>::Key,
            ) -> $crate::__returns!($mode '_, $crate::Locked<'c, T>)
            where
                T: $row,
                Held: $crate::At<T::Rank>,
                O: $crate::Position<T::Rank>,
            {
                self.lock_for::<$crate::NoKeyUpdate, T>(key)
            }

            /// Locks a row of the current rank in another mode, and reads it.
            ///
            /// # Errors
            /// As for [`lock`](Self::lock).
            #[track_caller]
            pub fn lock_for<M, T>(
                &mut self,
                key: <T::Rank as $crate::Rank>::Key,
            ) -> $crate::__returns!($mode '_, $crate::Locked<'c, T, M>)
            where
                M: $crate::Mode,
                T: $row,
                Held: $crate::At<T::Rank>,
                O: $crate::Position<T::Rank>,
            {
                let at = ::std::panic::Location::caller();
                $crate::__wait!(
                    $mode $crate::driver::lock::row::<$driver, O, Held, T, M>(self, &key, at)
                )
            }

            /// Locks rows of the current rank by one statement, in ascending order of their keys and each once, and reads them
            /// in that order. Rows that aren't there are left out.
            ///
            /// # Errors
            /// As for [`lock`](Self::lock), except that a missing row is no error.
            #[track_caller]
            pub fn lock_many<T>(
                &mut self,
                keys: &[<T::Rank as $crate::Rank>::Key],
            ) -> $crate::__returns!($mode '_, Vec<$crate::Locked<'c, T>>)
            where
                T: $row,
                Held: $crate::At<T::Rank>,
                O: $crate::Position<T::Rank>,
            {
                let (keys, at) = (keys.to_vec(), ::std::panic::Location::caller());
                $crate::__wait!(
                    $mode $crate::driver::lock::rows::<$driver, O, Held, T, $crate::NoKeyUpdate>(
                        self, &keys, at,
                    )
                )
            }

            /// Locks rows of the current rank like [`lock_many`](Self::lock_many), and reads none: before an `UPDATE` of several
            /// rows, which locks them in an order of its own.
            ///
            /// # Errors
            /// As for [`lock_many`](Self::lock_many).
            #[track_caller]
            pub fn lock_keys(&mut self, keys: &[Held::Key]) -> $crate::__returns!($mode '_, ())
            where
                Held: $crate::TableRank,
                O: $crate::Position<Held>,
            {
                let (keys, at) = (keys.to_vec(), ::std::panic::Location::caller());
                $crate::__wait!(
                    $mode $crate::driver::lock::keys::<$driver, O, Held, Held>(self, &keys, at)
                )
            }

            /// Says that the next statement locks this row of the current rank by itself, as an `UPDATE` does. It is checked and
            /// remembered like [`lock`](Self::lock), and nothing is sent: one statement in place of two, where the row needn't
            /// be read first.
            ///
            /// One row for one statement: an `UPDATE` of several rows locks them in an order of its own. Lock those by
            /// [`lock_keys`](Self::lock_keys) first.
            ///
            /// # Errors
            /// The transaction holds a greater key of this rank, or the row in a weaker mode.
            #[track_caller]
            pub fn will_lock(&mut self, key: Held::Key) -> Result<&mut Self, $crate::Error>
            where
                Held: $crate::TableRank,
                O: $crate::Position<Held>,
            {
                let at = ::std::panic::Location::caller();
                let keys = ::std::slice::from_ref(&key);
                self.account().locks.expect::<O, Held, $crate::NoKeyUpdate>(keys, at)?;
                Ok(self)
            }
        }

        /// Advisory locks, which have a rank like rows.
        impl<O: $crate::LockOrder, Held: 'static> $tx<'_, O, Held> {
            /// Takes an advisory lock of the current rank, waiting for it as for a row: at most the lock timeout, and deadlocks
            /// are found. It is given back when the transaction ends; there are none that outlive it.
            ///
            /// # Errors
            /// The transaction holds a lock of this rank with a greater id, or this lock as a shared one; the server reports an
            /// error.
            #[track_caller]
            pub fn advisory_lock(&mut self, key: Held::Key) -> $crate::__returns!($mode '_, ())
            where
                Held: $crate::AdvisoryRank,
                O: $crate::Position<Held>,
            {
                let at = ::std::panic::Location::caller();
                $crate::__wait!(
                    $mode $crate::driver::lock::advisory::<$driver, O, Held, Held>(
                        self, &[key], false, at,
                    )
                )
            }

            /// Takes an advisory lock of the current rank that others may share: those who want it for themselves wait.
            ///
            /// # Errors
            /// As for [`advisory_lock`](Self::advisory_lock).
            #[track_caller]
            pub fn advisory_lock_shared(&mut self, key: Held::Key) -> $crate::__returns!($mode '_, ())
            where
                Held: $crate::AdvisoryRank,
                O: $crate::Position<Held>,
            {
                let at = ::std::panic::Location::caller();
                $crate::__wait!(
                    $mode $crate::driver::lock::advisory::<$driver, O, Held, Held>(
                        self, &[key], true, at,
                    )
                )
            }

            /// Takes advisory locks of the current rank by one statement, in the order of their ids.
            ///
            /// # Errors
            /// As for [`advisory_lock`](Self::advisory_lock).
            #[track_caller]
            pub fn advisory_lock_many(
                &mut self,
                keys: &[Held::Key],
            ) -> $crate::__returns!($mode '_, ())
            where
                Held: $crate::AdvisoryRank,
                O: $crate::Position<Held>,
            {
                let (keys, at) = (keys.to_vec(), ::std::panic::Location::caller());
                $crate::__wait!(
                    $mode $crate::driver::lock::advisory::<$driver, O, Held, Held>(
                        self, &keys, false, at,
                    )
                )
            }

            /// Takes an advisory lock of the current rank, or of one that was passed already, if nobody else holds it. It
            /// doesn't wait, so it may go back. Says whether it was taken.
            ///
            /// # Errors
            /// This transaction holds the lock as a shared one; the server reports an error.
            #[track_caller]
            pub fn try_advisory_lock<R>(&mut self, key: R::Key) -> $crate::__returns!($mode '_, bool)
            where
                R: $crate::AdvisoryRank,
                O: $crate::Passed<Held, R>,
            {
                let at = ::std::panic::Location::caller();
                $crate::__wait!(
                    $mode $crate::driver::lock::try_advisory::<$driver, O, Held, R>(
                        self, &key, false, at,
                    )
                )
            }

            /// The same for a lock that others may share.
            ///
            /// # Errors
            /// The server reports an error.
            #[track_caller]
            pub fn try_advisory_lock_shared<R>(
                &mut self,
                key: R::Key,
            ) -> $crate::__returns!($mode '_, bool)
            where
                R: $crate::AdvisoryRank,
                O: $crate::Passed<Held, R>,
            {
                let at = ::std::panic::Location::caller();
                $crate::__wait!(
                    $mode $crate::driver::lock::try_advisory::<$driver, O, Held, R>(
                        self, &key, true, at,
                    )
                )
            }

            /// Takes the next number of a scope, of the sequence that is the current rank: the next incident of one
            /// organization.
            ///
            /// Numbers of one scope have no gaps and no duplicates: a number is used if and only if its transaction commits,
            /// and one that is rolled back, or whose savepoint is, is given to the next who asks. That has its price: who asks
            /// waits until the transaction before has ended. Others of other scopes don't wait; so put the sequence late in the
            /// order, and ask late. Where gaps don't matter, PostgreSQL's own `CREATE SEQUENCE` makes nobody wait.
            ///
            /// The first number is 1, or what the rank's declaration says. Numbers are kept in the table of
            /// [`SEQUENCES_SQL`](crate::SEQUENCES_SQL).
            ///
            /// # Errors
            /// The transaction has taken a number of a greater scope of this rank; the database has no table of sequences; the
            /// server reports an error.
            #[track_caller]
            pub fn next_in_sequence(&mut self, scope: Held::Key) -> $crate::__returns!($mode '_, i64)
            where
                Held: $crate::SequenceRank,
                O: $crate::Position<Held>,
            {
                let at = ::std::panic::Location::caller();
                $crate::__wait!(
                    $mode $crate::driver::lock::next_in_sequence::<$driver, O, Held, Held>(
                        self, &scope, at,
                    )
                )
            }
        }

        $crate::__savepoint_method!($mode $tx on $driver);

        $crate::__many_methods!($mode $tx on $driver);

        $crate::__hook_methods!($mode $tx);

        $crate::__hint_methods!($mode $tx);

        /// Messages that are written in the transaction, and delivered after it.
        impl<O: $crate::LockOrder, Held: 'static> $tx<'_, O, Held> {
            /// Writes a message that is delivered once this transaction has committed, whatever happens to this process then.
            /// `payload` is text, JSON usually. Returns the message's key, a random UUID.
            ///
            /// It is a row of the same transaction: rolled back with it, or with its savepoint, and never delivered before. An
            /// [`OutboxWorker`](crate::OutboxWorker) that knows the topic delivers it, in this process or another one, **at
            /// least once**: a repetition has the same key. What may be lost with the process is an
            /// [`after_commit`](Self::after_commit) hook, which is quicker.
            ///
            /// # Errors
            /// The topic or the payload is invalid; the database has no table of [`OUTBOX_SQL`](crate::OUTBOX_SQL); the server
            /// reports an error.
            pub fn outbox(
                &mut self,
                topic: impl Into<String>,
                payload: impl Into<String>,
            ) -> $crate::__returns!($mode '_, $crate::WrittenMessage) {
                self.outbox_message($crate::NewMessage::new(topic, payload))
            }

            /// Writes a message like [`outbox`](Self::outbox), with a key of the caller's own, or a delay.
            ///
            /// If the outbox has a message of that topic and key, this write [joins](crate::WriteEffect) it, or revives it if
            /// it is dead: its payload is replaced, and a delivery that begins after this COMMIT covers both. The row of that
            /// message is locked until this transaction ends, and no worker claims it before: write it late, and **several keys
            /// in one order**.
            ///
            /// # Errors
            /// As there; and the key or the delay is invalid.
            pub fn outbox_message(
                &mut self,
                message: $crate::NewMessage,
            ) -> $crate::__returns!($mode '_, $crate::WrittenMessage) {
                $crate::__wait!($mode $crate::outbox::write::write::<$driver, O, Held>(self, message))
            }
        }
    };
}

/// What a method returns.
#[doc(hidden)]
#[macro_export]
macro_rules! __returns {
    (async $life:lifetime, $value:ty) => {
        $crate::driver::BoxFuture<$life, Result<$value, $crate::Error>>
    };
    (blocking $life:lifetime, $value:ty) => {
        Result<$value, $crate::Error>
    };
}

/// What a method does with its future.
#[doc(hidden)]
#[macro_export]
macro_rules! __wait {
    (async $future:expr) => {
        Box::pin(async move { $future.await })
    };
    (blocking $future:expr) => {
        $crate::driver::lock::ready($future)
    };
}
