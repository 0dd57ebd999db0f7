//! The blocking loop of a worker: the twin of the async one, with a thread for each delivery and one that asks.

use super::{
    ask::{Ask, Rows},
    bell::Bell,
    claim::{Claim, is_passing},
    events,
    leases::Leases,
    mark::{End, Ended, Mark, Marked, is_lost},
    message::Message,
    pace::Pace,
    store::{Blocking, Store},
    unmarked::Unmarked,
    worker::{BlockingHandler, OutboxWorker},
};
use crate::{clock, error::Error};
use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

/// Stops a blocking worker, from any thread; made by [`OutboxWorker::stopper`].
#[derive(Debug, Clone)]
pub struct OutboxStopper(Arc<Bell>);

impl OutboxStopper {
    /// Has the worker claim nothing more, and return once what is in delivery has ended.
    pub fn stop(&self) {
        self.0.stop();
    }
}

impl<S: Store> OutboxWorker<Blocking<S>, BlockingHandler<'_>> {
    /// What stops it.
    #[must_use]
    pub fn stopper(&self) -> OutboxStopper {
        OutboxStopper(Arc::clone(&self.bell))
    }

    /// Delivers messages on threads of their own until its [`stopper`](Self::stopper) stops it. Then nothing more is
    /// claimed, and what is in delivery is waited for.
    ///
    /// A server that is away for a while is waited for.
    ///
    /// # Errors
    /// A failure that waiting doesn't cure, as when the table is missing.
    pub fn run(self) -> Result<(), Error> {
        let _heard = self.bell.listen();
        let mut pace = Pace::new(self.delivery.concurrency);
        let mut leases = Leases::new(self.delivery.lease);
        let mut unmarked = Unmarked::new(&self.delivery);
        let mut failure = None;
        thread::scope(|scope| {
            while !pace.is_over() {
                if let Some(most) = pace.claims() {
                    let claims = self.claim(most).unwrap_or_else(|error| {
                        if is_passing(&error) {
                            events::not_claimed(&error);
                        } else {
                            failure = Some(error);
                            pace.stop();
                        }
                        Vec::new()
                    });
                    pace.claimed(most, claims.len());
                    for mut claim in claims {
                        let message = claim.hand_over();
                        leases.hold(claim.clone(), ());
                        let worker = &self;
                        scope.spawn(move || worker.deliver(claim, message));
                    }
                }
                self.renew(&mut leases);
                self.wait(&mut pace, &leases, &mut unmarked);
                let ended = unmarked.take(clock::now());
                if !ended.is_empty() {
                    ended.iter().for_each(|ended| leases.end(&ended.claim.lease));
                    let marked = self.mark(ended, unmarked.patience(pace.is_stopping()));
                    pace.marked(marked.deliveries, marked.locked.len());
                    unmarked.marked(marked, clock::now());
                }
            }
        });
        failure.map_or(Ok(()), Err)
    }

    /// Waits until there is something to do, if there isn't. Who wakes for a lease, or for a locked row, looks for messages,
    /// too.
    fn wait(&self, pace: &mut Pace, leases: &Leases<()>, unmarked: &mut Unmarked) {
        let knows_stop = pace.is_stopping();
        let rung = if pace.claims().is_some() || pace.is_over() {
            self.bell.look()
        } else {
            let now = clock::now();
            let poll = now + self.delivery.poll_interval;
            let next = [leases.next_renewal(), unmarked.next_retry()].into_iter().flatten();
            let until = next.fold(poll, Instant::min);
            self.bell.wait(until.saturating_duration_since(now), knows_stop)
        };
        if rung.is_woken || rung.is_quiet(knows_stop) {
            pace.look();
        }
        if rung.is_woken {
            unmarked.look(clock::now());
        }
        if rung.is_stopped {
            pace.stop();
        }
        rung.ended.into_iter().for_each(|ended| unmarked.push(ended));
    }

    fn claim(&self, most: usize) -> Result<Vec<Claim>, Error> {
        let since = clock::now();
        let ask = Ask::claim(self.bell.topics(), most, &self.delivery);
        let rows = self.outbox.ask(&ask)?;
        Ok(rows.into_iter().map(|row| Claim::read(row, since)).collect())
    }

    /// Renews the leases of slow deliveries. Those that are lost go on, since threads can't be broken off.
    fn renew(&self, leases: &mut Leases<()>) {
        if let Some(renewal) = leases.renewal(clock::now()) {
            match self.outbox.ask(&renewal.ask) {
                Ok(answer) => drop(leases.renewed(&renewal, answer, clock::now())),
                Err(error) => {
                    leases.not_renewed(clock::now());
                    events::not_renewed(&error);
                }
            }
        }
    }

    /// Marks deliveries that have ended. A row that has been locked for as long as `patience` is given up.
    fn mark(&self, ended: Vec<Ended>, patience: Duration) -> Marked {
        let mut marked = Marked::default();
        for mark in Mark::all(ended) {
            let (answer, is_repeated) = self.ask_to_mark(&mark.ask);
            marked.conclude(mark, answer, is_repeated, patience);
        }
        marked
    }

    /// The answer to a mark, and whether it was sent again.
    fn ask_to_mark(&self, ask: &Ask) -> (Result<Rows, Error>, bool) {
        let answer = self.outbox.ask(ask);
        if is_lost(&answer) { (self.outbox.ask(ask), true) } else { (answer, false) }
    }

    /// Delivers a message; one that was claimed while the worker was stopped is released.
    fn deliver(&self, claim: Claim, message: Message) {
        let end = match End::without_a_word(&self.delivery, &claim) {
            Some(end) => end,
            None if self.bell.is_stopped() => End::Released,
            None => self.hand_over(message),
        };
        self.bell.end(Ended::new(&self.delivery, claim, end, fastrand::f64()));
    }

    /// Whatever panics in here, the delivery ends.
    fn hand_over(&self, message: Message) -> End {
        End::of(catch_unwind(AssertUnwindSafe(|| {
            let _inside = events::span(&message).entered();
            self.handler(&message).call(message)
        })))
    }
}
