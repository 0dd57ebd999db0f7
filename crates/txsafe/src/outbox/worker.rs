//! A worker, and how it is set up.

use super::{bell::Bell, delivery::Delivery, handle::Outbox, message::Message};
use crate::{driver::hooks::HookResult, error::Error, invalid::InvalidSetting, name};
use std::{collections::BTreeMap, fmt, future::Future, pin::Pin, sync::Arc, time::Duration};

/// Delivers messages of the outbox; run by `run_until` where its driver is async, by `run` where it is blocking.
///
/// Any number of workers may run, in any number of processes: no two of them deliver a message at the same time while its
/// lease holds, and it is renewed for as long as the delivery takes.
pub struct OutboxWorker<B, H> {
    pub(super) outbox: Outbox<B>,
    pub(super) delivery: Delivery,
    pub(super) handlers: BTreeMap<Arc<str>, H>,
    pub(super) bell: Arc<Bell>,
}

/// Sets up an [`OutboxWorker`]; made by [`Outbox::worker`].
pub struct OutboxWorkerBuilder<B, H> {
    outbox: Outbox<B>,
    delivery: Delivery,
    handlers: Vec<(String, H)>,
}

type Delivering<'a> = Pin<Box<dyn Future<Output = Result<(), String>> + Send + 'a>>;

/// What delivers the messages of one topic.
pub struct AsyncHandler<'a>(Box<dyn Fn(Message) -> Delivering<'a> + Send + Sync + 'a>);

/// The blocking twin of [`AsyncHandler`].
pub struct BlockingHandler<'a>(Box<dyn Fn(Message) -> Result<(), String> + Send + Sync + 'a>);

impl<'a, B> OutboxWorkerBuilder<B, AsyncHandler<'a>> {
    /// Delivers the messages of `topic` by this closure, to which each is handed outside of any transaction. Topics that no
    /// closure is given for are left to other workers.
    ///
    /// An error that it returns, and a panic, is a failed attempt. If it takes longer than its [`timeout`](Self::timeout), it
    /// is dropped, and that is one, too; so it is if its lease couldn't be renewed. Messages are delivered on the worker's own
    /// task: what computes for long belongs on another one.
    #[must_use]
    pub fn deliver<F, Fut>(mut self, topic: impl Into<String>, handler: F) -> Self
    where
        F: Fn(Message) -> Fut + Send + Sync + 'a,
        Fut: Future<Output: HookResult> + Send + 'a,
    {
        let handler = AsyncHandler(Box::new(move |message| {
            let delivering = handler(message);
            Box::pin(async move { delivering.await.into_result() })
        }));
        self.handlers.push((topic.into(), handler));
        self
    }

    /// How long a delivery may take, until it is dropped and has failed. Default: 30 s.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.delivery.timeout = timeout;
        self
    }

    /// How long deliveries may go on after the stop, until they are dropped and their messages released. Default: 10 s.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.delivery.grace = grace;
        self
    }
}

impl<'a, B> OutboxWorkerBuilder<B, BlockingHandler<'a>> {
    /// Delivers the messages of `topic` by this closure, to which each is handed outside of any transaction, on a thread of
    /// its own. Topics that no closure is given for are left to other workers.
    ///
    /// An error that it returns, and a panic, is a failed attempt. **It can't be broken off:** its lease is renewed for as
    /// long as it takes, so let whatever it waits for have a timeout.
    #[must_use]
    pub fn deliver<R: HookResult>(
        mut self,
        topic: impl Into<String>,
        handler: impl Fn(Message) -> R + Send + Sync + 'a,
    ) -> Self {
        let handler = BlockingHandler(Box::new(move |message| handler(message).into_result()));
        self.handlers.push((topic.into(), handler));
        self
    }
}

impl<B, H> OutboxWorkerBuilder<B, H> {
    pub(super) fn new(outbox: Outbox<B>) -> Self {
        Self { outbox, delivery: Delivery::default(), handlers: Vec::new() }
    }

    /// How long a message is this worker's, if it isn't heard of again: the longest that the message of a killed worker
    /// waits. It is renewed at half time for as long as the delivery takes. Default: 30 s.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.delivery.lease = lease;
        self
    }

    /// How many messages are delivered at once. It claims no more than that. Default: 8.
    #[must_use]
    pub fn concurrency(mut self, messages: usize) -> Self {
        self.delivery.concurrency = messages;
        self
    }

    /// How often it looks for messages when it found none. Those that are committed in its own process wake it. Default:
    /// 1 s.
    #[must_use]
    pub fn poll_interval(mut self, interval: Duration) -> Self {
        self.delivery.poll_interval = interval;
        self
    }

    /// How often a message is tried in all, until it is dead. Default: 25, which with the default pauses takes half a day.
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.delivery.max_attempts = attempts;
        self
    }

    /// The ceiling of the pause after the first failed attempt; it doubles with each one. The pause itself is drawn evenly
    /// from zero to the ceiling. Default: 1 s.
    #[must_use]
    pub fn min_pause(mut self, pause: Duration) -> Self {
        self.delivery.min_pause = pause;
        self
    }

    /// The highest ceiling of a pause. Default: 1 h.
    #[must_use]
    pub fn max_pause(mut self, pause: Duration) -> Self {
        self.delivery.max_pause = pause;
        self
    }

    /// Checks all settings and makes the worker. It asks the server for nothing yet.
    ///
    /// # Errors
    /// A setting that can't be meant, with its name, its value and the cure.
    pub fn build(self) -> Result<OutboxWorker<B, H>, Error> {
        let Self { outbox, delivery, handlers: given } = self;
        delivery.validate()?;
        let mut handlers = BTreeMap::new();
        for (topic, handler) in given {
            name::check_topic(&topic)?;
            let topic: Arc<str> = topic.into();
            if handlers.insert(Arc::clone(&topic), handler).is_some() {
                let cure = "it has two handlers, and only one would get its messages: remove one";
                return Err(InvalidSetting::new("deliver", format!("{topic:?}"), cure).into());
            }
        }
        if handlers.is_empty() {
            let cure = "the worker would deliver nothing: give it a topic and a handler";
            return Err(InvalidSetting::new("deliver", "missing", cure).into());
        }
        let bell = Bell::new(handlers.keys().cloned().collect());
        Ok(OutboxWorker { outbox, delivery, handlers, bell })
    }
}

impl<B, H> OutboxWorker<B, H> {
    /// The handler of a message that was claimed.
    pub(super) fn handler(&self, message: &Message) -> &H {
        let handler = self.handlers.get(&message.topic);
        handler.unwrap_or_else(|| unreachable!("only topics with a handler are claimed"))
    }
}

impl<'a> AsyncHandler<'a> {
    pub(super) fn call(&self, message: Message) -> Delivering<'a> {
        (self.0)(message)
    }
}

impl BlockingHandler<'_> {
    pub(super) fn call(&self, message: Message) -> Result<(), String> {
        (self.0)(message)
    }
}

impl<B, H> fmt::Debug for OutboxWorker<B, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxWorker")
            .field("topics", &self.bell.topics())
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}

impl<B, H> fmt::Debug for OutboxWorkerBuilder<B, H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topics: Vec<_> = self.handlers.iter().map(|(topic, _)| topic).collect();
        f.debug_struct("OutboxWorkerBuilder")
            .field("topics", &topics)
            .field("delivery", &self.delivery)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for AsyncHandler<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AsyncHandler")
    }
}

impl fmt::Debug for BlockingHandler<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlockingHandler")
    }
}
