//! Diesel's blocking connections.

use crate::outbox::post::{Post, Seen, blocking_pool};
use std::{
    sync::mpsc::{self, Receiver},
    thread,
    time::Duration,
};
use tokio::{runtime::Handle, task::block_in_place};
use txsafe_conformance::error::AppError;
use txsafe_diesel::{
    Error, Message, NewMessage, WrittenMessage,
    blocking::{Database, OutboxWorker, Tx},
};
use txsafe_testkit::Postgres;

fn database(post: &Post) -> Database {
    Database::builder(blocking_pool(post.url())).build().unwrap()
}

/// What others do, from a thread that may block.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    Handle::current().block_on(future)
}

/// Writes a message, in a transaction of its own.
fn write(db: &Database, message: NewMessage) -> String {
    db.transaction("write", |mut tx| tx.outbox_message(message.clone())).unwrap().into_key()
}

/// Runs a worker while `meanwhile` does what it does.
fn running<T>(worker: OutboxWorker<'_>, meanwhile: impl FnOnce() -> T) -> T {
    let stopper = worker.stopper();
    thread::scope(|scope| {
        let running = scope.spawn(|| worker.run());
        let done = meanwhile();
        stopper.stop();
        running.join().unwrap().unwrap();
        done
    })
}

/// Runs a worker until so many messages have come; they are marked then.
fn deliver(db: &Database, messages: usize) -> Vec<Message> {
    let (send, came) = mpsc::channel();
    let worker = db.outbox().worker().deliver("receipt", |message| send.send(message).unwrap());
    running(worker.build().unwrap(), || take(&came, messages))
}

fn take(came: &Receiver<Message>, messages: usize) -> Vec<Message> {
    (0..messages).map(|_| came.recv().unwrap()).collect()
}

/// The keys, sorted: each is delivered on a thread of its own.
fn keys(messages: &[Message]) -> Vec<&str> {
    let mut keys: Vec<_> = messages.iter().map(Message::key).collect();
    keys.sort_unstable();
    keys
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_is_delivered_once_and_nothing_else() {
    let post = Post::open("once").await;
    let db = database(&post);
    block_in_place(|| {
        let failed = db.transaction("order", |mut tx| {
            tx.outbox("receipt", "{}")?;
            Err::<(), _>(AppError::Own("no"))
        });
        failed.unwrap_err();
        let sent = db.transaction("order", |mut tx| {
            let undone = tx.savepoint(|mut tx: Tx<'_>| {
                tx.outbox("receipt", "{}")?;
                Err::<(), _>(AppError::Own("no"))
            });
            undone.unwrap_err();
            Ok::<_, AppError>([tx.outbox("receipt", "é'\\")?, tx.outbox("receipt", "é'\\")?])
        });
        let mut sent = sent.unwrap().map(WrittenMessage::into_key);
        sent.sort_unstable();
        let got = deliver(&db, 2);
        assert_eq!(keys(&got), sent);
        assert_eq!((got[0].topic(), got[0].attempt(), got[0].payload()), ("receipt", 1, "é'\\"));
        assert!(block_on(post.seen("receipt")).is_empty());
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delayed_message_waits() {
    let post = Post::open("delay").await;
    let db = database(&post);
    block_in_place(|| {
        let hour = Duration::from_secs(3_600);
        write(&db, NewMessage::new("receipt", "late").key("late").delay(hour));
        write(&db, NewMessage::new("receipt", "now").key("now"));
        assert_eq!(keys(&deliver(&db, 1)), ["now"]);
        block_on(post.make_all_due());
        assert_eq!(keys(&deliver(&db, 1)), ["late"]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_fails_is_tried_again_until_the_message_is_dead() {
    let post = Post::open("dead").await;
    let db = database(&post);
    block_in_place(|| {
        let key = write(&db, NewMessage::new("receipt", "{}"));
        for attempt in 1..=3 {
            let (send, came) = mpsc::channel();
            let worker = db.outbox().worker().max_attempts(3);
            let worker = worker.deliver("receipt", |message: Message| {
                send.send(message.clone()).unwrap();
                match message.attempt() {
                    2 => panic!("on purpose"),
                    _ => Err("no mail today"),
                }
            });
            let got = running(worker.build().unwrap(), || take(&came, 1));
            assert_eq!((got[0].key(), got[0].attempt()), (&*key, attempt));
            let told = if attempt == 2 { "panicked: on purpose" } else { "no mail today" };
            let (key, error) = (key.clone(), Some(told.into()));
            let attempts = attempt.cast_signed();
            let seen = block_on(post.seen("receipt"));
            assert_eq!(seen, [Seen { key, attempts, is_leased: false, error }]);
            block_on(post.make_all_due());
        }
        let dead = db.outbox().dead("receipt", 9).unwrap();
        assert_eq!((dead[0].key(), dead[0].error()), (&*key, "no mail today"));
        assert_eq!(db.outbox().backlog().unwrap()[0].dead, 1);
        assert!(db.outbox().requeue("receipt", &key).unwrap());
        assert_eq!(db.outbox().requeue_all("receipt").unwrap(), 0);
        let got = deliver(&db, 1);
        assert_eq!((got[0].key(), got[0].attempt()), (&*key, 1));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_has_left_is_delivered_by_the_next() {
    let post = Post::open("killed").await;
    let db = database(&post);
    block_in_place(|| {
        let key = write(&db, NewMessage::new("receipt", "{}"));
        // A thread can't be killed; this is what one leaves behind whose process was.
        block_on(post.execute(
            "UPDATE txsafe_outbox SET attempts = 1, lease = gen_random_uuid(), due_at = now() + interval '30 s'",
        ));
        write(&db, NewMessage::new("receipt", "{}").key("other"));
        assert_eq!(keys(&deliver(&db, 1)), ["other"], "the lease holds");
        block_on(post.make_all_due());
        let again = deliver(&db, 1);
        assert_eq!((again[0].key(), again[0].attempt()), (&*key, 2));
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_lost_the_lease_marks_nothing() {
    for fails in [false, true] {
        let post = Post::open("fence").await;
        let db = database(&post);
        block_in_place(|| {
            write(&db, NewMessage::new("receipt", "{}").key("slow"));
            // Its threads know no runtime.
            let runtime = Handle::current();
            let worker = db.outbox().worker().deliver("receipt", |_| {
                // Somebody else claims it meanwhile.
                runtime.block_on(post.execute(
                    "UPDATE txsafe_outbox SET attempts = 2, lease = gen_random_uuid(), due_at = now() + interval '1 h'",
                ));
                if fails { Err("too late") } else { Ok(()) }
            });
            let claimed = || while runtime.block_on(post.seen("receipt"))[0].attempts < 2 {};
            running(worker.build().unwrap(), claimed);
            let (key, error) = ("slow".into(), None);
            let seen = block_on(post.seen("receipt"));
            assert_eq!(seen, [Seen { key, attempts: 2, is_leased: true, error }]);
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_what_is_in_delivery() {
    let post = Post::open("stop").await;
    let db = database(&post);
    block_in_place(|| {
        write(&db, NewMessage::new("receipt", "{}"));
        let (send, came) = mpsc::channel();
        let worker = db.outbox().worker().concurrency(1);
        let worker = worker.deliver("receipt", |message| {
            let (go, gone) = mpsc::channel();
            send.send((message, go)).unwrap();
            gone.recv().unwrap();
        });
        let worker = worker.build().unwrap();
        let stopper = worker.stopper();
        thread::scope(|scope| {
            let running = scope.spawn(|| worker.run());
            let (_message, go) = came.recv().unwrap();
            write(&db, NewMessage::new("receipt", "{}").key("later"));
            stopper.stop();
            go.send(()).unwrap();
            running.join().unwrap().unwrap();
        });
        let left: Vec<_> = block_on(post.seen("receipt")).into_iter().map(|m| m.key).collect();
        assert_eq!(left, ["later"], "the first is delivered, and no other one begun");
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_in_this_process_wakes_the_worker() {
    let post = Post::open("wakes").await;
    let db = database(&post);
    block_in_place(|| {
        write(&db, NewMessage::new("receipt", "first"));
        let (send, came) = mpsc::channel();
        let worker = db.outbox().worker().poll_interval(Duration::from_secs(3_600));
        let worker = worker.deliver("receipt", |message| send.send(message).unwrap());
        running(worker.build().unwrap(), || {
            assert_eq!(take(&came, 1)[0].payload(), "first");
            // It has claimed one where it wanted eight, and so it sleeps.
            block_on(post.until_empty("receipt"));
            write(&db, NewMessage::new("receipt", "second"));
            assert_eq!(take(&came, 1)[0].payload(), "second");
        });
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_of_others_are_left_alone() {
    let post = Post::open("topics").await;
    let db = database(&post);
    block_in_place(|| {
        write(&db, NewMessage::new("invoice", "{}").key("other"));
        write(&db, NewMessage::new("receipt", "{}").key("ours"));
        assert_eq!(keys(&deliver(&db, 1)), ["ours"]);
        let seen = block_on(post.seen("invoice"));
        let key = "other".into();
        assert_eq!(seen, [Seen { key, attempts: 0, is_leased: false, error: None }]);
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_table_is_named_with_its_cure() {
    let server = Postgres::shared().await.unwrap();
    let post = Post::without_a_table(server, "missing").await;
    let db = database(&post);
    block_in_place(|| {
        let written = db.transaction("order", |mut tx| tx.outbox("t", "{}"));
        let worker = db.outbox().worker().deliver("t", |_| {}).build().unwrap();
        let told: [Error; 3] =
            [written.unwrap_err(), worker.run().unwrap_err(), db.outbox().backlog().unwrap_err()];
        for error in told.map(|error| error.to_string()) {
            assert!(error.contains("put `OUTBOX_SQL` into a migration"), "{error}");
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_that_cannot_be_meant_are_told_at_build() {
    let post = Post::open("settings").await;
    let db = database(&post);
    let worker = || db.outbox().worker().deliver("t", |_| {});
    for (builder, part) in [
        (db.outbox().worker(), "`deliver` can't be missing"),
        (worker().deliver("t", |_| {}), "`deliver` can't be \"t\""),
        (worker().lease(Duration::ZERO), "`lease` can't be 0ns"),
        (worker().concurrency(0), "`concurrency` can't be 0"),
    ] {
        let error = builder.build().unwrap_err().to_string();
        assert!(error.starts_with(part), "{error}");
    }
}
