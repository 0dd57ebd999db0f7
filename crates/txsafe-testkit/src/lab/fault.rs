//! What goes wrong, and where.

use std::{fmt, time::Duration};

/// Where a fault strikes.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum At {
    /// When a connection is made, before the server has answered.
    Connect,
    /// BEGIN, or START TRANSACTION.
    Begin,
    /// The n-th statement after BEGIN, counted from 1, in whichever transaction gets that far first. Preparing a
    /// statement doesn't count, nor do COMMIT, ROLLBACK, and whatever runs outside a transaction.
    Nth(u32),
    /// COMMIT, or END.
    Commit,
}

/// What goes wrong.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The connection breaks; the server never sees the unit.
    CutBefore,
    /// The connection breaks right behind the unit: the server may or may not finish it.
    CutRacing,
    /// The server has done the unit and answered; the connection breaks, and nobody gets the answer.
    CutAfterApplied,
    /// The server gets the unit, and no answer ever arrives from then on; the connection stays.
    Blackhole,
    /// The unit arrives so much later.
    Delay(Duration),
    /// The server raises this SQLSTATE in place of the unit, in its own words, so that its transaction is really aborted,
    /// and, at COMMIT, really rolled back. At [`At::Connect`] it is the same as [`Fatal`](Self::Fatal).
    Raise(&'static str),
    /// A FATAL error with this SQLSTATE, and the end of the connection; the server never sees the unit.
    Fatal(&'static str),
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect => f.write_str("connect"),
            Self::Begin => f.write_str("begin"),
            Self::Nth(n) => write!(f, "statement {n}"),
            Self::Commit => f.write_str("commit"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CutBefore => f.write_str("cut before"),
            Self::CutRacing => f.write_str("cut racing"),
            Self::CutAfterApplied => f.write_str("cut after applied"),
            Self::Blackhole => f.write_str("black hole"),
            Self::Delay(delay) => write!(f, "delay {delay:?}"),
            Self::Raise(code) => write!(f, "raise {code}"),
            Self::Fatal(code) => write!(f, "fatal {code}"),
        }
    }
}
