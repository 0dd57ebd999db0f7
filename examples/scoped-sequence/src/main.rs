//! Incidents that are numbered without gaps, for each organization by itself, on SQLx.
//!
//! Sixteen workers open incidents, and some fail after they got their number. Beside it stands what PostgreSQL's own
//! sequence made of the same run.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "a command line talks that way")]

use anyhow::{Result, ensure};
use fastrand::Rng;
use sqlx::{FromRow, PgPool, postgres::PgPoolOptions, query, query_as, raw_sql};
use tokio::task::JoinSet;
use txsafe_sqlx::{Database, Locked, SEQUENCES_SQL, Share, lock_order, rank, ranked};
use txsafe_testkit::Postgres;

rank!(Organization: table "organizations" key "id" as i64);
rank!(IncidentNumber: sequence "incident_number" as i64);

lock_order! {
    /// Who asks for a number keeps others of its organization waiting until COMMIT: numbers come last.
    DeskOrder: Organization => IncidentNumber
}

ranked!(OrganizationRow => Organization);

const TABLES: &str = "
    CREATE TABLE organizations (
        id      bigint PRIMARY KEY,
        name    text NOT NULL,
        is_open bool NOT NULL DEFAULT true
    );
    CREATE TABLE incidents (
        id           bigserial PRIMARY KEY,
        organization bigint NOT NULL REFERENCES organizations,
        number       bigint NOT NULL,
        UNIQUE (organization, number)
    );
    INSERT INTO organizations VALUES (1, 'mill'), (2, 'forge'), (3, 'bakery')";

const WORKERS: u64 = 16;
const EACH: usize = 25;

#[tokio::main]
async fn main() -> Result<()> {
    let schema = Postgres::shared().await?.schema("incidents").await?;
    let db = open(schema.url()).await?;
    let failed = work_all(&db).await?;
    println!(
        "{WORKERS} workers tried to open {EACH} incidents each. {failed} times the pager was down, and what was \
         written under\na number already was rolled back.\n"
    );
    show_numbers(db.pool()).await?;
    println!("\n{MORAL}");
    Ok(())
}

const MORAL: &str = "\
A scoped sequence is for numbers that people cite and count, of which none may be missing, at the price that who asks
waits for who asked before; PostgreSQL's own is for ids that need only differ, and makes nobody wait.";

async fn open(url: &str) -> Result<Database<DeskOrder>> {
    let pool = PgPoolOptions::new().max_connections(WORKERS as u32).connect_lazy(url)?;
    // A program that has migrations puts both into one.
    raw_sql(SEQUENCES_SQL).execute(&pool).await?;
    raw_sql(TABLES).execute(&pool).await?;
    Ok(Database::builder(pool).service("desk").lock_order::<DeskOrder>().build()?)
}

/// Opens an incident, unless nobody can be told of it.
async fn open_incident(db: &Database<DeskOrder>, organization: i64, pager: Pager) -> Result<i64> {
    db.transaction("open_incident", async |tx| {
        // Numbers don't need this lock: they have their own, and the foreign key keeps the row there. It is for what is
        // decided here: an organization that is open stays open until COMMIT. Who closes it waits for this `Share`, and
        // who opens other incidents doesn't.
        let mut tx = tx.at::<Organization>();
        let row: Locked<'_, OrganizationRow, Share> = tx.lock_for(organization).await?;
        ensure!(row.is_open, "organization {organization} is closed");
        // What takes time belongs here, before the number.
        let mut tx = tx.at::<IncidentNumber>();
        let number = tx.next_in_sequence(organization).await?;
        query("INSERT INTO incidents (organization, number) VALUES ($1, $2)")
            .bind(organization)
            .bind(number)
            .execute(&mut tx)
            .await?;
        // It wants the number, and so can't come before.
        pager.page(number)?;
        Ok(number)
    })
    .await
}

/// How often the pager was down.
async fn work_all(db: &Database<DeskOrder>) -> Result<i64> {
    let mut workers = JoinSet::new();
    for worker in 0..WORKERS {
        workers.spawn(work(db.clone(), Rng::with_seed(worker)));
    }
    workers.join_all().await.into_iter().sum()
}

async fn work(db: Database<DeskOrder>, mut dice: Rng) -> Result<i64> {
    let mut failed = 0;
    for _ in 0..EACH {
        let (organization, pager) = (dice.i64(1..=3), Pager { is_down: dice.u8(..4) == 0 });
        match open_incident(&db, organization, pager).await {
            Ok(_number) => {}
            Err(error) if error.is::<PagerIsDown>() => failed += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(failed)
}

async fn show_numbers(db: &PgPool) -> Result<()> {
    println!("                 count  numbers   gaps");
    for scope in query_as::<_, Numbers>(OF_ORGANIZATIONS).fetch_all(db).await? {
        scope.show();
        // No two are alike, so the numbers from 1 to n are n.
        ensure!((scope.first, scope.last) == (1, scope.count), "not without gaps: {scope:?}");
    }
    query_as::<_, Numbers>(OF_BIGSERIAL).fetch_one(db).await?.show();
    Ok(())
}

const OF_ORGANIZATIONS: &str = "
    SELECT name, count(*) AS count, min(number) AS first, max(number) AS last
    FROM incidents JOIN organizations ON organizations.id = organization
    GROUP BY organizations.id ORDER BY organizations.id";

const OF_BIGSERIAL: &str = "
    SELECT 'incidents.id' AS name, count(*) AS count, 1::bigint AS first,
        (SELECT last_value FROM incidents_id_seq) AS last
    FROM incidents";

/// Numbers that were given out, and how many of them are in the table.
#[derive(Debug, FromRow)]
struct Numbers {
    name: String,
    count: i64,
    first: i64,
    last: i64,
}

impl Numbers {
    fn show(&self) {
        let Self { name, count, first, last } = self;
        let numbers = format!("{first}..{last}");
        println!("  {name:<14}{count:>6}{numbers:>9}{:>7}", last - first + 1 - count);
    }
}

#[derive(Debug, FromRow)]
struct OrganizationRow {
    is_open: bool,
}

/// What tells those on duty of an incident.
#[derive(Debug, Clone, Copy)]
struct Pager {
    is_down: bool,
}

impl Pager {
    fn page(self, incident: i64) -> Result<(), PagerIsDown> {
        if self.is_down { Err(PagerIsDown { incident }) } else { Ok(()) }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the pager is down, and nobody is told of incident {incident}")]
struct PagerIsDown {
    incident: i64,
}
