//! A stack, as addresses.

use super::waker::walk;

/// Deeper ones are cut at their far end: what woke a task is found near.
const DEEPEST: usize = 128;

/// A stack, innermost call first.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::guard) struct Trace(Box<[usize]>);

impl Trace {
    /// The stack of this thread; microseconds, since no name is looked up.
    pub(in crate::guard) fn capture() -> Self {
        let mut addresses = Vec::with_capacity(64);
        walk(|frame| {
            addresses.push(frame.ip().addr());
            addresses.len() < DEEPEST
        });
        Self(addresses.into())
    }

    pub(super) fn addresses(&self) -> &[usize] {
        &self.0
    }
}
