//! A client behind a trait, and in its place a mock that answers at once.

use std::pin::Pin;
use std::sync::Mutex;

use super::case::{Call, Case, Failed, Wait, call};

pub(super) const CASES: &[Case] = &[Case::new(
    "mock",
    "call a mock that is always ready: only a marker can tell what it stands for",
    Wait::GoesOn,
    || Box::pin(mock()),
)];

async fn mock() -> Result<Call, Failed> {
    let payments: Box<dyn Payments> = Box::new(Mock::default());
    Ok(call(async {
        payments.charge(100).await?;
        Ok(payments)
    }))
}

trait Payments: Send + Sync {
    fn charge(&self, cents: u32) -> Answer<'_>;
}

type Answer<'a> = Pin<Box<dyn Future<Output = Result<(), Failed>> + Send + 'a>>;

#[derive(Debug, Default)]
struct Mock {
    charged: Mutex<Vec<u32>>,
}

impl Payments for Mock {
    fn charge(&self, cents: u32) -> Answer<'_> {
        Box::pin(async move {
            self.charged.lock().map_err(|_| "a charge panicked")?.push(cents);
            Ok(())
        })
    }
}
