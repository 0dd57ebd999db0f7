//! How long everything takes, and in how many turns.

use crate::args::Args;
use std::time::Duration;

/// Rounds in which the variants take turns.
const ROUNDS: u32 = 5;

/// Longer than PostgreSQL's default `deadlock_timeout`: what happens before the first deadlocks are found is not what
/// a service under load sees.
const RUN_IN: Duration = Duration::from_millis(1_500);

/// How long everything takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    /// Rounds in which the variants take turns.
    pub(crate) rounds: u32,
    /// The measured part of one variant's turn.
    pub(crate) turn: Duration,
    /// What goes before it under concurrent load.
    pub(crate) run_in: Duration,
}

impl Plan {
    /// The same time in many more and shorter turns, for variants that soon run evenly: what disturbs the machine for a
    /// second then disturbs all of them.
    pub(crate) fn finer(self) -> Self {
        const PARTS: u32 = 8;
        let turn = self.turn / PARTS;
        Self { rounds: self.rounds * PARTS, turn, run_in: turn / 4 }
    }

    /// As the command line asks for it.
    pub(crate) fn of(args: &Args) -> Self {
        if args.quick {
            let turn = Duration::from_millis(200);
            return Self { rounds: 1, turn, run_in: turn };
        }
        let turn = Duration::from_secs_f64(args.seconds) / ROUNDS;
        Self { rounds: ROUNDS, turn, run_in: RUN_IN }
    }
}
