//! Time that passes, and nothing else.

use super::case::{Call, Case, Failed, Wait, call};
use super::server::answer_delay;

pub(super) const CASES: &[Case] = &[
    Case::new("sleep.tokio", "sleep with tokio's timer", Wait::Suspends, || Box::pin(sleep())),
    Case::new("sleep.std", "let the thread sleep", Wait::Blocks, || Box::pin(sleep_blocking())),
    Case::new("yield_now", "let other tasks run; nothing to find", Wait::Yields, || {
        Box::pin(yield_now())
    }),
];

async fn sleep() -> Result<Call, Failed> {
    Ok(call(async {
        tokio::time::sleep(answer_delay()).await;
        Ok(())
    }))
}

async fn sleep_blocking() -> Result<Call, Failed> {
    Ok(call(async {
        std::thread::sleep(answer_delay());
        Ok(())
    }))
}

async fn yield_now() -> Result<Call, Failed> {
    Ok(call(async {
        tokio::task::yield_now().await;
        Ok(())
    }))
}
