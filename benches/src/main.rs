//! What txsafe costs and gains, as ratios measured side by side in one run.
//!
//! Every figure compares variants that take turns within seconds of each other on one server, so that a slow or busy
//! machine slows all of them. Figures of different runs are never compared.
//!
//! `cargo xtask bench --help` tells the options.

#![forbid(unsafe_code)]

mod args;
mod duel;
mod figure;
mod graph;
mod ground;
mod guard;
mod holders;
mod hot_row;
mod load;
mod locks;
mod outbox;
mod overhead;
mod plan;
mod print;
mod relay;
mod round_trips;
mod storm;
mod test_databases;
mod wall;
mod work;

use args::Args;
use clap::Parser;
use figure::{FIGURES, Findings};
use ground::Ground;
use plan::Plan;
use std::process::ExitCode;

/// Whatever stops a measurement; it ends the run.
type Error = Box<dyn std::error::Error + Send + Sync>;
/// The result of a measurement.
type Result<T> = std::result::Result<T, Error>;

/// A measurement: it brings values for some of the figures.
type Measure = fn(&Ground, &Plan) -> Result<Findings>;

/// The measurements, and the figures that each of them brings.
const MEASUREMENTS: [(Measure, &[&str]); 30] = [
    (round_trips::diesel_async, &["round_trips_extra"]),
    (round_trips::diesel, &["round_trips_extra_diesel"]),
    (round_trips::sqlx, &["round_trips_extra_sqlx", "round_trips_behind_sqlx"]),
    (wall::bare, &["wall_vs_bare"]),
    (wall::diesel, &["wall_vs_bare_diesel"]),
    (wall::sqlx, &["wall_vs_bare_sqlx"]),
    (wall::diesel_unsynced, &["wall_vs_bare_diesel_unsynced"]),
    (wall::sqlx_unsynced, &["wall_vs_bare_sqlx_unsynced"]),
    (wall::durable, &["wall_vs_bare_durable"]),
    (wall::distant, &["wall_vs_bare_1ms"]),
    (wall::set_local, &["wall_vs_set_local"]),
    (wall::durable_set_local, &["wall_vs_set_local_durable"]),
    (wall::distant_set_local, &["wall_vs_set_local_1ms"]),
    (overhead::measure, &["allocations_per_transaction", "cpu_us_per_transaction_extra"]),
    (hot_row::measure, &["hot_row_vs_bare", "hot_row_runs_per_commit"]),
    (storm::measure, &STORM),
    (locks::many, &["lock_many_vs_query"]),
    (locks::round_trips, &["lock_many_round_trips"]),
    (graph::acquisition, &["graph_acquisition_ns"]),
    (graph::new_edge, &["graph_new_edge_us"]),
    (guard::poll, &["guard_poll_ns"]),
    (guard::poll_staging, &["guard_poll_staging_ns"]),
    (guard::transaction, &["guard_transaction_ns"]),
    (guard::look, &["in_transaction_ns"]),
    (holders::vs_bare, &["holders_vs_bare"]),
    (guard::database_time, &["guard_database_time_off"]),
    (outbox::written, &["outbox_write_vs_insert"]),
    (outbox::delivered, &["outbox_delivery_vs_loop"]),
    (test_databases::in_one_process, &["test_database_wait_ms"]),
    (test_databases::in_processes, &["test_database_wait_process_ms"]),
];

/// The figures of the storm, whose variants take turns.
const STORM: [&str; 6] = [
    "storm_vs_naive_retry",
    "storm_vs_sorted",
    "ordered_vs_bare",
    "ordered_vs_bare_sorted",
    "ordered_failed_to_caller",
    "storm_failed_to_caller",
];

fn main() -> ExitCode {
    match test_databases::is_one_test() {
        Ok(false) => measure(),
        Ok(true) => ExitCode::SUCCESS,
        Err(error) => {
            print::error(&*error);
            ExitCode::FAILURE
        }
    }
}

fn measure() -> ExitCode {
    let args = Args::parse();
    match run(&args) {
        Ok(all_met) if all_met || !args.check => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            print::error(&*error);
            ExitCode::FAILURE
        }
    }
}

/// Measures and prints; tells whether all bounds were met.
fn run(args: &Args) -> Result<bool> {
    let ground = Ground::prepare()?;
    let plan = Plan::of(args);
    let mut findings = Findings::default();
    for (measure, names) in MEASUREMENTS {
        if names.iter().any(|name| args.wants(name)) {
            print::measuring(names);
            findings.extend(measure(&ground, &plan)?);
        }
    }
    findings.values.retain(|value| args.wants(value.name));
    print::table(&findings);
    if args.json {
        print::json(&findings)?;
    }
    Ok(FIGURES.iter().all(|figure| findings.of(figure).is_none_or(|value| figure.is_met(value))))
}
