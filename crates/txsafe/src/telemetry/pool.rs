//! How full a pool is.

/// How full a pool is, at one moment: read without taking a connection, and old as soon as it is read.
///
/// # Examples
/// ```
/// use txsafe::PoolState;
///
/// // Eight connections, all of them in use, and three tasks that wait for one.
/// let state = PoolState::new(8, 8, 0, Some(3));
/// assert_eq!(state.in_use(), 8);
/// assert!(state.is_exhausted());
///
/// // All are in use, too, but the pool may open five more.
/// assert!(!PoolState::new(3, 8, 0, None).is_exhausted());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct PoolState {
    /// Connections that there are, in use or idle. SQLx counts those that are being opened as well.
    pub size: usize,
    /// The most that there may be.
    pub max_size: usize,
    /// Connections that nobody has taken.
    pub idle: usize,
    /// How many callers wait for a connection: for one that comes free, or for one that is being opened. `None` where the pool
    /// doesn't say: only deadpool does.
    pub waiting: Option<usize>,
}

impl PoolState {
    /// What an adapter read from its pool.
    #[must_use]
    pub const fn new(size: usize, max_size: usize, idle: usize, waiting: Option<usize>) -> Self {
        Self { size, max_size, idle, waiting }
    }

    /// Connections that somebody has taken.
    #[must_use]
    pub const fn in_use(&self) -> usize {
        // Pools read the two numbers one after the other.
        self.size.saturating_sub(self.idle)
    }

    /// Whether the next one to come has to wait until somebody gives a connection back: none is idle, and the pool opens
    /// no more.
    #[must_use]
    pub const fn is_exhausted(&self) -> bool {
        self.size >= self.max_size && self.idle == 0
    }
}
