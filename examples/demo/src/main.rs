//! Real handlers fight over real rows of a real PostgreSQL: bare diesel-async beside txsafe, and beside txsafe with a lock
//! order, in one run. Then one handler, which asks a slow service inside its transaction, and what the guard says of it.
//!
//! What to look at, in this order:
//!
//! 1. `handlers.rs`: five handlers of a small shop, whose locks collide as those of grown applications do. What they are
//!    made of is in `statements.rs`.
//! 2. `modes.rs`: the same handlers, run by diesel-async's `transaction` and by txsafe's. These few lines are the only
//!    difference between the first two rows of the table.
//! 3. `ordered.rs`, beside `handlers.rs`: the same writes, whose locks are taken in the order that `locks.rs` declares.
//!    They are the third row, where nobody can wait in a circle.
//! 4. `books.rs`: how the demo knows that nothing was lost and nothing was done twice.
//! 5. `tickets.rs`: one more handler, before and after it was mended. `guard.rs` runs it under the eyes of the guard, while
//!    somebody else wants the same row.
//!
//! The rest: `shop.rs` and `schema.sql` hold the data, `workers.rs` calls the handlers, `payments.rs` is the slow service,
//! `tally.rs` counts, `report.rs` and `guard/told.rs` say what was seen, and whether it is what was promised.

#![forbid(unsafe_code)]

mod books;
mod cli;
mod error;
mod failure;
mod guard;
mod handlers;
mod locks;
mod modes;
mod numbers;
mod ordered;
mod payments;
mod report;
mod requests;
mod screen;
mod server;
mod shop;
mod signals;
mod statements;
mod tally;
mod tickets;
mod workers;

use std::process::ExitCode;

use clap::Parser as _;

use cli::Cli;
use error::Error;
use guard::Sale;
use modes::{Kind, Mode};
use report::Run;
use screen::Screen;
use server::Server;
use shop::Shop;
use signals::until_signalled;

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    let screen = Screen::new(cli.json);
    match show(&cli, &screen).await {
        Ok(code) => code,
        Err(error) => {
            screen.error(&error);
            error.exit_code()
        }
    }
}

async fn show(cli: &Cli, screen: &Screen) -> Result<ExitCode, Error> {
    let seed = cli.seed();
    screen.note(&format!("seed {seed} (repeat it with --seed {seed})"));

    let server = until_signalled(Server::find(cli.database_url(), screen)).await?;
    let shop = Shop::new(server.url());
    until_signalled(shop.find_server()).await?;
    let seen = until_signalled(all(&shop, cli, seed, screen)).await;
    // Whatever happened: a server that is not ours is left as it was.
    let closed = if server.is_given() { shop.close().await } else { Ok(()) };
    let Seen { runs, deadlock_timeout, sales } = match (seen, closed) {
        (Ok(seen), Ok(())) => seen,
        (Ok(_), Err(error)) | (Err(error), Ok(())) => return Err(error),
        (Err(error), Err(left_behind)) => {
            screen.error(&left_behind);
            return Err(error);
        }
    };

    screen.say(&report::table(&runs));
    screen.say(&report::explain(&runs, &deadlock_timeout));
    screen.say(&format!("\n{}", guard::explain(&sales)));
    for violation in report::violations(&runs).into_iter().chain(guard::violations(&sales)) {
        screen.alarm(&violation);
    }
    if cli.json {
        screen.json(&report::json(&runs, &sales));
    }
    let is_as_promised =
        runs.iter().all(Run::is_as_promised) && sales.iter().all(Sale::is_as_promised);
    Ok(if is_as_promised { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All that the demo has to show.
struct Seen {
    runs: Vec<Run>,
    deadlock_timeout: String,
    sales: Vec<Sale>,
}

async fn all(shop: &Shop, cli: &Cli, seed: u64, screen: &Screen) -> Result<Seen, Error> {
    Ok(Seen {
        runs: all_modes(shop, cli, seed, screen).await?,
        deadlock_timeout: shop.deadlock_timeout().await?,
        sales: guard::watch(shop, screen).await?,
    })
}

/// One mode after the other, so that none steals another's processors, each over fresh and identical data.
async fn all_modes(shop: &Shop, cli: &Cli, seed: u64, screen: &Screen) -> Result<Vec<Run>, Error> {
    let mut runs = Vec::new();
    for kind in Kind::ALL {
        shop.stock().await?;
        let mode = Mode::connect(kind, shop.url()).await?;
        let tally = workers::fight(&mode, seed, cli.duration(), screen).await?;
        drop(mode);
        let books = books::check(shop, &tally.answers).await?;
        runs.push(Run { kind, tally, books });
    }
    Ok(runs)
}
