//! The async loop of a worker.

use super::{
    ask::{Ask, Rows},
    claim::{Claim, is_passing},
    events,
    leases::{Leases, Renewal},
    mark::{End, Ended, Mark, Marked, is_lost},
    message::Message,
    pace::Pace,
    store::AsyncStore,
    unmarked::Unmarked,
    worker::{AsyncHandler, OutboxWorker},
};
use crate::{clock, error::Error};
use futures_util::{
    FutureExt, StreamExt,
    future::{
        AbortHandle, AbortRegistration, Abortable, BoxFuture, Either, OptionFuture, join3, select,
    },
    stream::FuturesUnordered,
};
use std::{
    future::{Future, poll_fn},
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};
use tracing::Instrument;

/// How long a claim that is under way is waited for when deliveries are broken off: far longer than one takes. If no answer
/// comes, what it has leased waits for its lease.
const LAST_CLAIM: Duration = Duration::from_secs(5);

impl<'a, B: AsyncStore> OutboxWorker<B, AsyncHandler<'a>> {
    /// Delivers messages until `stop` is ready. Then nothing more is claimed, and what is in delivery has
    /// [`grace`](super::worker::OutboxWorkerBuilder::grace) to end; what hasn't by then is dropped, and its message is
    /// released to other workers.
    ///
    /// If the future itself is dropped, as when its task is aborted, messages in delivery are delivered again when their
    /// leases end.
    ///
    /// A server that is away for a while is waited for.
    ///
    /// # Errors
    /// A failure that waiting doesn't cure, as when the table is missing.
    #[expect(clippy::manual_async_fn, reason = "says that the future is Send")]
    pub fn run_until<S>(self, stop: S) -> impl Future<Output = Result<(), Error>> + Send + 'a
    where
        S: Future + Send + 'a,
        B: 'a,
    {
        async move {
            let _heard = self.bell.listen();
            Run::new(&self).until(pin!(stop)).await
        }
    }

    async fn claim(&self, most: usize) -> Claimed {
        let since = clock::now();
        let ask = Ask::claim(self.bell.topics(), most, &self.delivery);
        let rows = self.outbox.ask(&ask).await?;
        Ok(rows.into_iter().map(|row| Claim::read(row, since)).collect())
    }

    async fn renew(&self, renewal: Renewal) -> Renewed {
        let answer = self.outbox.ask(&renewal.ask).await;
        (renewal, answer)
    }

    /// Marks deliveries that have ended. A row that has been locked for as long as `patience` is given up.
    async fn mark(&self, ended: Vec<Ended>, patience: Duration) -> Marked {
        let mut marked = Marked::default();
        for mark in Mark::all(ended) {
            let (answer, is_repeated) = self.ask_to_mark(&mark.ask).await;
            marked.conclude(mark, answer, is_repeated, patience);
        }
        marked
    }

    /// The answer to a mark, and whether it was sent again.
    async fn ask_to_mark(&self, ask: &Ask) -> (Result<Rows, Error>, bool) {
        let answer = self.outbox.ask(ask).await;
        if is_lost(&answer) { (self.outbox.ask(ask).await, true) } else { (answer, false) }
    }

    async fn deliver(&self, claim: Claim, message: Message, aborted: AbortRegistration) -> Ended {
        let end = match End::without_a_word(&self.delivery, &claim) {
            Some(end) => end,
            None => self.hand_over(message, aborted).await,
        };
        self.end(claim, end)
    }

    fn end(&self, claim: Claim, end: End) -> Ended {
        Ended::new(&self.delivery, claim, end, fastrand::f64())
    }

    async fn hand_over(&self, message: Message, aborted: AbortRegistration) -> End {
        let (span, handler) = (events::span(&message), self.handler(&message));
        // The call itself may panic, before there is a future.
        let delivering = async { handler.call(message).await };
        let delivering = AssertUnwindSafe(delivering).catch_unwind().instrument(span);
        let delivering = Abortable::new(delivering, aborted);
        match select(pin!(delivering), pin!(B::sleep(self.delivery.timeout))).await {
            Either::Left((Ok(returned), _)) => End::of(returned),
            Either::Left((Err(_aborted), _)) => End::lease_over(),
            Either::Right(((), _)) => End::too_late(&self.delivery),
        }
    }
}

/// The answer to a claim.
type Claimed = Result<Vec<Claim>, Error>;

/// The answer to a renewal.
type Renewed = (Renewal, Result<Rows, Error>);

/// A worker while it runs.
struct Run<'w, 'a, B> {
    worker: &'w OutboxWorker<B, AsyncHandler<'a>>,
    pace: Pace,
    /// The claim that is under way, and of how many.
    claiming: Option<(usize, BoxFuture<'w, Claimed>)>,
    deliveries: FuturesUnordered<BoxFuture<'w, Ended>>,
    unmarked: Unmarked,
    /// The marks that are under way.
    marking: Option<BoxFuture<'w, Marked>>,
    /// Rings when it is time to ask for locked rows again.
    retry_alarm: Option<BoxFuture<'static, ()>>,
    /// What is in delivery, to be released where that is broken off.
    leases: Leases<AbortHandle>,
    /// The renewal that is under way.
    renewing: Option<BoxFuture<'w, Renewed>>,
    /// Rings when it is time to look after the leases.
    lease_alarm: Option<BoxFuture<'static, ()>>,
    /// Rings when it is time to look again; after the stop, when deliveries are broken off.
    alarm: Option<BoxFuture<'static, ()>>,
    failure: Option<Error>,
}

/// What happens next.
enum Next {
    Stop,
    Claimed(usize, Claimed),
    Ended(Ended),
    Marked(Marked),
    RetryAlarm,
    Renewed(Renewed),
    LeaseAlarm,
    Woken,
    Alarm,
}

impl<'w, 'a, B: AsyncStore> Run<'w, 'a, B> {
    fn new(worker: &'w OutboxWorker<B, AsyncHandler<'a>>) -> Self {
        Self {
            worker,
            pace: Pace::new(worker.delivery.concurrency),
            claiming: None,
            deliveries: FuturesUnordered::new(),
            unmarked: Unmarked::new(&worker.delivery),
            marking: None,
            retry_alarm: None,
            leases: Leases::new(worker.delivery.lease),
            renewing: None,
            lease_alarm: None,
            alarm: None,
            failure: None,
        }
    }

    async fn until(mut self, mut stop: Pin<&mut (impl Future + Send)>) -> Result<(), Error> {
        while self.claiming.is_some() || !self.pace.is_over() {
            if let (None, Some(most)) = (&self.claiming, self.pace.claims()) {
                self.claiming = Some((most, Box::pin(self.worker.claim(most))));
            } else if self.alarm.is_none() {
                self.alarm = Some(Box::pin(B::sleep(self.worker.delivery.poll_interval)));
            }
            if self.lease_alarm.is_none() {
                self.set_lease_alarm();
            }
            match poll_fn(|cx| self.poll_next(stop.as_mut(), cx)).await {
                Next::Stop => self.stop(),
                Next::Claimed(most, Ok(claims)) => self.claimed(most, claims),
                Next::Claimed(most, Err(error)) => self.not_claimed(most, error),
                Next::Ended(ended) => self.unmarked.push(ended),
                Next::Marked(marked) => self.marked(marked),
                Next::RetryAlarm => self.unmarked.look(clock::now()),
                Next::Renewed(renewed) => self.renewed(renewed),
                Next::LeaseAlarm => self.look_after_leases(),
                Next::Woken => {
                    self.pace.look();
                    self.unmarked.look(clock::now());
                }
                Next::Alarm if self.pace.is_stopping() => break,
                Next::Alarm => self.pace.look(),
            }
        }
        self.break_off().await
    }

    fn poll_next(
        &mut self,
        stop: Pin<&mut (impl Future + Send)>,
        cx: &mut Context<'_>,
    ) -> Poll<Next> {
        if !self.pace.is_stopping() && stop.poll(cx).is_ready() {
            return Poll::Ready(Next::Stop);
        }
        if let Some((most, claiming)) = &mut self.claiming
            && let Poll::Ready(claimed) = claiming.as_mut().poll(cx)
        {
            let most = *most;
            self.claiming = None;
            return Poll::Ready(Next::Claimed(most, claimed));
        }
        if let Poll::Ready(Some(ended)) = self.deliveries.poll_next_unpin(cx) {
            return Poll::Ready(Next::Ended(ended));
        }
        self.mark();
        if let Some(marking) = &mut self.marking
            && let Poll::Ready(marked) = marking.as_mut().poll(cx)
        {
            self.marking = None;
            return Poll::Ready(Next::Marked(marked));
        }
        if let Some(alarm) = &mut self.retry_alarm
            && alarm.as_mut().poll(cx).is_ready()
        {
            self.retry_alarm = None;
            return Poll::Ready(Next::RetryAlarm);
        }
        if let Some(renewing) = &mut self.renewing
            && let Poll::Ready(renewed) = renewing.as_mut().poll(cx)
        {
            self.renewing = None;
            return Poll::Ready(Next::Renewed(renewed));
        }
        if let Some(alarm) = &mut self.lease_alarm
            && alarm.as_mut().poll(cx).is_ready()
        {
            self.lease_alarm = None;
            return Poll::Ready(Next::LeaseAlarm);
        }
        // A message that is committed while others are claimed may have come too late for that.
        if self.claiming.is_none() && self.worker.bell.poll_woken(cx).is_ready() {
            return Poll::Ready(Next::Woken);
        }
        if let Some(alarm) = &mut self.alarm
            && alarm.as_mut().poll(cx).is_ready()
        {
            self.alarm = None;
            return Poll::Ready(Next::Alarm);
        }
        Poll::Pending
    }

    fn stop(&mut self) {
        if self.pace.is_stopping() {
            return;
        }
        self.pace.stop();
        self.alarm = Some(Box::pin(B::sleep(self.worker.delivery.grace)));
    }

    fn claimed(&mut self, most: usize, claims: Vec<Claim>) {
        self.pace.claimed(most, claims.len());
        if !self.pace.is_stopping() {
            self.alarm = None;
        }
        // A claim that took long is older than what was renewed meanwhile.
        self.lease_alarm = None;
        let worker = self.worker;
        let late = claims.first().filter(|claim| claim.is_late(worker.delivery.lease));
        late.into_iter().for_each(events::claimed_late);
        let is_released = self.pace.is_stopping() || late.is_some();
        for mut claim in claims {
            let message = claim.hand_over();
            let (abort, aborted) = AbortHandle::new_pair();
            self.leases.hold(claim.clone(), abort);
            if is_released {
                self.unmarked.push(worker.end(claim, End::Released));
            } else {
                self.deliveries.push(Box::pin(worker.deliver(claim, message, aborted)));
            }
        }
    }

    fn not_claimed(&mut self, most: usize, error: Error) {
        self.pace.claimed(most, 0);
        if is_passing(&error) {
            events::not_claimed(&error);
        } else {
            self.failure = Some(error);
            self.stop();
        }
    }

    /// Marks what has ended by now, all of it at once; what ends meanwhile comes next. A renewal is waited for, because it may
    /// be about the same rows.
    fn mark(&mut self) {
        if self.marking.is_some() || self.renewing.is_some() {
            return;
        }
        let ended = self.unmarked.take(clock::now());
        if !ended.is_empty() {
            ended.iter().for_each(|ended| self.leases.end(&ended.claim.lease));
            let patience = self.unmarked.patience(self.pace.is_stopping());
            self.marking = Some(Box::pin(self.worker.mark(ended, patience)));
        }
    }

    fn marked(&mut self, marked: Marked) {
        self.pace.marked(marked.deliveries, marked.locked.len());
        let now = clock::now();
        self.unmarked.marked(marked, now);
        let rest = self.unmarked.next_retry().map(|retry| retry.saturating_duration_since(now));
        self.retry_alarm = rest.map(|rest| -> BoxFuture<'_, _> { Box::pin(B::sleep(rest)) });
    }

    fn set_lease_alarm(&mut self) {
        let next = self.leases.next_end().map(|end| {
            let next = self.leases.next_renewal().map_or(end, |renewal| renewal.min(end));
            next.saturating_duration_since(clock::now())
        });
        self.lease_alarm = next.map(|rest| -> BoxFuture<'_, _> { Box::pin(B::sleep(rest)) });
    }

    /// Renews the leases of slow deliveries, and breaks off those whose leases have ended all the same.
    fn look_after_leases(&mut self) {
        let now = clock::now();
        self.leases.ended(now).iter().for_each(AbortHandle::abort);
        if self.renewing.is_none()
            && let Some(renewal) = self.leases.renewal(now)
        {
            self.renewing = Some(Box::pin(self.worker.renew(renewal)));
        }
    }

    /// Breaks off deliveries of messages that are another worker's by now.
    fn renewed(&mut self, (renewal, answer): Renewed) {
        // It was set for the end of the leases.
        self.lease_alarm = None;
        match answer {
            Ok(answer) => {
                let lost = self.leases.renewed(&renewal, answer, clock::now());
                lost.iter().for_each(AbortHandle::abort);
            }
            Err(error) => {
                self.leases.not_renewed(clock::now());
                events::not_renewed(&error);
            }
        }
    }

    /// Breaks off what is in delivery, and marks the rest.
    async fn break_off(mut self) -> Result<(), Error> {
        self.deliveries.clear();
        // All of them together: one that isn't polled may keep a connection that another one waits for.
        let claiming =
            self.claiming.map(|(_, claiming)| select(claiming, Box::pin(B::sleep(LAST_CLAIM))));
        let (marked, _, claimed) = join3(
            OptionFuture::from(self.marking),
            OptionFuture::from(self.renewing),
            OptionFuture::from(claiming),
        )
        .await;
        let mut ended = marked.unwrap_or_default().locked;
        ended.extend(self.unmarked.take_all());
        if let Some(Either::Left((Ok(claims), _))) = claimed {
            ended.extend(claims.into_iter().map(|claim| self.worker.end(claim, End::Released)));
        }
        ended.iter().for_each(|ended| self.leases.end(&ended.claim.lease));
        let released = self.leases.take_all().map(|claim| self.worker.end(claim, End::Released));
        ended.extend(released);
        while !ended.is_empty() {
            let marked = self.worker.mark(ended, self.unmarked.patience(true)).await;
            let now = clock::now();
            self.unmarked.marked(marked, now);
            if let Some(retry) = self.unmarked.next_retry() {
                B::sleep(retry.saturating_duration_since(now)).await;
            }
            ended = self.unmarked.take_all();
        }
        self.failure.map_or(Ok(()), Err)
    }
}
