//! Numbers of scoped sequences.

use super::{driver::Driver, tx::Tx};
use std::panic::Location;
use txsafe::{
    Error, LockOrder, Position, SequenceRank,
    driver::lock::{self, ready},
};

impl<O: LockOrder, Held: 'static> Tx<'_, O, Held> {
    /// Takes the next number of a scope, of the sequence that is the current rank: the next incident of one organization.
    ///
    /// Numbers of one scope have no gaps and no duplicates: a number is used if and only if its transaction commits, and
    /// one that is rolled back, or whose savepoint is, is given to the next who asks. That has its price: who asks waits
    /// until the transaction before has ended. Others of other scopes don't wait; so put the sequence late in the order,
    /// and ask late. Where gaps don't matter, PostgreSQL's own `CREATE SEQUENCE` makes nobody wait.
    ///
    /// The first number is 1, or what the rank's declaration says. Numbers are kept in the table of
    /// [`SEQUENCES_SQL`](crate::SEQUENCES_SQL).
    ///
    /// # Errors
    /// A greater scope of this rank was asked already; the table is missing; what the server said.
    #[track_caller]
    pub fn next_in_sequence(&mut self, scope: Held::Key) -> Result<i64, Error>
    where
        Held: SequenceRank,
        O: Position<Held>,
    {
        ready(lock::next_in_sequence::<Driver, O, Held, Held>(self, &scope, Location::caller()))
    }
}
