//! The suite as tests: every case, every place of the fault matrix and every kind of storm, once per driver.
//!
//! `TXSAFE_OPERATIONS` sets how many operations all storms run together (20,000 unless set), `TXSAFE_SEED` repeats the
//! dice of a run.

use libtest_mimic::{Arguments, Failed, Trial};
use std::env;
use txsafe_conformance::{
    cases::Case,
    drivers::Driver,
    matrix::Row,
    policy::Policy,
    shop::Shop,
    storm::Plan,
    traps::{self, Trap},
};
use txsafe_testkit::{At, Lab, Postgres};

fn main() {
    let mut arguments = Arguments::from_args();
    // Most of them wait most of the time: for servers, or for answers that never come.
    arguments.test_threads.get_or_insert(4);
    let with_closures = Driver::ALL.into_iter().flat_map(|driver| {
        let traps =
            Trap::ALL.map(move |trap| trial(driver, format!("trap: {trap}"), sprung(driver, trap)));
        let storms = Policy::ALL
            .map(move |policy| trial(driver, format!("storm, {policy}"), storm(driver, policy)));
        storms.into_iter().chain(faults_and_cases(driver)).chain(traps)
    });
    // `cargo xtask faults` has their storms and traps, too.
    let by_hand = Driver::BY_HAND.into_iter().flat_map(faults_and_cases);
    let trials = with_closures.chain(by_hand);
    libtest_mimic::run(&arguments, trials.collect()).exit();
}

fn faults_and_cases(driver: Driver) -> impl Iterator<Item = Trial> {
    let places = [At::Connect, At::Begin, At::Nth(1), At::Nth(2), At::Commit];
    let faults =
        places.map(move |at| trial(driver, format!("faults at {at}"), faults_at(driver, at)));
    let cases = Case::all().filter(move |case| case.is_for(driver));
    let cases = cases.map(move |case| {
        trial(driver, case.name.into(), async move {
            case.run(driver).await;
            Ok(())
        })
    });
    faults.into_iter().chain(cases)
}

/// What is said is true, whatever strikes at this place.
async fn faults_at(driver: Driver, at: At) -> Result<(), Failed> {
    let shop = Shop::open("faults").await?;
    let lab = Lab::new(&shop.url)?;
    let mut wrong = Vec::new();
    let rows = Row::all(driver).into_iter().filter(|row| row.at == at);
    for (operation, row) in rows.enumerate() {
        let played = row.play(&shop, &lab, operation as u64).await?;
        if !played.passed() {
            wrong.push(played.to_string());
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// What is said is true of whoever runs into this.
async fn sprung(driver: Driver, trap: Trap) -> Result<(), Failed> {
    let mut wrong = Vec::new();
    let rows = traps::Row::all(driver).into_iter().filter(|row| row.trap == trap);
    for (number, row) in (1..).zip(rows) {
        let sprung = row.play(number).await?;
        if !sprung.passed() {
            wrong.push(sprung.to_string());
        }
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n").into()) }
}

/// Nothing is lost, nothing is doubled.
async fn storm(driver: Driver, policy: Policy) -> Result<(), Failed> {
    let seed = from_env("TXSAFE_SEED")?.unwrap_or_else(|| fastrand::u64(..));
    let operations = from_env("TXSAFE_OPERATIONS")?.unwrap_or(20_000);
    let operations = operations.div_ceil((Driver::ALL.len() * Policy::ALL.len()) as u64);
    let is_given = env::var_os("DATABASE_URL").is_some_and(|url| !url.is_empty());
    let own = if is_given { None } else { Some(Postgres::start().await?) };
    let server = match &own {
        Some(server) => server,
        // Somebody else's server isn't crashed.
        None => Postgres::shared().await?,
    };
    let crashes = if is_given { 0 } else { 2 };
    let plan = Plan { driver, policy, operations, crashes, seed };
    let weathered = plan.weather(server).await;
    match weathered {
        Ok(weathered) if weathered.passed() && weathered.crashes == crashes => Ok(()),
        other => Err(format!("TXSAFE_SEED={seed}: {other:?}").into()),
    }
}

fn from_env(name: &str) -> Result<Option<u64>, Failed> {
    let Ok(value) = env::var(name) else { return Ok(None) };
    let parsed = value.parse().map_err(|_| format!("{name} must be a number, not {value:?}"))?;
    Ok(Some(parsed))
}

fn trial(
    driver: Driver,
    name: String,
    test: impl Future<Output = Result<(), Failed>> + Send + 'static,
) -> Trial {
    Trial::test(format!("{driver}::{name}"), move || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        runtime.block_on(test)
    })
}
