//! The time of one transaction, uncontended.

use crate::{
    Result,
    duel::duel,
    figure::Findings,
    ground::Ground,
    plan::Plan,
    relay::Relay,
    work::{
        diesel_async::{bare_pool, guarded, run_bare, run_guarded, run_set_local},
        runtime,
    },
};
use std::time::Duration;

/// The distance of the distant server.
const AWAY: Duration = Duration::from_millis(1);

/// Against diesel-async's own transaction, over a Unix socket, where COMMIT doesn't wait for the disk: what a disk takes
/// is the same for all, and would hide what they differ in.
pub(crate) fn bare(ground: &Ground, plan: &Plan) -> Result<Findings> {
    against_bare("wall_vs_bare", plan, &ground.socket_unsynced())
}

/// Against SQLx's own transaction, as a service meets its server: over TCP, and COMMIT waits for the disk.
pub(crate) fn sqlx(ground: &Ground, plan: &Plan) -> Result<Findings> {
    against_sqlx("wall_vs_bare_sqlx", plan, &ground.tcp())
}

/// Against Diesel's own blocking transaction, in the same way.
pub(crate) fn diesel(ground: &Ground, plan: &Plan) -> Result<Findings> {
    against_diesel("wall_vs_bare_diesel", plan, &ground.tcp())
}

/// Against SQLx's where nothing hides the settings: over a Unix socket, without waiting for the disk.
pub(crate) fn sqlx_unsynced(ground: &Ground, plan: &Plan) -> Result<Findings> {
    against_sqlx("wall_vs_bare_sqlx_unsynced", plan, &ground.socket_unsynced())
}

/// Against Diesel's in the same way.
pub(crate) fn diesel_unsynced(ground: &Ground, plan: &Plan) -> Result<Findings> {
    against_diesel("wall_vs_bare_diesel_unsynced", plan, &ground.socket_unsynced())
}

/// The same on diesel-async where it does.
pub(crate) fn durable(ground: &Ground, plan: &Plan) -> Result<Findings> {
    against_bare("wall_vs_bare_durable", plan, &ground.socket())
}

/// The same with a server that is 1 ms away.
pub(crate) fn distant(ground: &Ground, plan: &Plan) -> Result<Findings> {
    let relay = Relay::start(ground.address()?, AWAY)?;
    against_bare("wall_vs_bare_1ms", plan, &ground.through(relay.port()))
}

/// Against a transaction that makes the same settings one by one, over a Unix socket, without waiting for the disk.
pub(crate) fn set_local(ground: &Ground, plan: &Plan) -> Result<Findings> {
    against_set_local("wall_vs_set_local", plan, &ground.socket_unsynced())
}

/// The same with waiting for it.
pub(crate) fn durable_set_local(ground: &Ground, plan: &Plan) -> Result<Findings> {
    against_set_local("wall_vs_set_local_durable", plan, &ground.socket())
}

/// The same with a server that is 1 ms away.
pub(crate) fn distant_set_local(ground: &Ground, plan: &Plan) -> Result<Findings> {
    let relay = Relay::start(ground.address()?, AWAY)?;
    against_set_local("wall_vs_set_local_1ms", plan, &ground.through(relay.port()))
}

fn against_bare(name: &'static str, plan: &Plan, url: &str) -> Result<Findings> {
    let (db, pool) = (guarded(url, 1)?, bare_pool(url, 1)?);
    let ours = async || run_guarded(&db, &[1]).await;
    let theirs = async || run_bare(&pool, &[1]).await;
    runtime()?.block_on(duel(name, plan, ours, theirs))
}

fn against_set_local(name: &'static str, plan: &Plan, url: &str) -> Result<Findings> {
    let (db, pool) = (guarded(url, 1)?, bare_pool(url, 1)?);
    let ours = async || run_guarded(&db, &[1]).await;
    let theirs = async || run_set_local(&pool, 1).await;
    runtime()?.block_on(duel(name, plan, ours, theirs))
}

fn against_sqlx(name: &'static str, plan: &Plan, url: &str) -> Result<Findings> {
    use crate::work::sqlx::{on_one_connection, run_bare, run_guarded};
    runtime()?.block_on(async {
        let (db, pool) = on_one_connection(url)?;
        let ours = async || run_guarded(&db).await;
        let theirs = async || run_bare(&pool).await;
        duel(name, plan, ours, theirs).await
    })
}

fn against_diesel(name: &'static str, plan: &Plan, url: &str) -> Result<Findings> {
    use crate::work::diesel::{on_one_connection, run_bare, run_guarded};
    let (db, pool) = on_one_connection(url)?;
    let (ours, theirs) = (async || run_guarded(&db), async || run_bare(&pool));
    runtime()?.block_on(duel(name, plan, ours, theirs))
}
