//! deadpool-diesel: deadpool's hooks, which it keeps all.

use super::{House, Log, over_r2d2::whose};
use deadpool_diesel::{
    Error as ManagerError, Runtime,
    postgres::{Hook, HookError, Manager, Pool},
};
use diesel::connection::SimpleConnection;
use tokio::runtime::Handle;
use txsafe_diesel::{
    Error, NoOrder,
    blocking::{Database, watched},
};

fn noting(log: &Log, what: &'static str) -> Hook {
    let log = log.clone();
    Hook::sync_fn(move |_, _| {
        log.note(what);
        Ok(())
    })
}

fn moving_in(house: &House) -> Hook {
    let move_in = house.move_in();
    Hook::async_fn(move |conn, _| {
        let move_in = move_in.clone();
        Box::pin(async move {
            let moved = conn.interact(move |conn| conn.batch_execute(&move_in)).await;
            let moved = moved.map_err(|error| HookError::message(error.to_string()))?;
            moved.map_err(|error| HookError::Backend(ManagerError::Ping(error)))
        })
    })
}

#[tokio::test]
async fn hooks_of_a_kind_run_in_the_order_in_which_they_were_added() {
    let (house, log) = (House::build().await, Log::default());
    let manager = Manager::new(house.url(), Runtime::Tokio1);
    let before = Pool::builder(manager)
        .max_size(2)
        .post_create(moving_in(&house))
        .post_create(noting(&log, "created, before"))
        .pre_recycle(noting(&log, "to be recycled, before"));
    let pool = watched(before)
        .post_create(noting(&log, "created, behind"))
        .pre_recycle(noting(&log, "to be recycled, behind"))
        .post_recycle(noting(&log, "recycled"))
        .build()
        .unwrap();
    let runtime = Handle::current();
    for (first, second) in [
        (
            &["created, before", "created, behind"][..],
            &["created, before", "TXS005", "created, behind"][..],
        ),
        (
            &["to be recycled, before", "to be recycled, behind", "recycled"],
            &["to be recycled, before", "TXS005", "to be recycled, behind", "recycled"],
        ),
    ] {
        let db = Database::builder(pool.clone()).guard(log.guard()).build().unwrap();
        let db: Database<NoOrder, Pool> = db;
        let (log, pool, runtime) = (log.clone(), pool.clone(), runtime.clone());
        let reported = db.interact("report", move |mut tx| {
            let first = log.take();
            drop(runtime.block_on(pool.get()).unwrap());
            Ok::<_, Error>((whose(&mut tx).unwrap(), first, log.take()))
        });
        let (read, at_first, at_second) = reported.await.unwrap();
        assert_eq!(read, "tenant");
        assert_eq!([at_first, at_second], [first, second]);
    }
}
