//! The savepoints of one attempt: what ROLLBACK TO gives back, and how many subtransactions other sessions have to know.

use crate::dialect::postgres::savepoints::SavepointChange;

/// So many open savepoints are followed; those beyond aren't.
const MOST_OPEN: usize = 4_096;

/// The savepoints that are open, and what is left of those that were released.
#[derive(Debug, Default)]
pub(super) struct Savepoints {
    open: Vec<Open>,
    /// Ids of subtransactions that were released into the transaction itself.
    released: usize,
}

#[derive(Debug)]
struct Open {
    /// None where the driver set it and its statement wasn't seen.
    name: Option<String>,
    /// The step of the log behind which it was set.
    step: u64,
    /// Something was written behind it, so its subtransaction has an id.
    has_id: bool,
    /// Ids of subtransactions that were released into this one.
    released: usize,
}

impl Savepoints {
    /// How many are open.
    pub(super) fn depth(&self) -> usize {
        self.open.len()
    }

    /// A statement changes a savepoint. After a ROLLBACK TO: the step behind which all was given back.
    pub(super) fn change(&mut self, change: SavepointChange, step: u64) -> Option<u64> {
        match change {
            SavepointChange::Set(name) => self.set(Some(name), step),
            SavepointChange::Release(name) => {
                if let Some(at) = self.named(&name) {
                    self.release(at);
                }
            }
            SavepointChange::RollBackTo(name) => {
                let at = self.named(&name)?;
                self.open.truncate(at + 1);
                let open = self.open.last_mut()?;
                // What follows is another subtransaction, which has no id yet.
                (open.has_id, open.released) = (false, 0);
                return Some(open.step);
            }
        }
        None
    }

    /// A savepoint is set.
    pub(super) fn set(&mut self, name: Option<String>, step: u64) {
        if self.open.len() < MOST_OPEN {
            self.open.push(Open { name, step, has_id: false, released: 0 });
        }
    }

    /// The driver has ended all but the outermost so many by itself: released them, or rolled them back.
    pub(super) fn ended(&mut self, depth: usize, is_released: bool) {
        if is_released && depth < self.open.len() {
            self.release(depth);
        } else {
            self.open.truncate(depth);
        }
    }

    /// Something is written. How many subtransactions have an id now; none is counted anew where no savepoint is open.
    pub(super) fn writes(&mut self) -> usize {
        self.open.iter_mut().for_each(|open| open.has_id = true);
        self.with_ids()
    }

    fn with_ids(&self) -> usize {
        self.released + self.open.iter().map(Open::ids).sum::<usize>()
    }

    /// The innermost of this name.
    fn named(&self, name: &str) -> Option<usize> {
        self.open.iter().rposition(|open| open.name.as_deref() == Some(name))
    }

    /// Releases that one, and those set since: their ids stay until the transaction ends.
    fn release(&mut self, at: usize) {
        let ids = self.open[at..].iter().map(Open::ids).sum::<usize>();
        self.open.truncate(at);
        match self.open.last_mut() {
            Some(outer) => outer.released += ids,
            None => self.released += ids,
        }
    }
}

impl Open {
    /// Its own id, if it has one, and those released into it.
    fn ids(&self) -> usize {
        usize::from(self.has_id) + self.released
    }
}

#[cfg(test)]
mod tests {
    use super::{SavepointChange::*, *};

    fn run(savepoints: &mut Savepoints, changes: &[SavepointChange]) -> Option<u64> {
        let steps = (10..).step_by(10);
        let gave_back =
            changes.iter().zip(steps).map(|(change, step)| savepoints.change(change.clone(), step));
        gave_back.last().flatten()
    }

    fn set(name: &str) -> SavepointChange {
        Set(name.into())
    }

    fn release(name: &str) -> SavepointChange {
        Release(name.into())
    }

    fn back(name: &str) -> SavepointChange {
        RollBackTo(name.into())
    }

    #[test]
    fn of_two_with_one_name_the_inner_one_is_meant_until_it_is_released() {
        let gave_back = |changes: &[_]| run(&mut Savepoints::default(), changes);
        assert_eq!(gave_back(&[set("a"), set("a"), back("a")]), Some(20));
        assert_eq!(gave_back(&[set("a"), set("a"), back("a"), back("a")]), Some(20), "it stays");
        assert_eq!(gave_back(&[set("a"), set("a"), release("a"), back("a")]), Some(10));
        assert_eq!(gave_back(&[set("a"), set("b"), release("a"), back("b")]), None);
        assert_eq!(gave_back(&[set("a"), back("b")]), None);
    }

    #[test]
    fn released_ids_stay_and_those_rolled_back_are_gone() {
        let mut savepoints = Savepoints::default();
        assert_eq!(savepoints.writes(), 0, "the transaction's own id is no subtransaction's");
        for n in 1..=3 {
            run(&mut savepoints, &[set("a")]);
            assert_eq!(savepoints.writes(), n);
            run(&mut savepoints, &[release("a")]);
        }
        run(&mut savepoints, &[set("a"), set("b")]);
        assert_eq!(savepoints.writes(), 5, "the outer one gets an id, too");
        run(&mut savepoints, &[release("b"), back("a")]);
        assert_eq!(savepoints.with_ids(), 3);
        run(&mut savepoints, &[set("b"), release("a")]);
        assert_eq!(
            (savepoints.with_ids(), savepoints.depth()),
            (3, 0),
            "one that only reads has none"
        );
    }

    #[test]
    fn what_the_driver_sets_has_no_name() {
        let mut savepoints = Savepoints::default();
        for (n, is_released) in [(1, true), (2, true), (3, false)] {
            savepoints.set(None, 0);
            run(&mut savepoints, &[set("inner")]);
            savepoints.writes();
            savepoints.ended(0, is_released);
            assert_eq!(savepoints.with_ids(), if is_released { 2 * n } else { 4 });
        }
    }

    #[test]
    fn memory_is_bounded() {
        let mut savepoints = Savepoints::default();
        (0..2 * MOST_OPEN).for_each(|_| savepoints.set(None, 0));
        assert_eq!(savepoints.depth(), MOST_OPEN);
    }
}
