//! The leases that a worker holds, and when it renews them: what both loops decide alike.

use super::{
    ask::{Ask, Rows},
    changed::{self, Changed},
    claim::Claim,
};
use std::time::{Duration, Instant};

/// The leases of one worker. `D` is the delivery under each, as far as it can be broken off.
///
/// One that has run for half its time is renewed, so that the dead lose their messages soon, and the slow don't.
#[derive(Debug)]
pub(super) struct Leases<D> {
    term: Duration,
    held: Vec<Held<D>>,
    /// Whether a renewal is under way.
    is_asking: bool,
    /// When to ask again, after the server couldn't be asked, or some rows were locked.
    pause: Option<Instant>,
}

#[derive(Debug)]
struct Held<D> {
    claim: Claim,
    delivery: D,
    /// No later than at the server, because it was counted from before that was asked.
    ends: Instant,
}

/// Leases that are to be renewed, by one statement.
#[derive(Debug)]
pub(super) struct Renewal {
    leases: Vec<String>,
    asked: Instant,
    pub(super) ask: Ask,
}

impl<D> Leases<D> {
    pub(super) fn new(term: Duration) -> Self {
        Self { term, held: Vec::new(), is_asking: false, pause: None }
    }

    pub(super) fn hold(&mut self, claim: Claim, delivery: D) {
        let ends = claim.since + self.term;
        self.held.push(Held { claim, delivery, ends });
    }

    /// The delivery under this lease has ended.
    pub(super) fn end(&mut self, lease: &str) {
        self.held.retain(|held| held.claim.lease != lease);
    }

    /// Gives all of them up.
    pub(super) fn take_all(&mut self) -> impl Iterator<Item = Claim> + use<D> {
        std::mem::take(&mut self.held).into_iter().map(|held| held.claim)
    }

    /// When the first of them ends.
    pub(super) fn next_end(&self) -> Option<Instant> {
        self.held.iter().map(|held| held.ends).min()
    }

    /// When to ask for the next [`renewal`](Self::renewal); not while one is under way.
    pub(super) fn next_renewal(&self) -> Option<Instant> {
        let half = self.next_end().filter(|_| !self.is_asking)? - self.term / 2;
        Some(self.pause.map_or(half, |pause| pause.max(half)))
    }

    /// What is to be renewed now, if anything is. Those that have run for a quarter are taken along, so that leases of
    /// different ages come together.
    pub(super) fn renewal(&mut self, now: Instant) -> Option<Renewal> {
        self.next_renewal().filter(|next| *next <= now)?;
        let is_aged =
            |held: &&Held<D>| held.ends.saturating_duration_since(now) <= self.term / 4 * 3;
        let aged = self.held.iter().filter(is_aged);
        let claims: Vec<_> = aged.map(|held| &held.claim).collect();
        let leases = claims.iter().map(|claim| claim.lease.clone()).collect();
        let ask = Ask::renew(&claims, self.term);
        self.is_asking = true;
        Some(Renewal { leases, asked: now, ask })
    }

    /// The server has renewed what was still there and not locked; deliveries under leases that are lost.
    ///
    /// While another transaction has locked its row nobody claims it, and it may be renewed once it is free: it is asked for
    /// again until it ends, and more often towards the end, so that a transaction that ends before the lease doesn't cost it.
    pub(super) fn renewed(&mut self, renewal: &Renewal, answer: Rows, now: Instant) -> Vec<D> {
        let changed = changed::read(answer);
        let mut first_end_of_locked = None::<Instant>;
        for held in &mut self.held {
            match changed.get(&held.claim.lease) {
                Some(Changed::Done | Changed::WrittenAgain) => {
                    held.ends = renewal.asked + self.term;
                }
                Some(Changed::Locked) => {
                    let first = first_end_of_locked.map_or(held.ends, |end| end.min(held.ends));
                    first_end_of_locked = Some(first);
                }
                None => {}
            }
        }
        self.is_asking = false;
        self.pause = first_end_of_locked.map(|end| {
            let half_of_the_rest = end.saturating_duration_since(now) / 2;
            now + half_of_the_rest.clamp(self.term / 64, self.term / 8)
        });
        let is_lost = |held: &Held<D>| {
            let lease = &held.claim.lease;
            renewal.leases.contains(lease) && !changed.contains_key(lease)
        };
        self.take(is_lost)
    }

    /// The server couldn't be asked.
    pub(super) fn not_renewed(&mut self, now: Instant) {
        (self.is_asking, self.pause) = (false, Some(now + self.term / 8));
    }

    /// Deliveries under leases that have ended, as far as is known here.
    pub(super) fn ended(&mut self, now: Instant) -> Vec<D> {
        self.take(|held| held.ends <= now)
    }

    fn take(&mut self, is_over: impl Fn(&Held<D>) -> bool) -> Vec<D> {
        let (over, held) = std::mem::take(&mut self.held).into_iter().partition(is_over);
        self.held = held;
        let over: Vec<Held<D>> = over;
        over.into_iter().map(|held| held.delivery).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Leases of eight seconds, each with its number as delivery, and so old now.
    fn leases<const N: usize>(now: Instant, ages: [u32; N]) -> Leases<usize> {
        let mut leases = Leases::new(8 * SECOND);
        for (n, age) in ages.into_iter().enumerate() {
            let row = ["t", "k", "", "1", "0", &n.to_string()].map(String::from).to_vec();
            leases.hold(Claim::read(row, now.checked_sub(age * SECOND).unwrap()), n);
        }
        leases
    }

    fn rows(leases: &[(&str, &str)]) -> Rows {
        leases.iter().map(|(lease, changed)| vec![(*lease).into(), (*changed).into()]).collect()
    }

    /// Some time after the machine was started, so that there is a time before.
    fn now() -> Instant {
        Instant::now() + 60 * SECOND
    }

    #[test]
    fn half_a_lease_is_renewed_and_takes_along_what_is_due_soon() {
        let now = now();
        let mut leases = leases(now, [3, 2, 1]);
        assert_eq!(leases.next_renewal(), Some(now + SECOND));
        assert!(leases.renewal(now).is_none(), "none has run for half its time");
        let now = now + SECOND;
        let renewal = leases.renewal(now).unwrap();
        assert_eq!(renewal.leases, ["0", "1", "2"]);
        assert!(leases.renewal(now).is_none() && leases.next_renewal().is_none(), "under way");
        assert!(
            leases
                .renewed(&renewal, rows(&["0", "1", "2"].map(|lease| (lease, "changed"))), now)
                .is_empty()
        );
        assert_eq!(leases.next_renewal(), Some(now + 4 * SECOND));
    }

    #[test]
    fn what_has_just_been_claimed_is_not_renewed() {
        let now = now();
        assert_eq!(leases(now, [4, 1]).renewal(now).unwrap().leases, ["0"]);
    }

    #[test]
    fn a_lease_that_is_not_in_the_answer_is_lost() {
        let now = now();
        let mut leases = leases(now, [5, 5, 5]);
        let renewal = leases.renewal(now).unwrap();
        leases.end("1");
        assert_eq!(
            leases.renewed(&renewal, rows(&[("0", "changed")]), now),
            [2],
            "1 has ended meanwhile"
        );
        assert_eq!(leases.take_all().map(|claim| claim.lease).collect::<Vec<_>>(), ["0"]);
        assert_eq!((leases.next_renewal(), leases.next_end()), (None, None));
    }

    #[test]
    fn a_lease_whose_row_is_locked_is_held_and_asked_for_again() {
        let now = now();
        let mut leases = leases(now, [5, 5]);
        let renewal = leases.renewal(now).unwrap();
        let answer = rows(&[("0", "written again"), ("1", "locked")]);
        assert!(leases.renewed(&renewal, answer, now).is_empty());
        assert_eq!(leases.next_renewal(), Some(now + SECOND));
        let now = now + SECOND;
        let renewal = leases.renewal(now).unwrap();
        assert_eq!(renewal.leases, ["1"]);
        assert!(leases.renewed(&renewal, rows(&[("1", "changed")]), now).is_empty());
        assert_eq!(leases.next_end(), Some(now + 7 * SECOND));
    }

    #[test]
    fn a_row_that_comes_free_shortly_before_the_end_is_renewed_in_time() {
        let start = now();
        let mut leases = leases(start, [0]);
        let end = leases.next_end().unwrap();
        let mut asked = Vec::new();
        while let Some(now) = leases.next_renewal().filter(|next| *next < end) {
            let renewal = leases.renewal(now).unwrap();
            leases.renewed(&renewal, rows(&[("0", "locked")]), now);
            asked.push(now);
        }
        assert!(end - *asked.last().unwrap() <= SECOND / 4, "a thirty-second of the lease");
        assert!(asked.len() < 12, "{}", asked.len());
    }

    #[test]
    fn without_an_answer_it_is_asked_again_until_the_end() {
        let now = now();
        let mut leases = leases(now, [4]);
        assert!(leases.renewal(now).is_some());
        leases.not_renewed(now);
        assert_eq!(leases.next_renewal(), Some(now + SECOND));
        assert!(leases.renewal(now + SECOND).is_some());
        leases.not_renewed(now + 5 * SECOND);
        assert_eq!(leases.next_renewal(), Some(now + 6 * SECOND), "nobody else may have it yet");
        assert!(leases.ended(now + 3 * SECOND).is_empty());
        assert_eq!(leases.ended(now + 4 * SECOND), [0]);
    }
}
