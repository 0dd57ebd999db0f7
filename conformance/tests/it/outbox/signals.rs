//! Writers say again and again that something has changed, under one key and at random moments, and workers look at it. They
//! fail, and are killed. Whatever happens, the last look sees the last change.

use super::{
    driver::{Delivering, DieselAsync, DieselBlocking, Driver, Interact, Settings, Sqlx, sync},
    post::Post,
};
use fastrand::Rng;
use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    spawn,
    task::{JoinHandle, yield_now},
};
use txsafe_conformance::{
    drivers::{Call, Database},
    error::AppError,
    script::{Script, Step},
};
use txsafe_diesel::Message;

const WRITERS: usize = 3;

/// Of each writer.
const CHANGES: usize = 25;

/// What a claim leases whose worker was dropped meanwhile waits for that long. A busy machine doesn't keep a worker for longer
/// from renewing it.
const LEASE: Duration = Duration::from_secs(3);

/// In which order a writer changes the state and says so. One that says it first has the message locked while it waits for the
/// state.
#[derive(Debug, Clone, Copy)]
enum Order {
    ChangesFirst,
    SaysFirst,
}

/// A look at the state: what a delivery saw, and what its message said.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    state: String,
    payload: String,
}

macro_rules! each {
    ($($module:ident: $driver:ident),* $(,)?) => {
        $(mod $module {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn the_last_look_sees_the_last_change() {
                for order in [Order::ChangesFirst, Order::SaysFirst] {
                    // The dice are the same again with the same seed; who is quicker isn't.
                    let seed = fastrand::u64(..);
                    println!("seed {seed}, {order:?}");
                    signals::<$driver>(order, Rng::with_seed(seed)).await;
                }
            }
        })*
    };
}

each!(diesel_async: DieselAsync, sqlx: Sqlx, interact: Interact, diesel_blocking: DieselBlocking);

async fn signals<D: Driver>(order: Order, mut dice: Rng) {
    let post = Arc::new(Post::open("signals").await);
    post.execute("CREATE TABLE things (state text); INSERT INTO things VALUES ('none')").await;
    let db = D::open(&post);
    let mut writers: Vec<_> =
        (0..WRITERS).map(|n| spawn(write(db.clone(), order, n, dice.fork()))).collect();
    let looks = Arc::new(Mutex::new(Vec::new()));
    let is_calm = Arc::new(AtomicBool::new(false));
    let settings = Settings { lease: LEASE, ..Settings::default() };
    let handler = look(&post, &looks, &is_calm, dice.fork());
    while !writers.iter().all(JoinHandle::is_finished) {
        let (more, yields) = (dice.usize(..8), dice.usize(..200));
        let dies = async {
            let enough = looks.lock().unwrap().len() + more;
            while looks.lock().unwrap().len() < enough
                && !writers.iter().all(JoinHandle::is_finished)
            {
                yield_now().await;
            }
            wait(yields).await;
        };
        D::deliver_and_die(&post, &db, settings, &handler, dies).await;
        // The next one needn't wait for the leases of the dead.
        post.make_all_due().await;
    }
    for writer in &mut writers {
        writer.await.unwrap();
    }
    is_calm.store(true, Ordering::Relaxed);
    D::deliver(&db, settings, &handler, post.until_empty("sync")).await;
    let state = post.state().await;
    let looks = looks.lock().unwrap();
    assert_eq!(looks.last(), Some(&Look { payload: state.clone(), state }));
}

/// Changes the state and says so, each in one transaction; some are rolled back.
async fn write(db: impl Database, order: Order, writer: usize, mut dice: Rng) {
    for change in 0..CHANGES {
        let state = format!("{writer}.{change}");
        let set = Step::sql(format!("UPDATE things SET state = '{state}'"));
        let say = Step::Outbox(sync(&state));
        let [one, two] = match order {
            Order::ChangesFirst => [set, say],
            Order::SaysFirst => [say, set],
        };
        let mut steps = vec![waits(&mut dice), one, waits(&mut dice), two, waits(&mut dice)];
        let fails = dice.u8(..5) == 0;
        if fails {
            steps.push(Step::Fail("no"));
        }
        match db.run(Call::new("change"), Script::new(steps)).await {
            Err(AppError::Own(_)) if fails => {}
            result => drop(result.unwrap()),
        }
    }
}

/// Looks at the state, fails at times, and is slow at times.
fn look(
    post: &Arc<Post>,
    looks: &Arc<Mutex<Vec<Look>>>,
    is_calm: &Arc<AtomicBool>,
    dice: Rng,
) -> impl Fn(Message) -> Delivering + use<> {
    let (post, looks, is_calm) = (Arc::clone(post), Arc::clone(looks), Arc::clone(is_calm));
    let dice = Mutex::new(dice);
    move |message| {
        let (post, looks) = (Arc::clone(&post), Arc::clone(&looks));
        let (before, after, fails) = {
            let mut dice = dice.lock().unwrap();
            (dice.usize(..50), dice.usize(..200), dice.u8(..4) == 0)
        };
        let fails = fails && !is_calm.load(Ordering::Relaxed);
        Box::pin(async move {
            wait(before).await;
            let look = Look { state: post.state().await, payload: message.into_payload() };
            wait(after).await;
            if fails {
                return Err("no");
            }
            looks.lock().unwrap().push(look);
            Ok(())
        })
    }
}

/// Waits a while, as the dice will have it.
fn waits(dice: &mut Rng) -> Step {
    let yields = dice.usize(..100);
    Step::awaiting(move || async move {
        wait(yields).await;
        Ok(())
    })
}

async fn wait(yields: usize) {
    for _ in 0..yields {
        yield_now().await;
    }
}
