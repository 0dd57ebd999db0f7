//! The figures: their names, what they compare, their bounds, their values.

/// One figure.
#[derive(Debug)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    pub(crate) bound: Bound,
    pub(crate) compares: &'static str,
}

/// What a value is held against.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Bound {
    AtMost(f64),
    AtLeast(f64),
    Exactly(f64),
    /// Only told.
    None,
}

/// All figures, in the order of the table.
pub(crate) const FIGURES: [Figure; 38] = [
    Figure {
        name: "round_trips_extra",
        bound: Bound::Exactly(-1.0),
        compares: "answers waited for in a guarded transaction, minus those in a bare one",
    },
    Figure {
        name: "round_trips_extra_diesel",
        bound: Bound::Exactly(0.0),
        compares: "the same on Diesel's blocking connections",
    },
    Figure {
        name: "round_trips_extra_sqlx",
        bound: Bound::Exactly(0.0),
        compares: "the same on SQLx",
    },
    Figure {
        name: "round_trips_behind_sqlx",
        bound: Bound::Exactly(1.0),
        compares: "answers that SQLx's connection waits for behind the caller's, guarded minus bare",
    },
    Figure {
        name: "wall_vs_bare",
        bound: Bound::AtMost(1.10),
        compares: "time of a guarded transaction / of a bare one without timeouts, local, no disk",
    },
    Figure {
        name: "wall_vs_bare_diesel",
        bound: Bound::AtMost(1.10),
        compares: "the same on Diesel's blocking connections, over TCP, with the server's own defaults",
    },
    Figure {
        name: "wall_vs_bare_sqlx",
        bound: Bound::AtMost(1.10),
        compares: "the same on SQLx, over TCP, with the server's own defaults",
    },
    Figure {
        name: "wall_vs_bare_diesel_unsynced",
        bound: Bound::None,
        compares: "the same on Diesel's blocking connections, local, no disk",
    },
    Figure {
        name: "wall_vs_bare_sqlx_unsynced",
        bound: Bound::None,
        compares: "the same on SQLx, local, no disk",
    },
    Figure {
        name: "wall_vs_bare_durable",
        bound: Bound::None,
        compares: "the same on diesel-async where COMMIT waits for the disk",
    },
    Figure {
        name: "wall_vs_bare_1ms",
        bound: Bound::AtMost(0.85),
        compares: "time of a guarded transaction / of a bare one without timeouts, server 1 ms away",
    },
    Figure {
        name: "wall_vs_set_local",
        bound: Bound::AtMost(0.70),
        compares: "time of a guarded transaction / of a bare one that sets the same four settings",
    },
    Figure {
        name: "wall_vs_set_local_durable",
        bound: Bound::None,
        compares: "the same where COMMIT waits for the disk",
    },
    Figure {
        name: "wall_vs_set_local_1ms",
        bound: Bound::None,
        compares: "the same with a server 1 ms away",
    },
    Figure {
        name: "hot_row_vs_bare",
        bound: Bound::AtLeast(0.95),
        compares: "throughput of 16 workers on one row, guarded / bare",
    },
    Figure {
        name: "hot_row_runs_per_commit",
        bound: Bound::AtMost(1.5),
        compares: "runs of the closure for each commit of these workers",
    },
    Figure {
        name: "storm_vs_naive_retry",
        bound: Bound::AtLeast(10.0),
        compares: "throughput under deadlocks, guarded / bare and retried at once",
    },
    Figure {
        name: "storm_vs_sorted",
        bound: Bound::AtLeast(0.5),
        compares: "throughput, guarded in random order / bare with rows in one order",
    },
    Figure {
        name: "ordered_vs_bare",
        bound: Bound::AtLeast(30.0),
        compares: "throughput under deadlocks: rows locked in a declared order / bare, retried at once",
    },
    Figure {
        name: "ordered_vs_bare_sorted",
        bound: Bound::AtLeast(0.9),
        compares: "rows locked in a declared order / bare with rows sorted by hand",
    },
    Figure {
        name: "ordered_failed_to_caller",
        bound: Bound::Exactly(0.0),
        compares: "transactions in a declared order that failed",
    },
    Figure {
        name: "lock_many_vs_query",
        bound: Bound::AtMost(1.10),
        compares: "time of a transaction that locks 100 rows: through types / by the query one would write",
    },
    Figure {
        name: "lock_many_round_trips",
        bound: Bound::Exactly(1.0),
        compares: "round trips of locking 100 rows",
    },
    Figure {
        name: "graph_acquisition_ns",
        bound: Bound::AtMost(30.0),
        compares: "time in ns that the lock graph takes for one lock of a transaction with eight",
    },
    Figure {
        name: "graph_new_edge_us",
        bound: Bound::AtMost(20.0),
        compares: "time in µs that the lock graph takes for an edge it didn't know, with 5,000 that it does",
    },
    Figure {
        name: "guard_poll_ns",
        bound: Bound::AtMost(10.0),
        compares: "time in ns that the guard adds to a poll of a transaction, in production",
    },
    Figure {
        name: "guard_poll_staging_ns",
        bound: Bound::AtMost(500.0),
        compares: "the same in staging, where what is waited for is accounted",
    },
    Figure {
        name: "guard_transaction_ns",
        bound: Bound::AtMost(200.0),
        compares: "time in ns that the guard adds to a transaction of one poll, in production",
    },
    Figure {
        name: "in_transaction_ns",
        bound: Bound::AtMost(3.0),
        compares: "time in ns of a look at `in_transaction()`, in a transaction",
    },
    Figure {
        name: "holders_vs_bare",
        bound: Bound::AtMost(0.01),
        compares: "time to note who holds a connection, two threads at once / time of a bare transaction, local, no disk",
    },
    Figure {
        name: "guard_database_time_off",
        bound: Bound::AtMost(0.02),
        compares: "how far the database time that the guard accounts is from stopwatches around statements, worst driver",
    },
    Figure {
        name: "outbox_write_vs_insert",
        bound: Bound::None,
        compares: "time of a guarded transaction: with a message for the outbox / with a plain INSERT",
    },
    Figure {
        name: "outbox_delivery_vs_loop",
        bound: Bound::None,
        compares: "messages delivered per second: by a worker / by a loop over SKIP LOCKED, eight in a transaction",
    },
    Figure {
        name: "test_database_wait_ms",
        bound: Bound::AtMost(10.0),
        compares: "ms that a test waits for a database of its own (p50), 20 tables, without fsync, in one process",
    },
    Figure {
        name: "test_database_wait_process_ms",
        bound: Bound::AtMost(10.0),
        compares: "the same where each test has a process",
    },
    Figure {
        name: "storm_failed_to_caller",
        bound: Bound::Exactly(0.0),
        compares: "guarded transactions that failed under deadlocks",
    },
    Figure {
        name: "allocations_per_transaction",
        bound: Bound::None,
        compares: "allocations of a guarded transaction, minus those of a bare one",
    },
    Figure {
        name: "cpu_us_per_transaction_extra",
        bound: Bound::None,
        compares: "processor time of a guarded transaction in µs, minus that of a bare one",
    },
];

impl Figure {
    /// Whether `value` keeps the bound.
    pub(crate) fn is_met(&self, value: &Value) -> bool {
        match self.bound {
            Bound::AtMost(bound) => value.median <= bound,
            Bound::AtLeast(bound) => value.median >= bound,
            Bound::Exactly(bound) => value.median == bound,
            Bound::None => true,
        }
    }
}

/// The value of a figure.
#[derive(Debug)]
pub(crate) struct Value {
    pub(crate) name: &'static str,
    /// The median of the rounds.
    pub(crate) median: f64,
    /// The lowest and the highest round.
    pub(crate) range: (f64, f64),
}

impl Value {
    /// From the values of each round.
    pub(crate) fn of_rounds(name: &'static str, rounds: &[f64]) -> Self {
        let range = rounds.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(*value), high.max(*value))
        });
        Self { name, median: median(rounds.iter().copied()), range }
    }

    /// A value that was counted, not measured in rounds.
    pub(crate) fn counted(name: &'static str, value: f64) -> Self {
        Self { name, median: value, range: (value, value) }
    }
}

/// What measurements found.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) values: Vec<Value>,
    /// Absolute numbers behind the ratios, for the curious: they hold for this machine and this hour only.
    pub(crate) notes: Vec<String>,
}

impl Findings {
    /// The value of this figure, if it was measured.
    pub(crate) fn of(&self, figure: &Figure) -> Option<&Value> {
        self.values.iter().find(|value| value.name == figure.name)
    }

    /// Adds what another measurement found.
    pub(crate) fn extend(&mut self, other: Self) {
        self.values.extend(other.values);
        self.notes.extend(other.notes);
    }
}

/// The median; not a number if there are no values.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    match values.as_slice() {
        [] => f64::NAN,
        sorted if sorted.len() % 2 == 1 => sorted[sorted.len() / 2],
        sorted => f64::midpoint(sorted[sorted.len() / 2 - 1], sorted[sorted.len() / 2]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        assert_eq!(median([3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), 2.5);
        assert!(median([]).is_nan());
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = FIGURES.iter().map(|figure| figure.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FIGURES.len());
    }

    #[test]
    fn what_is_not_a_number_meets_no_bound() {
        let nothing = Value::of_rounds("wall_vs_bare", &[]);
        let bounded = FIGURES.iter().filter(|figure| !matches!(figure.bound, Bound::None));
        assert!(bounded.into_iter().all(|figure| !figure.is_met(&nothing)));
    }
}
