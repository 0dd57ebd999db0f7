//! What is to happen after: once, in order, per attempt and per savepoint.

use crate::{
    remedies::raise,
    support::{AppError, Attempts, Shop, credit},
};
use std::sync::{Arc, Mutex};
use txsafe_diesel::Tx;

/// Notes what hooks did.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    fn add(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// Queues a note for each end.
    fn on(&self, tx: &mut Tx<'_>, what: &str) {
        let (commit, rollback) = (self.clone(), self.clone());
        let (done, undone) = (format!("{what} committed"), format!("{what} rolled back"));
        tx.after_commit(async move || commit.add(done));
        tx.after_rollback(async move || rollback.add(undone));
    }
}

#[tokio::test]
async fn each_attempt_has_its_own() {
    let (shop, notes, attempts) =
        (Shop::open("hooks").await, Notes::default(), Attempts::default());
    let committed = shop.db.transaction("hooks", async |mut tx| {
        let is_first = attempts.is_first();
        notes.on(&mut tx, if is_first { "first" } else { "second" });
        if is_first {
            raise(&mut tx, "40P01").await?;
        }
        notes.on(&mut tx, "last");
        Ok::<_, AppError>(())
    });
    committed.await.unwrap();
    assert_eq!(notes.take(), ["first rolled back", "second committed", "last committed"]);
}

#[tokio::test]
async fn each_savepoint_has_its_own() {
    let (shop, notes) = (Shop::open("savepoint_hooks").await, Notes::default());
    let committed = shop.db.transaction("savepoints", async |mut tx| {
        notes.on(&mut tx, "outer");
        let kept = tx.savepoint(async |mut tx| {
            notes.on(&mut tx, "kept");
            Ok::<_, AppError>(())
        });
        kept.await?;
        let undone = tx.savepoint(async |mut tx| {
            notes.on(&mut tx, "undone");
            let inner = tx.savepoint(async |mut tx| {
                notes.on(&mut tx, "inner");
                Ok::<_, AppError>(())
            });
            inner.await?;
            Err::<(), _>(AppError::Own("changed my mind"))
        });
        assert!(undone.await.is_err());
        notes.on(&mut tx, "after");
        Ok::<_, AppError>(())
    });
    committed.await.unwrap();
    assert_eq!(
        notes.take(),
        [
            "undone rolled back",
            "inner rolled back",
            "outer committed",
            "kept committed",
            "after committed",
        ]
    );
}

#[tokio::test]
async fn a_failing_hook_is_not_fatal_and_runs_without_the_connection() {
    let shop = Shop::with("failing_hooks", 1, |builder| builder).await;
    let notes = Notes::default();
    let committed = shop.db.transaction("failing", async |mut tx| {
        credit(&mut tx, 1, 1).await?;
        tx.after_commit(async || Err::<(), _>("no mail server"));
        tx.after_commit(async || assert_eq!("a hook", "that panics"));
        let (db, last) = (shop.db.clone(), notes.clone());
        // In a pool of one: the connection must be back, and this is no nested transaction.
        tx.after_commit(async move || {
            let next = db.transaction("from a hook", async |mut tx| {
                credit(&mut tx, 1, 10).await?;
                Ok::<_, AppError>(())
            });
            last.add(format!("{:?}", next.await));
        });
        Ok::<_, AppError>("value")
    });
    assert_eq!(committed.await.unwrap(), "value");
    assert_eq!(notes.take(), ["Ok(())"]);
    assert_eq!(shop.balance_of(1).await, 111);
}

#[tokio::test]
async fn a_caller_who_leaves_during_commit_gets_its_hooks_run() {
    let shop = Shop::open("orphan").await;
    // COMMIT waits for this lock, in a deferred trigger.
    let trigger = "
        CREATE FUNCTION wait_late() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_advisory_xact_lock(hashtext(current_schema())); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER wait_late AFTER UPDATE ON accounts
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION wait_late();
        SELECT pg_advisory_lock(hashtext(current_schema()));
    ";
    shop.watcher.batch_execute(trigger).await.unwrap();
    let (done, ended) = tokio::sync::oneshot::channel();
    let done = Arc::new(Mutex::new(Some(done)));
    let caller = tokio::spawn({
        let db = shop.db.clone();
        async move {
            let options = txsafe_diesel::TxOptions::new().adaptive_lock_timeout(false);
            db.with(options)
                .transaction("orphan", async |mut tx| {
                    credit(&mut tx, 1, 1).await?;
                    let done = Arc::clone(&done);
                    tx.after_commit(async move || {
                        if let Some(done) = done.lock().unwrap().take() {
                            let _ = done.send("committed");
                        }
                    });
                    Ok::<_, AppError>(())
                })
                .await
        }
    });
    crate::support::until("the wait in COMMIT", async || shop.waiting().await == 1).await;
    caller.abort();
    assert!(caller.await.unwrap_err().is_cancelled());
    shop.watcher.batch_execute("SELECT pg_advisory_unlock_all()").await.unwrap();
    assert_eq!(ended.await, Ok("committed"));
    assert_eq!(shop.balance_of(1).await, 101);
    assert_eq!(shop.db.pool().status().available, 1, "and its connection is back");
}
