//! `cargo xtask faults`: the matrix, the cases and the storms, printed.

#![forbid(unsafe_code)]
#![expect(clippy::print_stderr, clippy::print_stdout, reason = "a command line talks that way")]

use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::{env, panic, process::ExitCode};
use txsafe_conformance::{
    cases::Case,
    cli::Cli,
    drivers::Driver,
    matrix::Row,
    policy::{Policy, Tally},
    report::{self, Sum},
    shop::Shop,
    storm::Plan,
    traps,
};
use txsafe_testkit::{Lab, Postgres};

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> anyhow::Result<ExitCode> {
    let mut cli = Cli::parse();
    if cli.drivers.is_empty() {
        cli.drivers = [Driver::ALL, Driver::BY_HAND].concat();
    }
    let server = Postgres::shared().await?;
    if env::var_os("DATABASE_URL").is_some_and(|url| !url.is_empty()) {
        note(&cli, "the server is given by DATABASE_URL, so it isn't crashed");
        cli.crashes = 0;
    }
    let mut sum = Sum::default();
    if !cli.storms {
        play_matrix(&cli, server, &mut sum).await?;
        play_traps(&cli, &mut sum).await?;
        play_cases(&cli, &mut sum).await?;
    }
    weather_storms(&cli, server, &mut sum).await?;
    if cli.json {
        line(&sum)?;
    } else {
        println!("{} of {} rows passed, {} operations", sum.passed, sum.rows, sum.operations);
    }
    Ok(if sum.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn play_matrix(cli: &Cli, server: &Postgres, sum: &mut Sum) -> anyhow::Result<()> {
    let shop = Shop::on(server, "faults").await?;
    let lab = Lab::new(&shop.url)?;
    let rows: Vec<Row> = cli.drivers.iter().flat_map(|driver| Row::all(*driver)).collect();
    let bar = bar(cli, "faults", rows.len() as u64);
    let mut played = Vec::new();
    for (operation, row) in rows.into_iter().enumerate() {
        bar.set_message(row.to_string());
        let row = row.play(&shop, &lab, operation as u64).await?;
        let mut tally = Tally::default();
        tally.count(row.end, row.entries);
        sum.tally(&tally);
        sum.row(row.passed());
        if cli.json {
            line(&serde_json::json!({ "row": row.row.to_string(), "passed": row.passed() }))?;
        }
        played.push(row);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if !cli.json {
        println!("{}", report::matrix(&cli.drivers, &played));
    }
    Ok(())
}

async fn play_traps(cli: &Cli, sum: &mut Sum) -> anyhow::Result<()> {
    let rows: Vec<_> = cli.drivers.iter().flat_map(|driver| traps::Row::all(*driver)).collect();
    let bar = bar(cli, "traps", rows.len() as u64);
    let mut played = Vec::new();
    for (operation, row) in (1..).zip(rows) {
        bar.set_message(row.to_string());
        let sprung = row.play(operation).await?;
        let mut tally = Tally::default();
        tally.count(sprung.end, sprung.entries);
        sum.tally(&tally);
        sum.row(sprung.passed());
        if cli.json {
            let (row, passed) = (row.to_string(), sprung.passed());
            line(&serde_json::json!({ "row": row, "passed": passed }))?;
        }
        played.push(sprung);
        bar.inc(1);
    }
    bar.finish_and_clear();
    if !cli.json {
        println!("{}", report::traps(&cli.drivers, &played));
    }
    Ok(())
}

async fn play_cases(cli: &Cli, sum: &mut Sum) -> anyhow::Result<()> {
    let all = cli.drivers.iter().flat_map(|driver| Case::all().map(move |case| (*driver, case)));
    let all: Vec<_> = all.filter(|(driver, case)| case.is_for(*driver)).collect();
    let bar = bar(cli, "promises", all.len() as u64);
    let mut results = Vec::new();
    // What a case panics with is in its result.
    panic::set_hook(Box::new(|_| {}));
    for (driver, case) in all {
        bar.set_message(format!("{driver}: {}", case.name));
        // A case that fails panics, on a task of its own.
        let result = tokio::spawn(case.run(driver)).await.map_err(|error| error.to_string());
        sum.row(result.is_ok());
        if cli.json {
            let (row, passed) = (format!("{driver}: {}", case.name), result.is_ok());
            line(&serde_json::json!({ "row": row, "passed": passed }))?;
        }
        results.push((driver, case, result));
        bar.inc(1);
    }
    drop(panic::take_hook());
    bar.finish_and_clear();
    if !cli.json {
        println!("{}", report::cases(&cli.drivers, &results));
    }
    Ok(())
}

async fn weather_storms(cli: &Cli, server: &Postgres, sum: &mut Sum) -> anyhow::Result<()> {
    let seed = cli.seed.unwrap_or_else(|| fastrand::u64(..));
    note(cli, &format!("storms with --seed {seed}"));
    let number = (cli.drivers.len() * Policy::ALL.len()) as u64;
    let operations = cli.operations.div_ceil(number);
    let bar = bar(cli, "operations", operations * number);
    let mut weathered = Vec::new();
    for driver in cli.drivers.iter().copied() {
        for policy in Policy::ALL {
            bar.set_message(format!("{driver}, {policy}"));
            let plan = Plan { driver, policy, operations, crashes: cli.crashes, seed };
            let storm = plan.weather(server).await?;
            sum.tally(&storm.tally);
            sum.row(storm.passed());
            if cli.json {
                line(&storm)?;
            }
            weathered.push(storm);
            bar.inc(operations);
        }
    }
    bar.finish_and_clear();
    if !cli.json {
        println!("{}", report::storms(&weathered));
    }
    Ok(())
}

/// Progress for people who watch; for others it is silent.
fn bar(cli: &Cli, what: &'static str, length: u64) -> ProgressBar {
    if cli.json {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{prefix} {pos}/{len} {wide_msg}");
    ProgressBar::new(length)
        .with_prefix(what)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

/// Beside the results: not in the way of who reads lines of JSON.
fn note(cli: &Cli, text: &str) {
    if cli.json {
        eprintln!("{text}");
    } else {
        println!("{text}");
    }
}

fn line(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}
