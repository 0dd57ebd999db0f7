//! The async run loop.

use super::{
    call::Call,
    course::Plan,
    ending::Next,
    finish::{deadline_passed, finish},
    keyed::Keyed,
    progress::Progress,
    returned::RunError,
    start::{Attempted, Begun, start},
    verify::verify,
};
use crate::{
    clock,
    driver::{
        account::run_hooks,
        hooks::AsyncHook,
        session::{AsyncSession, AsyncSource, AsyncWork, CallersError},
    },
    guard::{
        session_state::keep_session_state,
        within::{raise_all, within},
    },
};
use futures_util::future::{Either, select};
use std::{
    future::Future,
    iter,
    ops::ControlFlow,
    pin::{Pin, pin},
    sync::Arc,
    time::{Duration, Instant},
};
use tracing::Instrument;

/// How long a closure that failed is waited for with a statement still in flight, before its connection is closed.
pub(super) const PATIENCE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// Runs one transaction to its end: attempts, pauses, hooks.
///
/// # Errors
/// [`RunError::Callers`] where the caller gets its closure's own error, [`RunError::Ours`] where it gets that one.
pub async fn run<W: AsyncWork>(call: Call, work: &mut W) -> Result<Keyed<()>, RunError> {
    let mut progress = Progress::start(call)?;
    let span = progress.span.clone();
    let attempts = in_a_box(async move {
        loop {
            let plan = progress.next_attempt()?;
            let (ended, account) = attempt(&mut progress, plan, work).await;
            let next = progress.conclude(ended, account);
            match follow(&mut progress, work, next).await {
                ControlFlow::Break(result) => return result,
                ControlFlow::Continue(pause) => {
                    if !progress.is_in_doubt() {
                        work.forget();
                    }
                    if let Some(pause) = pause {
                        work.sleep(pause).await;
                    }
                }
            }
        }
    });
    attempts.instrument(span).await
}

/// Runs the hooks that are due and verifies a COMMIT in doubt, until the transaction has ended or another attempt is to follow
/// after a pause, if there is one.
pub(super) async fn follow<C: AsyncSource>(
    progress: &mut Progress<AsyncHook>,
    source: &mut C,
    mut next: Next,
) -> ControlFlow<Result<Keyed<()>, RunError>, Option<Duration>> {
    loop {
        run_hooks(iter::from_fn(|| progress.take_due()).collect()).await;
        match next {
            Next::Return(result) => return ControlFlow::Break(result),
            Next::Pause(pause) => return ControlFlow::Continue(Some(pause)),
            Next::Rerun => return ControlFlow::Continue(None),
            Next::Verify(witness) => {
                let verdict = verify(source, &progress.call, &witness).await;
                next = progress.resolve(verdict);
            }
        }
    }
}

/// A future in a box of its own, so that what is around it moves a pointer and handlers stay small; written where it stays,
/// because `Box::pin` makes it on the stack and copies all of its kilobytes.
pub(super) fn in_a_box<F: Future>(future: F) -> Pin<Box<F>> {
    Box::into_pin(Box::write(Box::new_uninit(), future))
}

/// One attempt, from a connection of the pool until that is given back or closed.
async fn attempt<W: AsyncWork>(
    progress: &mut Progress<AsyncHook>,
    plan: Plan,
    work: &mut W,
) -> Attempted {
    match start(progress, plan, work).await {
        ControlFlow::Continue(begun) => {
            let alarm = progress.deadline().map(|deadline| work.deadline(left_until(deadline)));
            inside(progress, begun, alarm, async |session| work.body(session).await).await
        }
        ControlFlow::Break(attempted) => attempted,
    }
}

/// The rest of an attempt that has begun: the closure, until `alarm` rings, and the end.
pub(super) async fn inside<S: AsyncSession>(
    progress: &mut Progress<AsyncHook>,
    mut begun: Begun<S>,
    alarm: Option<impl Future<Output = ()>>,
    body: impl AsyncFnOnce(&mut S) -> Result<(), CallersError>,
) -> Attempted {
    let session = &mut begun.session;
    let scope = progress.scope(session.connection(), session.account());
    let body = within(Arc::clone(&scope), async {
        let result = body(session).await;
        if result.is_ok() {
            keep_session_state(&scope, &session.account().notes.session);
        }
        result
    });
    let Some(result) = before(alarm, body).await else {
        raise_all(&scope).await;
        return deadline_passed(begun.session).await;
    };
    let patience =
        if result.is_ok() { progress.settings().answer_timeout } else { PATIENCE_AFTER_ERROR };
    finish(progress, begun, result, patience).await
}

/// `body`, or `None` if `alarm` rings first.
async fn before<F: Future>(alarm: Option<impl Future<Output = ()>>, body: F) -> Option<F::Output> {
    let Some(alarm) = alarm else { return Some(body.await) };
    match select(pin!(body), pin!(alarm)).await {
        Either::Left((output, _)) => Some(output),
        Either::Right(((), _)) => None,
    }
}

pub(super) fn left_until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(clock::now())
}
