//! A second write under the key of a message: a delivery that begins after its COMMIT covers it, whatever became of the first
//! one by then.

use super::{
    driver::{
        Delivering, DieselAsync, DieselBlocking, Driver, Interact, Settings, Sqlx, sync, write,
    },
    post::Post,
    pulse::where_nothing_stands_still,
};
use std::{sync::Arc, time::Duration};
use tokio::{
    join, select,
    sync::{
        Barrier, Semaphore,
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot,
    },
    time::timeout,
};
use txsafe_conformance::{
    drivers::{Call, Database},
    error::AppError,
    script::{Script, Step},
};
use txsafe_diesel::{
    Isolation, Message, NewMessage,
    WriteEffect::{Inserted, Joined, Revived},
};

const HOUR: Duration = Duration::from_secs(3_600);

/// Far longer than a delivery that is due takes to begin.
const LONGEST: Duration = Duration::from_secs(60);

/// The same for each driver.
macro_rules! cases {
    ($($module:ident: $driver:ident { $($case:ident),* $(,)? })*) => {
        $(mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                super::$case::<super::$driver>().await;
            })*
        })*
    };
}

macro_rules! cases_of_all {
    ($($case:ident),* $(,)?) => {
        cases! {
            diesel_async: DieselAsync { a_release_leaves_it_to_the_next, a_release_waits_for_its_writer, a_claim_under_way_is_released, $($case),* }
            sqlx: Sqlx { a_release_leaves_it_to_the_next, a_release_waits_for_its_writer, a_claim_under_way_is_released, $($case),* }
            interact: Interact { a_release_leaves_it_to_the_next, a_release_waits_for_its_writer, a_claim_under_way_is_released, $($case),* }
            diesel_blocking: DieselBlocking { $($case),* }
        }
    };
}

cases_of_all!(
    in_delivery_it_is_delivered_again_at_once,
    the_handler_may_write_its_own_next_message,
    waiting_it_is_delivered_once_with_the_last_payload,
    one_transaction_may_write_it_twice,
    it_is_due_when_the_first_of_both_is,
    a_pause_before_a_retry_is_kept,
    no_worker_claims_it_before_the_writer_has_committed,
    a_claim_that_began_before_the_commit_sees_it,
    a_failed_attempt_is_retried_and_covers_it,
    the_last_attempt_that_fails_does_not_bury_it,
    dead_it_is_revived,
    a_crash_leaves_it_to_the_next,
    a_crash_in_the_last_attempt_does_not_bury_it,
    a_mark_that_began_before_the_commit_sees_it,
    a_writer_that_keeps_its_row_locked_holds_up_no_other_message,
    a_writer_that_commits_before_the_lease_ends_does_not_cost_it,
    keys_in_opposite_orders_end_by_a_retry,
    a_transaction_with_an_older_snapshot_is_retried,
);

/// A delivery that waits until the test ends it.
struct Begun {
    message: Message,
    ends: oneshot::Sender<Result<(), &'static str>>,
}

impl Begun {
    fn end(self, result: Result<(), &'static str>) {
        let Self { message, ends } = self;
        assert!(ends.send(result).is_ok(), "{message:?} was broken off");
    }

    fn payload(&self) -> &str {
        self.message.payload()
    }
}

/// A handler, and the deliveries that it begins.
fn handler() -> (impl Fn(Message) -> Delivering, UnboundedReceiver<Begun>) {
    let (begun, begins) = unbounded_channel();
    let handle = move |message| -> Delivering { Box::pin(begin(begun.clone(), message)) };
    (handle, begins)
}

async fn begin(begun: UnboundedSender<Begun>, message: Message) -> Result<(), &'static str> {
    let (ends, end) = oneshot::channel();
    begun.send(Begun { message, ends }).map_err(|_| "the test is over")?;
    end.await.map_err(|_| "the test is over")?
}

/// The next delivery, with this payload and attempt.
async fn next(begins: &mut UnboundedReceiver<Begun>, payload: &str, attempt: u32) -> Begun {
    let begun = timeout(LONGEST, begins.recv()).await;
    let begun = begun.unwrap_or_else(|_| panic!("{payload} is lost")).unwrap();
    assert_eq!((begun.payload(), begun.message.attempt()), (payload, attempt));
    begun
}

/// Returns once nothing is left; nothing more is delivered.
async fn until_empty(post: &Post, begins: &mut UnboundedReceiver<Begun>) {
    select! {
        begun = begins.recv() => panic!("{:?} is delivered once more", begun.unwrap().message),
        () = post.until_empty("sync") => {}
    }
}

/// Delivers what is due, once, with this payload and attempt; nothing is left then.
async fn deliver_last<D: Driver>(post: &Post, db: &D::Db, payload: &str, attempt: u32) {
    let (handle, mut begins) = handler();
    let stop = async {
        next(&mut begins, payload, attempt).await.end(Ok(()));
        until_empty(post, &mut begins).await;
    };
    D::deliver(db, Settings::default(), handle, stop).await;
}

/// A writer whose transaction stays open once it has written.
struct Writer {
    script: Script,
    written: Arc<Semaphore>,
    ends: Arc<Semaphore>,
}

impl Writer {
    /// One whose transaction commits, or rolls back, at its end.
    fn new(message: NewMessage, result: Result<(), &'static str>) -> Self {
        let [written, ends] = [(); 2].map(|()| Arc::new(Semaphore::new(0)));
        let (has_written, may_end) = (Arc::clone(&written), Arc::clone(&ends));
        let open = Step::awaiting(move || {
            has_written.add_permits(1);
            let may_end = Arc::clone(&may_end);
            async move {
                may_end.acquire().await.unwrap().forget();
                result.map_err(AppError::Own)
            }
        });
        Self { script: Script::new([Step::Outbox(message), open]), written, ends }
    }

    /// Runs it, and returns once it has written.
    async fn write(&self, db: &(impl Database + Clone + 'static)) {
        let (db, script) = (db.clone(), self.script.clone());
        tokio::spawn(async move { db.run(Call::new("write"), script).await });
        self.written.acquire().await.unwrap().forget();
    }

    fn end(&self) {
        self.ends.add_permits(1);
    }
}

async fn in_delivery_it_is_delivered_again_at_once<D: Driver>() {
    let post = Post::open("again").await;
    let db = D::open(&post);
    assert_eq!(write(&db, sync("1")).await, Inserted);
    let (handle, mut begins) = handler();
    let stop = async {
        let first = next(&mut begins, "1", 1).await;
        assert_eq!(write(&db, sync("2")).await, Joined);
        assert_eq!(write(&db, sync("3")).await, Joined);
        first.end(Ok(()));
        // Nobody looks for messages by now, but because of the mark.
        next(&mut begins, "3", 1).await.end(Ok(()));
        until_empty(&post, &mut begins).await;
    };
    D::deliver(&db, Settings { poll_interval: HOUR, ..Settings::default() }, handle, stop).await;
}

async fn the_handler_may_write_its_own_next_message<D: Driver>() {
    let post = Post::open("itself").await;
    let db = D::open(&post);
    write(&db, sync("1")).await;
    let (handle, mut begins) = handler();
    let is_later = "lease IS NULL AND again_at IS NULL AND attempts = 0 AND payload = '2' \
                    AND due_at > now() + interval '59 min' AND written_at <= now()";
    let stop = async {
        let first = next(&mut begins, "1", 1).await;
        assert_eq!(write(&db, sync("2").delay(HOUR)).await, Joined);
        assert_eq!(write(&db, sync("2").delay(2 * HOUR)).await, Joined);
        first.end(Ok(()));
        while !post.has_one(is_later).await {}
    };
    D::deliver(&db, Settings::default(), handle, stop).await;
    post.make_all_due().await;
    deliver_last::<D>(&post, &db, "2", 1).await;
}

async fn waiting_it_is_delivered_once_with_the_last_payload<D: Driver>() {
    let post = Post::open("waiting").await;
    let db = D::open(&post);
    assert_eq!(write(&db, sync("1")).await, Inserted);
    assert_eq!(write(&db, sync("2")).await, Joined);
    assert_eq!(write(&db, NewMessage::new("other", "{}").key("user 7")).await, Inserted);
    deliver_last::<D>(&post, &db, "2", 1).await;
    assert_eq!(write(&db, sync("3")).await, Inserted, "it has left nothing behind");
}

async fn one_transaction_may_write_it_twice<D: Driver>() {
    let post = Post::open("twice").await;
    let db = D::open(&post);
    let script = Script::new([Step::Outbox(sync("1")), Step::Outbox(sync("2"))]);
    db.run(Call::new("write"), script.clone()).await.unwrap();
    let written = script.written();
    assert_eq!(written.iter().map(|written| written.key()).collect::<Vec<_>>(), ["user 7"; 2]);
    let effects: Vec<_> = written.iter().map(|written| written.effect()).collect();
    assert_eq!(effects, [Inserted, Joined]);
    deliver_last::<D>(&post, &db, "2", 1).await;
}

async fn it_is_due_when_the_first_of_both_is<D: Driver>() {
    let post = Post::open("due").await;
    let db = D::open(&post);
    for (first, second) in [(2 * HOUR, HOUR), (HOUR, 2 * HOUR)] {
        assert_eq!(write(&db, sync("1").delay(first)).await, Inserted);
        assert_eq!(write(&db, sync("2").delay(second)).await, Joined);
        let in_an_hour =
            "due_at > now() + interval '59 min' AND due_at < now() + interval '61 min'";
        assert!(post.has_one(in_an_hour).await);
        assert_eq!(write(&db, sync("3")).await, Joined);
        deliver_last::<D>(&post, &db, "3", 1).await;
    }
}

async fn a_pause_before_a_retry_is_kept<D: Driver>() {
    let post = Post::open("pause").await;
    let db = D::open(&post);
    write(&db, sync("1")).await;
    // As a failed attempt leaves it, that has drawn a long pause.
    post.execute(
        "UPDATE txsafe_outbox SET attempts = 1, due_at = now() + interval '1 h', last_error = 'no'",
    )
    .await;
    assert_eq!(write(&db, sync("2")).await, Joined);
    assert!(post.has_one("attempts = 1 AND due_at > now() + interval '59 min'").await);
    post.make_all_due().await;
    deliver_last::<D>(&post, &db, "2", 2).await;
}

async fn no_worker_claims_it_before_the_writer_has_committed<D: Driver>() {
    let post = Post::open("open").await;
    let db = D::open(&post);
    for (result, payload) in [(Ok(()), "2"), (Err("no"), "1")] {
        write(&db, sync("1")).await;
        let writer = Writer::new(sync("2"), result);
        let (handle, mut begins) = handler();
        let stop = async {
            // Younger than the one that is locked.
            for key in ["a", "b", "c"] {
                write(&db, NewMessage::new("sync", "other").key(key)).await;
                next(&mut begins, "other", 1).await.end(Ok(()));
            }
            writer.end();
            next(&mut begins, payload, 1).await.end(Ok(()));
            until_empty(&post, &mut begins).await;
        };
        writer.write(&db).await;
        D::deliver(&db, Settings::default(), handle, stop).await;
    }
}

async fn a_claim_that_began_before_the_commit_sees_it<D: Driver>() {
    let post = Post::open("claim").await;
    let db = D::open(&post);
    write(&db, sync("1")).await;
    post.stop_at_rows("outbox_claim").await;
    let (handle, mut begins) = handler();
    let stop = async {
        post.until_somebody_waits().await;
        assert_eq!(write(&db, sync("2")).await, Joined);
        post.go_on().await;
        next(&mut begins, "2", 1).await.end(Ok(()));
        until_empty(&post, &mut begins).await;
    };
    D::deliver(&db, Settings::default(), handle, stop).await;
}

async fn a_failed_attempt_is_retried_and_covers_it<D: Driver>() {
    let post = Post::open("failed").await;
    let db = D::open(&post);
    write(&db, sync("1")).await;
    let (handle, mut begins) = handler();
    let stop = async {
        let first = next(&mut begins, "1", 1).await;
        assert_eq!(write(&db, sync("2")).await, Joined);
        first.end(Err("no"));
        next(&mut begins, "2", 2).await.end(Ok(()));
        until_empty(&post, &mut begins).await;
    };
    D::deliver(&db, Settings::default(), handle, stop).await;
}

async fn the_last_attempt_that_fails_does_not_bury_it<D: Driver>() {
    let post = Post::open("last").await;
    let db = D::open(&post);
    write(&db, sync("1")).await;
    let (handle, mut begins) = handler();
    let stop = async {
        let first = next(&mut begins, "1", 1).await;
        assert_eq!(write(&db, sync("2")).await, Joined);
        first.end(Err("no"));
        next(&mut begins, "2", 1).await.end(Err("never"));
        while !post.has_one("dead_at IS NOT NULL AND last_error = 'never' AND attempts = 1").await {
        }
    };
    let settings = Settings { max_attempts: 1, poll_interval: HOUR, ..Settings::default() };
    D::deliver(&db, settings, handle, stop).await;
}

async fn dead_it_is_revived<D: Driver>() {
    let post = Post::open("dead").await;
    let db = D::open(&post);
    write(&db, sync("1")).await;
    post.execute(
        "UPDATE txsafe_outbox SET attempts = 25, last_error = 'no', dead_at = now(), written_at = now() - interval '1 day'",
    )
    .await;
    assert_eq!(write(&db, sync("2").delay(HOUR)).await, Revived);
    let is_new = "dead_at IS NULL AND attempts = 0 AND due_at > now() + interval '59 min' AND written_at > now() - interval '1 h'";
    assert!(post.has_one(is_new).await);
    assert_eq!(write(&db, sync("3")).await, Joined);
    deliver_last::<D>(&post, &db, "3", 1).await;
}

async fn a_release_leaves_it_to_the_next<D: Driver>() {
    let post = Post::open("release").await;
    let db = D::open(&post);
    write(&db, sync("1")).await;
    let (handle, mut begins) = handler();
    let stop = async {
        let first = next(&mut begins, "1", 1).await;
        assert_eq!(write(&db, sync("2")).await, Joined);
        // Its end never comes, and it outlasts the grace.
        std::mem::forget(first);
    };
    D::deliver(&db, Settings::default(), handle, stop).await;
    assert!(post.has_one("lease IS NULL AND again_at IS NULL AND attempts = 0").await);
    deliver_last::<D>(&post, &db, "2", 1).await;
}

async fn a_release_waits_for_its_writer<D: Driver>() {
    let post = Post::open("stop").await;
    let db = D::open(&post);
    write(&db, sync("1")).await;
    post.stop_at_rows("outbox_mark").await;
    let writer = Writer::new(sync("2"), Ok(()));
    let (handle, mut begins) = handler();
    let stop = async {
        let first = next(&mut begins, "1", 1).await;
        writer.write(&db).await;
        std::mem::forget(first);
    };
    let commit = async {
        post.until_somebody_waits().await;
        post.go_on().await;
        // Not before that mark is over, which has found the row locked.
        post.stop_again().await;
        writer.end();
        while !post.has_one("again_at IS NOT NULL").await {}
        post.go_on().await;
    };
    join!(D::deliver(&db, Settings::default(), handle, stop), commit);
    assert!(post.has_one("lease IS NULL AND again_at IS NULL AND attempts = 0").await);
    deliver_last::<D>(&post, &db, "2", 1).await;
}

async fn a_claim_under_way_is_released<D: Driver>() {
    let post = Post::open("last_claim").await;
    let db = D::open(&post);
    write(&db, sync("1")).await;
    post.stop_at_rows("outbox_claim").await;
    let (handle, mut begins) = handler();
    let (stops, stop) = oneshot::channel();
    let claim = async {
        post.until_somebody_waits().await;
        stops.send(()).unwrap();
        post.go_on().await;
    };
    let stop = async { stop.await.unwrap() };
    join!(D::deliver(&db, Settings::default(), handle, stop), claim);
    assert!(begins.try_recv().is_err(), "it is handed over after the stop");
    assert!(post.has_one("lease IS NULL AND attempts = 0").await);
}

/// Leaves the message as a worker does that was killed in the midst of an attempt, and the rest to the next one.
async fn crash<D: Driver>(attempt: u32, next_attempt: u32) {
    let post = Post::open("crash").await;
    let db = D::open(&post);
    write(&db, sync("1")).await;
    post.execute(&format!(
        "UPDATE txsafe_outbox SET attempts = {attempt}, lease = gen_random_uuid(), due_at = now() + interval '30 s'"
    ))
    .await;
    assert_eq!(write(&db, sync("2")).await, Joined);
    assert!(post.has_one("due_at > now() + interval '10 s'").await, "the lease holds");
    post.make_all_due().await;
    assert_eq!(write(&db, sync("3")).await, Joined, "nobody has claimed it yet");
    deliver_last::<D>(&post, &db, "3", next_attempt).await;
}

async fn a_crash_leaves_it_to_the_next<D: Driver>() {
    crash::<D>(1, 2).await;
}

async fn a_crash_in_the_last_attempt_does_not_bury_it<D: Driver>() {
    crash::<D>(25, 1).await;
}

async fn a_mark_that_began_before_the_commit_sees_it<D: Driver>() {
    for (result, attempt, max_attempts) in
        [(Ok(()), 1, 25), (Err("last"), 1, 1), (Err("again"), 2, 25)]
    {
        let post = Post::open("mark").await;
        let db = D::open(&post);
        write(&db, sync("1")).await;
        post.stop_at_rows("outbox_mark").await;
        let (handle, mut begins) = handler();
        let stop = async {
            next(&mut begins, "1", 1).await.end(result);
            post.until_somebody_waits().await;
            assert_eq!(write(&db, sync("2")).await, Joined);
            post.go_on().await;
            next(&mut begins, "2", attempt).await.end(Ok(()));
            until_empty(&post, &mut begins).await;
        };
        let settings = Settings { max_attempts, ..Settings::default() };
        D::deliver(&db, settings, handle, stop).await;
    }
}

async fn a_writer_that_keeps_its_row_locked_holds_up_no_other_message<D: Driver>() {
    let post = Post::open("long").await;
    let db = D::open(&post);
    write(&db, sync("1")).await;
    let writer = Writer::new(sync("2"), Ok(()));
    let (handle, mut begins) = handler();
    let stop = async {
        let first = next(&mut begins, "1", 1).await;
        writer.write(&db).await;
        first.end(Ok(()));
        // There is place for one.
        for key in ["a", "b", "c"] {
            write(&db, NewMessage::new("sync", "other").key(key)).await;
            next(&mut begins, "other", 1).await.end(Ok(()));
            while post.seen("sync").await.len() > 1 {}
        }
        writer.end();
        // It isn't waited for until the lease ends, nor until the next poll.
        next(&mut begins, "2", 1).await.end(Ok(()));
        until_empty(&post, &mut begins).await;
    };
    let settings = Settings { concurrency: 1, poll_interval: HOUR, ..Settings::default() };
    D::deliver(&db, settings, handle, stop).await;
}

async fn a_writer_that_commits_before_the_lease_ends_does_not_cost_it<D: Driver>() {
    where_nothing_stands_still(a_writer_commits_in_time::<D>).await;
}

async fn a_writer_commits_in_time<D: Driver>() {
    // What is left of it behind the commit is longer than a busy machine keeps a worker from renewing it.
    let lease = Duration::from_secs(20);
    let post = Post::open("renewed").await;
    let db = D::open(&post);
    write(&db, sync("1")).await;
    let writer = Writer::new(sync("2"), Ok(()));
    let (handle, mut begins) = handler();
    let stop = async {
        let first = next(&mut begins, "1", 1).await;
        writer.write(&db).await;
        // It was to be renewed at half time.
        post.until_leases_end_in(lease / 20 * 9).await;
        writer.end();
        while !post.has_one("again_at IS NOT NULL").await {}
        post.until_leases_would_have_ended(Duration::ZERO).await;
        assert!(begins.try_recv().is_err(), "two deliver it at the same time");
        first.end(Ok(()));
        next(&mut begins, "2", 1).await.end(Ok(()));
        until_empty(&post, &mut begins).await;
    };
    D::deliver(&db, Settings { lease, ..Settings::default() }, handle, stop).await;
}

async fn keys_in_opposite_orders_end_by_a_retry<D: Driver>() {
    for are_there in [false, true] {
        let post = Post::open("orders").await;
        let db = D::open(&post);
        let keyed = |key: &str| Step::Outbox(NewMessage::new("sync", "{}").key(key));
        if are_there {
            let both = Script::new([keyed("a"), keyed("b")]);
            db.run(Call::new("write"), both).await.unwrap();
        }
        let barrier = Arc::new(Barrier::new(2));
        let both_have_one = Step::awaiting(move || {
            let barrier = Arc::clone(&barrier);
            async move {
                barrier.wait().await;
                Ok(())
            }
        });
        let script = |first: &str, second: &str| {
            let (first, second) = (keyed(first), keyed(second));
            let meeting = [first.clone(), both_have_one.clone(), second.clone()];
            Script::first(meeting, [first, second])
        };
        let scripts = [script("a", "b"), script("b", "a")];
        let (one, two) = join!(
            db.run(Call::new("write"), scripts[0].clone()),
            db.run(Call::new("write"), scripts[1].clone()),
        );
        one.and(two).unwrap();
        let attempts: usize = scripts.iter().map(Script::attempts).sum();
        assert!(attempts > 2, "they didn't wait for each other");
        assert_eq!(post.seen("sync").await.len(), 2);
    }
}

async fn a_transaction_with_an_older_snapshot_is_retried<D: Driver>() {
    let post = Post::open("snapshot").await;
    let other = D::open(&post);
    write(&other, sync("1")).await;
    let db = D::open_with(&post, Isolation::RepeatableRead);
    let (begun, ends) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let changed_meanwhile = {
        let (begun, ends) = (Arc::clone(&begun), Arc::clone(&ends));
        Step::awaiting(move || {
            begun.add_permits(1);
            let ends = Arc::clone(&ends);
            async move {
                ends.acquire().await.unwrap().forget();
                Ok(())
            }
        })
    };
    let write_it = Step::Outbox(sync("3"));
    let first =
        [Step::sql("SELECT count(*) FROM txsafe_outbox"), changed_meanwhile, write_it.clone()];
    let script = Script::first(first, [write_it]);
    let change = async {
        begun.acquire().await.unwrap().forget();
        write(&other, sync("2")).await;
        ends.add_permits(1);
    };
    let (written, ()) = join!(db.run(Call::new("write"), script.clone()), change);
    written.unwrap();
    assert_eq!(script.attempts(), 2);
    assert_eq!(script.written().pop().unwrap().effect(), Joined);
    deliver_last::<D>(&post, &other, "3", 1).await;
}
