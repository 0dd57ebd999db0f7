//! When a worker claims, and how many: what both loops decide alike.

/// The pace of one worker.
#[derive(Debug)]
pub(super) struct Pace {
    concurrency: usize,
    in_delivery: usize,
    /// Deliveries that have ended and couldn't be marked yet, because other transactions have locked the rows.
    locked: usize,
    /// Whether there may be messages that are due.
    is_hungry: bool,
    is_stopping: bool,
}

impl Pace {
    pub(super) fn new(concurrency: usize) -> Self {
        Self { concurrency, in_delivery: 0, locked: 0, is_hungry: true, is_stopping: false }
    }

    /// How many messages are to be claimed now. No more than are delivered at once: none waits in here while its lease
    /// runs, and while another worker is idle. Locked ones are in nobody's hands; they take places only where there are more
    /// of them than places, so that they are bounded.
    pub(super) fn claims(&self) -> Option<usize> {
        let places = self.concurrency.min((2 * self.concurrency).saturating_sub(self.locked));
        let free = places.saturating_sub(self.in_delivery);
        (self.is_hungry && !self.is_stopping && free > 0).then_some(free)
    }

    /// So many of those that were wanted have been claimed, and are in delivery now.
    pub(super) fn claimed(&mut self, wanted: usize, got: usize) {
        self.in_delivery += got;
        self.is_hungry = got >= wanted;
    }

    /// So many deliveries have ended and were to be marked; so many couldn't be, now or before.
    pub(super) fn marked(&mut self, deliveries: usize, locked: usize) {
        self.in_delivery = self.in_delivery.saturating_sub(deliveries);
        self.locked = locked;
    }

    /// It is time to look again.
    pub(super) fn look(&mut self) {
        self.is_hungry = true;
    }

    /// Nothing more is claimed.
    pub(super) fn stop(&mut self) {
        self.is_stopping = true;
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.is_stopping
    }

    /// Whether it has stopped, with nothing left to end.
    pub(super) fn is_over(&self) -> bool {
        self.is_stopping && self.in_delivery == 0 && self.locked == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_claimed_is_delivered_at_once() {
        let mut pace = Pace::new(3);
        assert_eq!(pace.claims(), Some(3));
        pace.claimed(3, 3);
        assert_eq!(pace.claims(), None, "all hands are full");
        pace.marked(1, 0);
        assert_eq!(pace.claims(), Some(1), "there were as many as wanted, and may be more");
        pace.claimed(1, 0);
        pace.marked(2, 0);
        assert_eq!(pace.claims(), None, "there are no more");
        pace.look();
        assert_eq!(pace.claims(), Some(3));
        pace.claimed(3, 1);
        pace.look();
        pace.stop();
        assert!(pace.claims().is_none() && !pace.is_over());
        pace.marked(1, 0);
        assert!(pace.is_over());
    }

    #[test]
    fn locked_rows_take_places_only_where_there_are_many() {
        let mut pace = Pace::new(2);
        pace.claimed(2, 2);
        pace.marked(2, 2);
        assert_eq!(pace.claims(), Some(2));
        pace.claimed(2, 2);
        pace.marked(1, 3);
        assert_eq!(pace.claims(), None, "one is in delivery, and there is place for four in all");
        pace.marked(0, 1);
        assert_eq!(pace.claims(), Some(1));
        pace.stop();
        pace.marked(1, 1);
        assert!(!pace.is_over());
        pace.marked(0, 0);
        assert!(pace.is_over());
    }
}
