//! What ends a transaction unseen.

use super::bank::Bank;
use txsafe::{ErrorKind, Outcome};
use txsafe_conformance::script::{Script, Step};

#[tokio::test]
async fn what_was_committed_unseen_is_not_called_rolled_back() {
    for lent in ["COMMIT", "COMMIT; BEGIN", "COMMIT; BEGIN; UPDATE accounts SET balance = 0"] {
        let bank = Bank::open("unseen_commit").await;
        let steps = [Step::Credit(1, 5), Step::Lent(lent.into()), Step::Fail("no")];
        let script = Script::new(steps);
        let error = bank.run("ends", &script).await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unknown, "{lent}: {error:?}");
        assert_eq!((bank.balance_of(1).await, script.attempts()), (105, 1), "{lent}");
        bank.assert_free().await;
    }
}

#[tokio::test]
async fn a_closure_that_ends_its_transaction_unseen_is_found_out() {
    let bank = Bank::open("ends").await;
    for (lent, left) in [("COMMIT", 105), ("ROLLBACK; BEGIN", 105), ("COMMIT; BEGIN", 110)] {
        let steps = [Step::Credit(1, 5), Step::Lent(lent.into())];
        let error = bank.run("ends", &Script::new(steps)).await.unwrap_err().ours();
        assert_eq!(*error.kind(), ErrorKind::EndedByClosure, "{lent}: {error}");
        assert_eq!((error.outcome(), bank.balance_of(1).await), (Outcome::Unknown, left), "{lent}");
        bank.assert_free().await;
    }
    // The pool isn't poisoned by any of them.
    bank.run("well", &Script::new([Step::Credit(2, 5)])).await.unwrap();
    assert_eq!(bank.balance_of(2).await, 105);
}
