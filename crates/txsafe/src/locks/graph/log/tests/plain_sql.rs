//! What becomes of locks that plain SQL takes.

use super::*;

mod what_is_skipped {
    use super::*;

    const CLAIM: &str =
        "SELECT id FROM skip_jobs WHERE is_new ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED";
    const TAKE: &str = "SELECT id FROM skip_jobs WHERE id = 3 FOR UPDATE NOWAIT";
    const COUNT: &str = "UPDATE skip_counters SET n = n + 1 WHERE id = 1";
    const FINISH: &str = "UPDATE skip_jobs SET is_new = false WHERE id = 3";

    fn run(graph: &LockGraph, transaction: &str, statements: &[&str]) {
        let log = log(graph, transaction);
        statements.iter().for_each(|sql| log.will_run(sql, |_| None));
    }

    #[test]
    fn others_wait_for_it() {
        for claim in [CLAIM, TAKE] {
            let graph = LockGraph::new();
            run(&graph, "take", &[claim, COUNT]);
            run(&graph, "give", &[COUNT, FINISH]);
            assert_eq!(told(&graph).len(), 1, "{claim}");
        }
    }

    #[test]
    fn it_waits_for_nobody() {
        let of_one = "UPDATE skip_jobs SET is_new = false WHERE id = \
                      (SELECT id FROM skip_jobs WHERE is_new LIMIT 1 FOR UPDATE SKIP LOCKED)";
        for statements in [[COUNT, CLAIM, FINISH], [COUNT, TAKE, FINISH], [COUNT, of_one, ""]] {
            let graph = LockGraph::new();
            run(&graph, "worker", &statements);
            run(&graph, "cancel", &[FINISH, COUNT]);
            assert!(told(&graph).is_empty(), "{statements:?}: {:?}", told(&graph));
        }
    }

    #[test]
    fn rows_that_are_claimed_one_after_another_have_no_order() {
        let graph = LockGraph::new();
        let finish = |id| format!("UPDATE skip_jobs SET is_new = false WHERE id = {id}");
        run(&graph, "up", &[CLAIM, &finish(3), &finish(5)]);
        run(&graph, "down", &[CLAIM, &finish(5), &finish(3)]);
        assert!(told(&graph).is_empty());
    }

    #[test]
    fn what_was_not_skipped_is_waited_for_all_the_same() {
        let graph = LockGraph::new();
        run(&graph, "one", &[TAKE, "UPDATE skip_jobs SET is_new = true WHERE id = 1"]);
        run(&graph, "other", &[&FINISH.replace('3', "1"), FINISH]);
        assert_eq!(told(&graph).len(), 1, "3 then 1, and 1 then 3");
    }
}

mod advisory_locks_of_plain_sql {
    use super::*;

    const LOCK: &str = "SELECT pg_advisory_xact_lock(91001)";
    const TABLE: &str = "UPDATE advisory_table SET n = 1 WHERE id = 1";

    fn run(graph: &LockGraph, statements: &[&str], bind: i64) -> LockLog {
        let log = log(graph, "plain");
        let bind = |_| Some(BindKey::Integer(bind));
        statements.iter().for_each(|sql| log.will_run(sql, bind));
        log
    }

    #[test]
    fn they_are_in_the_order_of_all() {
        let bound = "SELECT pg_advisory_lock($1)";
        for lock in [
            LOCK,
            bound,
            "SELECT pg_advisory_xact_lock_shared(91, 1)",
            "SELECT pg_advisory_xact_lock(hashtext($1))",
        ] {
            let graph = LockGraph::new();
            run(&graph, &[lock, TABLE], 91_001);
            assert!(told(&graph).is_empty());
            run(&graph, &[TABLE, lock], 91_001);
            assert_eq!(told(&graph).len(), 1, "{lock}");
        }
    }

    #[test]
    fn one_that_is_tried_is_held_and_not_waited_for() {
        let tried = LOCK.replace("pg_", "pg_try_");
        let graph = LockGraph::new();
        run(&graph, &[LOCK, TABLE], 0);
        run(&graph, &[TABLE, &tried], 0);
        assert!(told(&graph).is_empty());
        let graph = LockGraph::new();
        run(&graph, &[&tried, TABLE], 0);
        run(&graph, &[TABLE, LOCK], 0);
        assert_eq!(told(&graph).len(), 1);
    }

    #[test]
    fn another_constant_is_another_lock() {
        let graph = LockGraph::new();
        run(&graph, &[LOCK, TABLE], 0);
        run(&graph, &[TABLE, "SELECT pg_advisory_xact_lock(91002)"], 0);
        run(&graph, &[TABLE, "SELECT pg_advisory_xact_lock(91001, 1)"], 0);
        assert!(told(&graph).is_empty(), "{:?}", told(&graph));
        run(&graph, &[TABLE, "SELECT pg_advisory_xact_lock($1)"], 91_001);
        assert_eq!(told(&graph).len(), 1, "the same, bound");
    }

    #[test]
    fn keys_of_one_namespace_are_compared() {
        let graph = LockGraph::new();
        let lock = |key| format!("SELECT pg_advisory_xact_lock(91, {key})");
        run(&graph, &[&lock(1), &lock(1), &lock(2)], 0);
        assert!(told(&graph).is_empty());
        run(&graph, &[&lock(5), &lock(-4)], 0);
        assert_eq!(told(&graph).len(), 1);
    }

    #[test]
    fn what_is_unlocked_is_held_no_more_and_only_the_sessions_can_be() {
        let (lock, unlock) = ("SELECT pg_advisory_lock(91001)", "SELECT pg_advisory_unlock(91001)");
        for (lock, unlock, inversions) in [
            (lock, unlock, 0),
            (lock, "SELECT pg_advisory_unlock_all()", 0),
            (lock, "SELECT pg_advisory_unlock(91002)", 1),
            (LOCK, unlock, 1),
        ] {
            let graph = LockGraph::new();
            run(&graph, &[TABLE, lock], 0);
            run(&graph, &[lock, unlock, TABLE], 0);
            assert_eq!(told(&graph).len(), inversions, "{lock}; {unlock}");
        }
    }

    #[test]
    fn a_savepoint_gives_back_those_of_the_transaction_alone() {
        for (lock, inversions) in [(LOCK, 0), ("SELECT pg_advisory_lock(91001)", 1)] {
            let graph = LockGraph::new();
            run(&graph, &[TABLE, lock], 0);
            run(&graph, &["SAVEPOINT a", lock, "ROLLBACK TO a", TABLE], 0);
            assert_eq!(told(&graph).len(), inversions, "{lock}");
        }
    }

    #[test]
    fn ours_are_told_by_their_ranks() {
        let graph = LockGraph::new();
        let ours = crate::locks::advisory::lock(&[1, 2], false);
        let log = run(&graph, &[ours.sql(), TABLE], 0);
        log.granted();
        assert_eq!(log.held().len(), 1, "{:?}", log.held());
    }
}

/// What stands behind savepoints of plain SQL.
mod savepoints_of_plain_sql {
    use super::*;

    const A: &str = "UPDATE savepoint_a SET n = 1 WHERE id = 1";
    const B: &str = "UPDATE savepoint_b SET n = 1 WHERE id = 1";

    /// How many inversions there are, with a transaction before that locks `a` and then `b`.
    fn inversions(statements: &[&str]) -> usize {
        let graph = LockGraph::new();
        for statements in [&[A, B], statements] {
            let log = log(&graph, "plain");
            statements.iter().for_each(|sql| log.will_run(sql, |_| None));
        }
        graph.inversions().len()
    }

    #[test]
    fn what_is_rolled_back_is_held_no_more() {
        assert_eq!(inversions(&["SAVEPOINT s", B, "ROLLBACK TO s", A]), 0);
        assert_eq!(inversions(&["SAVEPOINT s", B, "ROLLBACK TO s", B, A]), 1, "locked again");
        assert_eq!(inversions(&["SAVEPOINT s", B, "RELEASE s", A]), 1);
        assert_eq!(inversions(&[B, "SAVEPOINT s", "ROLLBACK TO s", A]), 1, "locked before");
        assert_eq!(inversions(&["SAVEPOINT s", B, "ROLLBACK TO other", A]), 1);
    }

    #[test]
    fn names_are_used_again() {
        let nested = ["SAVEPOINT s", B, "SAVEPOINT s", "ROLLBACK TO s", A];
        assert_eq!(inversions(&nested), 1, "the inner one");
        let released = ["SAVEPOINT s", B, "SAVEPOINT s", "RELEASE s", "ROLLBACK TO s", A];
        assert_eq!(inversions(&released), 0, "then the outer one");
    }

    #[test]
    fn one_message_may_have_them_all() {
        assert_eq!(inversions(&[&format!("SAVEPOINT s; {B}; ROLLBACK TO s; {A}")]), 0);
        assert_eq!(inversions(&[&format!("SAVEPOINT s; {B}; RELEASE s; {A}")]), 1);
        assert_eq!(inversions(&[&format!("SAVEPOINT s; {B}"), &format!("ROLLBACK TO s; {A}")]), 0);
    }
}

mod rows_that_are_listed {
    use super::*;
    use std::cell::RefCell;

    thread_local! {
        static UNSORTED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
    }

    fn run(graph: &LockGraph, statements: &[&str]) -> Vec<String> {
        let tell = |noticed: Noticed<'_>| {
            if let Noticed::UnsortedRows { table, columns, sql } = noticed {
                let found = format!("{table} {columns:?} {sql}");
                UNSORTED.with_borrow_mut(|unsorted| unsorted.push(found));
            }
        };
        let log = LockLog::new(graph, &"lists".into(), None, tell);
        statements.iter().for_each(|sql| log.will_run(sql, |_| None));
        UNSORTED.take()
    }

    #[test]
    fn in_no_order_they_are_told_and_in_two_orders_they_are_an_inversion() {
        let graph = LockGraph::new();
        let upsert = |rows: &str| {
            format!(
                "INSERT INTO listed VALUES {rows} ON CONFLICT (id) DO UPDATE SET n = listed.n + 1"
            )
        };
        assert!(run(&graph, &[&upsert("(1), (2)"), &upsert("(4), (5), (9)")]).is_empty());
        let unsorted = upsert("(4), (1), (9)");
        assert_eq!(run(&graph, &[&unsorted]), [format!("listed [\"id\"] {unsorted}")]);
        assert!(told(&graph).is_empty(), "it is told already");
        assert!(run(&graph, &[&upsert("(2), (1)")]).is_empty());
        assert_eq!(told(&graph).len(), 1);
        assert!(told(&graph)[0].contains("within `listed`: keys"), "{:?}", told(&graph));
    }

    #[test]
    fn one_by_one_they_are_compared_too() {
        let graph = LockGraph::new();
        let upsert = |id| {
            format!(
                "INSERT INTO listed_one (id) VALUES ({id}) ON CONFLICT (id) DO UPDATE SET n = 1"
            )
        };
        run(&graph, &[&upsert(1), &upsert(2)]);
        assert!(told(&graph).is_empty());
        run(&graph, &[&upsert(7), &upsert(5)]);
        assert_eq!(told(&graph).len(), 1);
    }
}
