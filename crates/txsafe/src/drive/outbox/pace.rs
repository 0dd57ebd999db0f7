//! When a worker claims, and how many: what both loops decide alike.

/// The pace of one worker.
#[derive(Debug)]
pub(super) struct Pace {
    concurrency: usize,
    in_delivery: usize,
    /// Whether there may be messages that are due.
    is_hungry: bool,
    is_stopping: bool,
}

impl Pace {
    pub(super) fn new(concurrency: usize) -> Self {
        Self { concurrency, in_delivery: 0, is_hungry: true, is_stopping: false }
    }

    /// How many messages are to be claimed now. No more than are delivered at once: none waits in here while its lease
    /// runs, and while another worker is idle.
    pub(super) fn claims(&self) -> Option<usize> {
        let free = self.concurrency - self.in_delivery;
        (self.is_hungry && !self.is_stopping && free > 0).then_some(free)
    }

    /// So many of those that were wanted have been claimed, and are in delivery now.
    pub(super) fn claimed(&mut self, wanted: usize, got: usize) {
        self.in_delivery += got;
        self.is_hungry = got >= wanted;
    }

    /// So many deliveries have ended.
    pub(super) fn ended(&mut self, deliveries: usize) {
        self.in_delivery = self.in_delivery.saturating_sub(deliveries);
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
        self.is_stopping && self.in_delivery == 0
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
        pace.ended(1);
        assert_eq!(pace.claims(), Some(1), "there were as many as wanted, and may be more");
        pace.claimed(1, 0);
        pace.ended(2);
        assert_eq!(pace.claims(), None, "there are no more");
        pace.look();
        assert_eq!(pace.claims(), Some(3));
        pace.claimed(3, 1);
        pace.look();
        pace.stop();
        assert!(pace.claims().is_none() && !pace.is_over());
        pace.ended(1);
        assert!(pace.is_over());
    }
}
