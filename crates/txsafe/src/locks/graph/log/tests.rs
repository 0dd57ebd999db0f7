//! What becomes of locks that transactions note, one after another.

use super::*;
use crate::locks::{key::LockKey, rank::Rank, relation::LockOrder};

#[cfg(feature = "sql")]
mod plain_sql;

crate::rank!(Order: table "log_orders" key "id" as i64);
crate::rank!(User: table "log_users" key "id" as i64);
crate::rank!(Item: table "log_items" key "id" as String);
crate::lock_order! { pub(super) Shop: Order => User => Item }

fn log(graph: &LockGraph, transaction: &str) -> LockLog {
    LockLog::new(graph, &transaction.into(), Some(Location::caller()), |_| {})
}

impl LockLog {
    #[track_caller]
    fn locks<R: Rank>(&self, key: impl Into<R::Key>) -> &Self {
        self.wants(R::class(), key.into().to_prefix(), Location::caller(), true);
        self
    }

    #[track_caller]
    fn tries<R: Rank>(&self, key: impl Into<R::Key>) -> &Self {
        self.wants(R::class(), key.into().to_prefix(), Location::caller(), false);
        self
    }
}

fn told(graph: &LockGraph) -> Vec<String> {
    graph.inversions().iter().map(ToString::to_string).collect()
}

#[test]
fn an_inversion_is_told_once_with_both_transactions_and_all_places() {
    let graph = LockGraph::new();
    log(&graph, "ship").locks::<Order>(1).locks::<User>(1);
    assert!(told(&graph).is_empty());
    for _ in 0..2 {
        log(&graph, "move").locks::<User>(2).locks::<Order>(2);
    }
    let told = told(&graph);
    let [told] = told.as_slice() else { panic!("once: {told:?}") };
    assert!(
        told.starts_with(
            "lock order inversion: `log_orders` was wanted while `log_users` was held"
        ),
        "{told}"
    );
    assert!(
        told.contains("transaction \"move\"") && told.contains("transaction \"ship\""),
        "{told}"
    );
    assert_eq!(told.matches(file!()).count(), 6, "two calls, four locks: {told}");
    assert_eq!(graph.inversions()[0].transactions(), ["move".into(), "ship".into()]);
}

#[test]
fn a_circle_of_three_is_one() {
    let graph = LockGraph::new();
    log(&graph, "a").locks::<Order>(1).locks::<User>(1);
    log(&graph, "b").locks::<User>(1).locks::<Item>("x");
    log(&graph, "c").locks::<Item>("x").locks::<Order>(1);
    assert_eq!(told(&graph).len(), 1);
    assert_eq!(told(&graph)[0].lines().count(), 4, "{}", told(&graph)[0]);
}

#[test]
fn another_row_of_a_table_that_was_left_is_one() {
    let graph = LockGraph::new();
    log(&graph, "a").locks::<Order>(1).locks::<User>(2).locks::<Order>(1);
    assert!(told(&graph).is_empty(), "a row that is held isn't waited for");
    log(&graph, "a").locks::<Order>(1).locks::<User>(2).locks::<Order>(3);
    assert_eq!(told(&graph).len(), 1);
}

#[test]
fn keys_that_go_both_ways_are_one() {
    let graph = LockGraph::new();
    for _ in 0..2 {
        log(&graph, "a").locks::<User>(1).locks::<User>(9);
        log(&graph, "a").locks::<User>(-1).locks::<User>(i64::MAX);
    }
    assert!(told(&graph).is_empty());
    log(&graph, "b").locks::<User>(5).locks::<User>(3);
    log(&graph, "c").locks::<User>(5).locks::<User>(3);
    assert_eq!(told(&graph).len(), 1);
    assert!(told(&graph)[0].contains("within `log_users`"), "{}", told(&graph)[0]);
}

#[test]
fn what_cannot_wait_comes_after_nothing_and_before_what_follows() {
    let graph = LockGraph::new();
    log(&graph, "a").locks::<Order>(1).locks::<User>(1);
    log(&graph, "b").locks::<User>(1).tries::<Order>(1);
    assert!(told(&graph).is_empty());
    log(&graph, "c").locks::<Item>("x").tries::<User>(1).locks::<Order>(1);
    assert_eq!(told(&graph).len(), 1, "users before orders");
    log(&graph, "d").locks::<Order>(1).locks::<Item>("x");
    assert_eq!(told(&graph).len(), 2, "and items before orders");
}

#[test]
fn what_was_given_back_is_held_no_more() {
    let graph = LockGraph::new();
    log(&graph, "a").locks::<Order>(1).locks::<User>(1);
    let log = log(&graph, "b");
    let mark = log.mark();
    log.locks::<User>(1);
    log.rolled_back_to(mark);
    log.locks::<Order>(1);
    assert!(told(&graph).is_empty());
}

#[test]
fn a_declared_order_counts_as_seen() {
    let graph = LockGraph::new();
    let shop = graph.graph().unwrap();
    assert!(shop.declare(Shop::NAME, Shop::NEIGHBOURS).is_empty());
    log(&graph, "a").locks::<Item>("x").locks::<Order>(1);
    let told = told(&graph);
    assert!(
        told[0].contains("declared: lock order `Shop`: `log_orders` before `log_users`"),
        "{told:?}"
    );
    let drawn = graph.observed_order();
    assert_eq!(
        drawn.dot(),
        "digraph observed {\n  \"log_items\" -> \"log_orders\" [color=red, label=\"inversion\"];\n  \
         \"log_orders\" -> \"log_users\";\n  \"log_users\" -> \"log_items\";\n}\n"
    );
    assert_eq!(
        drawn.mermaid(),
        "flowchart TD\n  n0[\"log_items\"]\n  n1[\"log_orders\"]\n  n2[\"log_users\"]\n  \
         n0 == inversion ==> n1\n  n1 --> n2\n  n2 --> n0\n"
    );
    let panicked = std::panic::catch_unwind(|| graph.assert_no_inversions());
    assert!(panicked.is_err());
}

#[test]
fn a_declared_order_that_comes_late_finds_what_was_seen() {
    let graph = LockGraph::new();
    log(&graph, "a").locks::<User>(1).locks::<Order>(1);
    assert_eq!(graph.graph().unwrap().declare(Shop::NAME, Shop::NEIGHBOURS).len(), 1);
}

#[test]
fn no_graph_notes_nothing() {
    let graph = LockGraph::off();
    log(&graph, "a").locks::<Order>(1).locks::<User>(1).locks::<Order>(2);
    graph.assert_no_inversions();
    assert_eq!(graph.observed_order().dot(), "digraph observed {\n}\n");
}

fn watched(graph: &LockGraph, looks: &[&[(&'static str, bool)]]) {
    let log = graph.watch("watched");
    for (i, look) in looks.iter().enumerate() {
        let tables: Vec<_> = look.iter().map(|(t, waited)| HeldTable::new(t, *waited)).collect();
        log.holds(&format!("statement {i}"), &tables);
    }
}

#[test]
fn what_one_statement_locks_has_no_order_in_itself_but_comes_between_the_others() {
    let (a, b) = (("step_a", true), ("step_b", true));
    let (before, after) = (("step_before", true), ("step_after", true));
    let graph = LockGraph::new();
    watched(&graph, &[&[before], &[a, b, before], &[after, a, b, before]]);
    assert_eq!(
        graph.observed_order().dot(),
        "digraph observed {\n  \"step_a\" -> \"step_after\" [style=dashed];\n  \
         \"step_b\" -> \"step_after\" [style=dashed];\n  \
         \"step_before\" -> \"step_a\" [style=dashed];\n  \
         \"step_before\" -> \"step_b\" [style=dashed];\n}\n"
    );
    watched(&graph, &[&[b, a], &[b, a, after]]);
    watched(&graph, &[&[b], &[b, a], &[b, a, after]]);
    assert!(told(&graph).is_empty());
    watched(&graph, &[&[after], &[after, before]]);
    let told = told(&graph);
    assert_eq!(told.len(), 1);
    assert!(
        told[0].contains(
            "now:      transaction \"watched\": `step_after` (by `statement 0`), then `step_before` (by \
             `statement 1`)"
        ),
        "{told:?}"
    );
}

#[test]
fn what_the_server_names_no_more_was_given_back() {
    let (a, b, c) = (("back_a", true), ("back_b", true), ("back_c", true));
    let graph = LockGraph::new();
    watched(&graph, &[&[a], &[a, b], &[a], &[a, c], &[a, c, b]]);
    watched(&graph, &[&[b], &[], &[a]]);
    watched(&graph, &[&[c], &[c, b]]);
    assert!(told(&graph).is_empty());
    watched(&graph, &[&[c], &[c, a]]);
    assert_eq!(told(&graph).len(), 1, "a stayed held when c was locked");
}

#[test]
fn in_a_step_too_nothing_leads_to_what_cannot_wait() {
    let (a, b, c) = (("try_a", true), ("try_b", true), ("try_c", true));
    let graph = LockGraph::new();
    watched(&graph, &[&[a], &[a, b]]);
    watched(&graph, &[&[b], &[b, ("try_a", false)], &[b, a, c]]);
    assert!(told(&graph).is_empty());
    watched(&graph, &[&[c], &[c, b]]);
    assert_eq!(told(&graph).len(), 1, "b was held when c was locked, past a that couldn't wait");
}

#[test]
fn who_watches_and_who_is_inside_agree() {
    let graph = LockGraph::new();
    let inside = log(&graph, "ship");
    let outside = graph.watch("ship");
    inside.locks::<Order>(1);
    outside.holds("lock 1", &[HeldTable::new("log_orders", true)]);
    inside.locks::<User>(1);
    let both = [HeldTable::new("log_orders", true), HeldTable::new("log_users", true)];
    outside.holds("lock 2", &both);
    assert!(told(&graph).is_empty());
    log(&graph, "move").locks::<User>(1).locks::<Order>(1);
    assert_eq!(told(&graph).len(), 1);
    LockGraph::off().watch("off").holds("nothing", &both);
}

#[cfg(feature = "sql")]
#[test]
fn plain_sql_and_types_are_one_order() {
    let graph = LockGraph::new();
    log(&graph, "a").locks::<Order>(1).locks::<User>(1);
    let log = log(&graph, "b");
    let unknown = |_| None;
    log.will_run("SELECT * FROM log_orders", unknown);
    log.will_run("UPDATE log_users SET name = $1 WHERE id = $2", unknown);
    log.will_run("UPDATE log_orders SET name = 'x' WHERE id = 7", unknown);
    let told = told(&graph);
    assert_eq!(told.len(), 1);
    assert!(told[0].contains("(by `UPDATE log_users SET name = $1 WHERE id = $2`)"), "{told:?}");
}

#[cfg(feature = "sql")]
#[test]
fn literal_keys_of_plain_sql_are_compared() {
    let graph = LockGraph::new();
    let update = |id| format!("UPDATE log_users SET name = 'x' WHERE id = {id}");
    log(&graph, "a").will_run(&format!("{}; {}", update(2), update(10)), |_| None);
    assert!(told(&graph).is_empty());
    log(&graph, "b").will_run(&format!("{}; {}", update(10), update(9)), |_| None);
    assert_eq!(told(&graph).len(), 1);
}

#[cfg(feature = "sql")]
#[test]
fn parameters_of_plain_sql_are_compared() {
    let graph = LockGraph::new();
    let update = |log: &LockLog, id| {
        let bind = |n| (n == 1).then_some(BindKey::Integer(id));
        log.will_run("UPDATE log_users SET name = $1 WHERE id = $2", bind);
    };
    for ids in [[-2, 3], [7, 7], [2, 10]] {
        let log = log(&graph, "a");
        ids.into_iter().for_each(|id| update(&log, id));
    }
    assert!(told(&graph).is_empty());
    let log = log(&graph, "b");
    [10, 9].into_iter().for_each(|id| update(&log, id));
    assert_eq!(told(&graph).len(), 1);
}

#[test]
fn without_a_graph_types_still_hear_of_savepoints() {
    let log = log(&LockGraph::off(), "off");
    log.will_run("SAVEPOINT a", |_| None);
    let before = log.mark();
    log.locks::<User>(1);
    assert_eq!(log.take_given_back(), None);
    log.will_run("ROLLBACK TO a", |_| None);
    assert_eq!((log.take_given_back(), log.take_given_back()), (Some(before), None));
    assert!(log.held().is_empty());
}

#[test]
fn too_many_subtransactions_are_told_once() {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    let attempt = |insert: &str, end: &str, many: usize| {
        let tell = |noticed: Noticed<'_>| match noticed {
            Noticed::Subtransactions(64) => drop(TOLD.fetch_add(1, Relaxed)),
            noticed => panic!("{noticed:?}"),
        };
        let log = LockLog::new(&LockGraph::off(), &"many".into(), None, tell);
        let log = log.on(&crate::dialect::postgres::Postgres);
        for _ in 0..many {
            for sql in ["SAVEPOINT a", insert, end] {
                log.will_run(sql, |_| None);
            }
        }
        TOLD.swap(0, Relaxed)
    };
    let insert = "INSERT INTO t VALUES (1)";
    assert_eq!(attempt(insert, "RELEASE a", 64), 0);
    assert_eq!(attempt(insert, "RELEASE a", 200), 1);
    assert_eq!(attempt(insert, "ROLLBACK TO a; RELEASE a", 200), 0);
    assert_eq!(
        attempt(insert, "ROLLBACK TO a", 200),
        1,
        "all are open, and have ids by what is written inside"
    );
    assert_eq!(attempt("SELECT 1", "RELEASE a", 200), 0, "one that only reads has no id");
}

#[test]
fn where_nobody_waits_for_another_nothing_is_compared() {
    let graph = LockGraph::new();
    for (first, second) in [(1, 2), (2, 1)] {
        let log = log(&graph, "sqlite").on(&crate::dialect::sqlite::Sqlite);
        log.locks::<User>(first).locks::<User>(second);
        log.granted();
        assert_eq!(log.held().len(), 2);
    }
    assert!(told(&graph).is_empty());
}
