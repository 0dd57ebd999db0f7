//! The async run loop for closures whose futures aren't `Send`, which stay on their thread.
//!
//! It is a loop of its own, because a trait can't leave open whether the futures that it returns are `Send`.

use super::{
    call::Call,
    keyed::Keyed,
    progress::Progress,
    returned::Returned,
    run::{follow, in_a_box, inside, left_until},
    start::start,
    work::Source,
};
use crate::{
    driver::{
        asynchronous::AsyncDriver,
        session::{AsyncSource, CallersError},
    },
    error::Error,
    locks::relation::{LockOrder, Unlocked},
};
use std::ops::ControlFlow;
use tracing::Instrument;

/// Runs a call that has no key: attempts, pauses, hooks.
pub(super) async fn unkeyed_local<D, O, T, E, F>(
    call: Call,
    mut source: Source<'_, D>,
    mut body: F,
) -> Result<T, E>
where
    D: AsyncDriver,
    O: LockOrder,
    F: AsyncFnMut(D::Tx<'_, O, Unlocked>) -> Result<T, E>,
    E: From<Error>,
{
    let mut progress = Progress::start(call)?;
    let span = progress.span.clone();
    let attempts = in_a_box(async move {
        loop {
            let plan = progress.next_attempt()?;
            let mut returned = Returned::nothing();
            let body = async |session: &mut D::Session<'_>| -> Result<(), CallersError> {
                returned.keep(body(D::tx(session)).await)
            };
            let (ended, account) = match start(&mut progress, plan, &mut source).await {
                ControlFlow::Continue(begun) => {
                    let alarm =
                        progress.deadline().map(|deadline| source.deadline(left_until(deadline)));
                    inside(&mut progress, begun, alarm, body).await
                }
                ControlFlow::Break(attempted) => attempted,
            };
            let next = progress.conclude(ended, account);
            match follow(&mut progress, &mut source, next).await {
                ControlFlow::Break(ended) => return returned.of(ended).map(Keyed::of_new),
                ControlFlow::Continue(pause) => {
                    // It may hold what the next attempt waits for.
                    drop(returned);
                    if let Some(pause) = pause {
                        source.sleep(pause).await;
                    }
                }
            }
        }
    });
    attempts.instrument(span).await
}
