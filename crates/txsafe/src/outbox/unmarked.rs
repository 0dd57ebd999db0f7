//! Deliveries that have ended and aren't marked yet: what both loops decide alike.

use super::{
    delivery::Delivery,
    mark::{Ended, Marked},
};
use std::time::{Duration, Instant};

/// The shortest pause before a locked row is asked for again: most transactions are over by then.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// Deliveries of one worker that have ended and aren't marked yet.
///
/// What has ended is marked at once. A row that another transaction has locked isn't waited for: that would hold up the marks
/// of all others, and a connection. It is asked for again with whatever is marked next, or after a pause, which doubles up
/// to the worker's poll interval, or to an eighth of the lease.
#[derive(Debug)]
pub(super) struct Unmarked {
    ended: Vec<Ended>,
    locked: Vec<Ended>,
    /// When to ask for the locked ones, if there are any.
    retry: Option<Instant>,
    pause: Duration,
    longest_pause: Duration,
    lease: Duration,
}

impl Unmarked {
    pub(super) fn new(delivery: &Delivery) -> Self {
        Self {
            ended: Vec::new(),
            locked: Vec::new(),
            retry: None,
            pause: SHORTEST_PAUSE,
            longest_pause: delivery.poll_interval.min(delivery.lease / 8),
            lease: delivery.lease,
        }
    }

    pub(super) fn push(&mut self, ended: Ended) {
        self.ended.push(ended);
    }

    /// How long a row may be locked until its message is left to whoever claims it when the lease has ended. A worker that
    /// stops keeps its process from ending meanwhile.
    pub(super) fn patience(&self, is_stopping: bool) -> Duration {
        if is_stopping { self.lease / 4 } else { self.lease }
    }

    /// When locked rows are to be asked for again.
    pub(super) fn next_retry(&self) -> Option<Instant> {
        self.retry
    }

    /// A transaction has committed, which may have been the one that had locked them.
    pub(super) fn look(&mut self, now: Instant) {
        self.retry = self.retry.map(|_| now);
    }

    /// What is to be marked now: all of it, or nothing.
    pub(super) fn take(&mut self, now: Instant) -> Vec<Ended> {
        let is_due = !self.ended.is_empty() || self.retry.is_some_and(|retry| retry <= now);
        if is_due { self.take_all() } else { Vec::new() }
    }

    /// All of it.
    pub(super) fn take_all(&mut self) -> Vec<Ended> {
        self.retry = None;
        let mut all = std::mem::take(&mut self.locked);
        all.append(&mut self.ended);
        all
    }

    /// What was taken is marked, as far as it could be.
    pub(super) fn marked(&mut self, marked: Marked, now: Instant) {
        self.locked = marked.locked;
        if self.locked.is_empty() {
            self.pause = SHORTEST_PAUSE;
        } else {
            self.retry = Some(now + self.pause);
            self.pause = (2 * self.pause).min(self.longest_pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{claim::Claim, mark::End};
    use super::*;

    fn ended(now: Instant) -> Ended {
        let row = ["t", "k", "", "1", "0", "lease"].map(String::from).to_vec();
        Ended::new(&Delivery::default(), Claim::read(row, now), End::Delivered, 0.5)
    }

    /// Takes what there is, and finds all of it locked.
    fn find_locked(unmarked: &mut Unmarked, now: Instant) -> usize {
        let locked = unmarked.take(now);
        let found = locked.len();
        if found > 0 {
            unmarked.marked(Marked { deliveries: 0, locked }, now);
        }
        found
    }

    #[test]
    fn locked_rows_are_asked_for_after_pauses_and_with_what_ends() {
        let mut now = Instant::now();
        let poll_interval = Duration::from_millis(30);
        let mut unmarked = Unmarked::new(&Delivery { poll_interval, ..Delivery::default() });
        assert_eq!(find_locked(&mut unmarked, now), 0);
        unmarked.push(ended(now));
        for pause in [10, 20, 30, 30].map(Duration::from_millis) {
            assert_eq!(find_locked(&mut unmarked, now), 1);
            assert_eq!(unmarked.next_retry(), Some(now + pause));
            assert_eq!(find_locked(&mut unmarked, now), 0, "not yet");
            now += pause;
        }
        assert_eq!(unmarked.take(now).len(), 1);
        unmarked.marked(Marked::default(), now);
        unmarked.push(ended(now));
        assert_eq!(find_locked(&mut unmarked, now), 1, "at once");
        assert_eq!(unmarked.next_retry(), Some(now + SHORTEST_PAUSE));
        unmarked.push(ended(now));
        assert_eq!(find_locked(&mut unmarked, now), 2, "together");
        unmarked.look(now);
        assert_eq!(unmarked.take(now).len(), 2);
        unmarked.marked(Marked::default(), now);
        unmarked.look(now);
        assert_eq!((unmarked.next_retry(), unmarked.take(now).len()), (None, 0));
    }
}
