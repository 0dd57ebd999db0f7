//! The server crashes while messages are written and delivered: what was committed comes, whatever was lost on the way.

use crate::outbox::post::{Post, blocking_pool, diesel_pool, sqlx_pool};
use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::task::yield_now;
use txsafe_diesel::Message;
use txsafe_testkit::Postgres;

const MESSAGES: usize = 200;

/// Keys of messages, and how many they are.
#[derive(Debug, Clone, Default)]
struct Keys(Arc<Mutex<HashSet<String>>>);

impl Keys {
    fn add(&self, key: &str) {
        self.0.lock().unwrap().insert(key.into());
    }

    async fn until(&self, many: usize) {
        while self.0.lock().unwrap().len() < many {
            yield_now().await;
        }
    }

    fn lacks(&self, others: &Self) -> Vec<String> {
        others.0.lock().unwrap().difference(&self.0.lock().unwrap()).cloned().collect()
    }
}

/// Crashes the server in the midst of it; ends once all that was committed has been delivered.
async fn crash(server: &Postgres, post: &mut Post, committed: &Keys, delivered: &Keys) {
    for many in [MESSAGES / 4, MESSAGES / 2] {
        delivered.until(many).await;
        server.stop_immediately().await.unwrap();
        server.restart().await.unwrap();
    }
    committed.until(MESSAGES).await;
    post.watch_again().await;
    post.until_empty("receipt").await;
}

/// The case, for one driver.
macro_rules! case {
    ($module:ident, $driver:ident, $pool:ident) => {
        #[tokio::test]
        async fn $module() {
            use $driver::{Database, Error, NewMessage};

            let server = Postgres::start().await.unwrap();
            let mut post = Post::on(&server, "crash").await;
            let db = Database::builder($pool(post.url())).build().unwrap();
            let (committed, delivered) = (Keys::default(), Keys::default());
            let write = async {
                for n in 0..MESSAGES {
                    let key = n.to_string();
                    // Whoever doesn't know writes it again; it is one message all the same.
                    while let Err(error) = db
                        .transaction("write", async |mut tx| {
                            tx.outbox_message(NewMessage::new("receipt", "{}").key(&key)).await
                        })
                        .await
                    {
                        assert!(is_worth_asking_again(&error), "{error}");
                    }
                    committed.add(&key);
                    delivered.until(n.saturating_sub(20)).await;
                }
            };
            let worker = db.outbox().worker().lease(Duration::from_secs(1));
            let worker = worker.max_pause(Duration::from_secs(1)).deliver(
                "receipt",
                async |message: Message| {
                    yield_now().await;
                    delivered.add(message.key());
                },
            );
            let over = crash(&server, &mut post, &committed, &delivered);
            let (ended, ()) = tokio::join!(worker.build().unwrap().run_until(over), write);
            ended.unwrap();
            assert!(delivered.lacks(&committed).is_empty());

            fn is_worth_asking_again(error: &Error) -> bool {
                error.is_transient() || error.is_commit_unknown()
            }
        }
    };
}

case!(diesel_async, txsafe_diesel, diesel_pool);
case!(sqlx, txsafe_sqlx, sqlx_pool);

#[tokio::test(flavor = "multi_thread")]
async fn blocking() {
    use txsafe_diesel::{NewMessage, blocking::Database};

    let server = Postgres::start().await.unwrap();
    let mut post = Post::on(&server, "crash").await;
    let db = Database::builder(blocking_pool(post.url())).build().unwrap();
    let (committed, delivered) = (Keys::default(), Keys::default());
    let worker = db.outbox().worker().lease(Duration::from_secs(1));
    let come = delivered.clone();
    let worker = worker
        .max_pause(Duration::from_secs(1))
        .deliver("receipt", move |message: Message| come.add(message.key()));
    let worker = worker.build().unwrap();
    let stopper = worker.stopper();
    let running = tokio::task::spawn_blocking(|| worker.run());
    let (written, come) = (committed.clone(), delivered.clone());
    let writing = tokio::task::spawn_blocking(move || {
        for n in 0..MESSAGES {
            let key = n.to_string();
            while let Err(error) = db.transaction("write", |mut tx| {
                tx.outbox_message(NewMessage::new("receipt", "{}").key(&key))
            }) {
                assert!(error.is_transient() || error.is_commit_unknown(), "{error}");
            }
            written.add(&key);
            while come.0.lock().unwrap().len() + 20 < n {
                std::thread::yield_now();
            }
        }
    });
    crash(&server, &mut post, &committed, &delivered).await;
    writing.await.unwrap();
    stopper.stop();
    running.await.unwrap().unwrap();
    assert!(delivered.lacks(&committed).is_empty());
}
