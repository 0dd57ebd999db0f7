//! Rows in the order in which they are listed.

use super::{
    super::{Effect, effects},
    *,
};

/// How a statement's rows are sorted, with these bind values.
fn sorted(sql: &str, binds: &[BindKey]) -> Option<Sorted> {
    let listed = effects(sql).into_iter().find_map(|effect| match effect {
        Effect::Listed(rows) => Some(rows),
        _ => None,
    });
    listed?.sorted(|n| binds.get(n).cloned())
}

fn numbers(numbers: &[i64]) -> Vec<BindKey> {
    numbers.iter().copied().map(BindKey::Integer).collect()
}

fn list(of: &[i64]) -> Vec<BindKey> {
    vec![BindKey::List(numbers(of))]
}

fn text(text: &str) -> BindKey {
    BindKey::Bytes(text.into())
}

const UPSERT: &str = "INSERT INTO t (n, id) VALUES ($1, $2), ($3, $4), ($5, $6) \
                      ON CONFLICT (id) DO UPDATE SET n = excluded.n";

#[test]
fn rows_of_an_insert_that_may_conflict() {
    let upsert = |ids: [i64; 3]| sorted(UPSERT, &numbers(&[9, ids[0], 1, ids[1], 5, ids[2]]));
    assert_eq!(upsert([1, 2, 3]), Some(Sorted::Ascending));
    assert_eq!(upsert([1, 1, 3]), Some(Sorted::Ascending));
    assert_eq!(upsert([3, 2, 1]), Some(Sorted::Descending));
    assert_eq!(upsert([2, 3, 1]), Some(Sorted::Not));
    assert_eq!(upsert([2, 2, 2]), None);
    assert_eq!(sorted(UPSERT, &numbers(&[9, 2])), None, "not all are known");
    let literals =
        |values: &str, rest: &str| sorted(&format!("INSERT INTO t {values} {rest}"), &[]);
    let update = "ON CONFLICT (id) DO UPDATE SET n = 1";
    for (values, rest, expected) in [
        ("VALUES (1), (3), (2)", update, Some(Sorted::Not)),
        ("VALUES (1), (3), (2)", "ON CONFLICT (id) DO NOTHING", Some(Sorted::Not)),
        ("VALUES (1), (3), (2)", "ON CONFLICT DO NOTHING", None),
        ("VALUES (1), (3), (2)", "", None),
        ("VALUES (2)", update, None),
        ("(\"id\") VALUES ('b'), ('c'), ('a')", update, Some(Sorted::Not)),
        (
            "(id) VALUES ('customer-10'), ('customer-11'), ('customer-12')",
            update,
            Some(Sorted::Ascending),
        ),
        ("(id) VALUES (1.5), (10.5), (9.5)", update, None),
        ("(id) VALUES (now()), (3), (2)", update, None),
        ("(other) VALUES (1), (3), (2)", update, None),
    ] {
        assert_eq!(literals(values, rest), expected, "{values} {rest}");
    }
}

#[test]
fn of_several_columns_any_may_come_first() {
    let upsert = |rows: &str| {
        let sql = format!(
            "INSERT INTO t (org, sku) VALUES {rows} ON CONFLICT (org, sku) DO UPDATE SET n = 1"
        );
        sorted(&sql, &[])
    };
    assert_eq!(upsert("(1, 5), (1, 7), (2, 3)"), Some(Sorted::Ascending));
    assert_eq!(upsert("(2, 3), (1, 5), (1, 7)"), Some(Sorted::Ascending), "by sku");
    assert_eq!(upsert("(1, 5), (1, 3), (2, 4)"), Some(Sorted::Not));
}

#[test]
fn keys_made_at_random_are_nobody_elses_where_only_new_rows_are_written() {
    let insert = |action: &str| {
        let sql = format!("INSERT INTO t (id) VALUES ($1), ($2), ($3) ON CONFLICT (id) {action}");
        let id = |digit: char| text(&format!("{digit}c9f2f2e-0000-4000-8000-000000000000"));
        sorted(&sql, &[id('5'), id('9'), id('1')])
    };
    assert_eq!(insert("DO NOTHING"), None);
    assert_eq!(insert("DO UPDATE SET n = 1"), Some(Sorted::Not));
}

#[test]
fn rows_of_arrays() {
    let rest = "ON CONFLICT (id) DO UPDATE SET n = 1";
    for source in [
        "SELECT k, 1 FROM unnest($1::int[]) k",
        "SELECT k.k, 1 FROM unnest($1::int[]) AS k WHERE k > 0",
        "SELECT * FROM unnest($1::int[], $2::int[])  AS k (id, n)",
        "SELECT k.id, k.n FROM unnest($1, $2) AS k (id, n)",
        "SELECT unnest($1::int[]) AS id, unnest($2) AS n",
        "SELECT * FROM UNNEST($1::int[], $2::int[])",
        "SELECT unnest, 1 FROM unnest($1::int[])",
        "SELECT v.id, v.n FROM (VALUES (3, 1), (9, 1), (1, 1)) v (id, n)",
        "SELECT k, 1 FROM unnest(ARRAY[3, 9, 1]) k",
        "SELECT k, 1 FROM unnest('{3, 9, 1}'::int[]) k",
    ] {
        let sql = format!("INSERT INTO t (id, n) {source} {rest}");
        assert_eq!(sorted(&sql, &list(&[3, 9, 1])), Some(Sorted::Not), "{sql}");
        let ordered = format!("INSERT INTO t (id, n) {source} ORDER BY 1 {rest}");
        assert_eq!(sorted(&ordered, &list(&[3, 9, 1])), None, "{ordered}");
    }
    let sql = format!("INSERT INTO t (id, n) SELECT k, 1 FROM unnest($1::int[]) k {rest}");
    assert_eq!(sorted(&sql, &list(&[1, 3, 9])), Some(Sorted::Ascending));
    assert_eq!(sorted(&sql, &list(&[])), None);
    assert_eq!(sorted(&sql, &[text("{1}")]), None);
    for source in [
        "SELECT id, 1 FROM other",
        "SELECT DISTINCT k, 1 FROM unnest($1::int[]) k",
        "SELECT k, count(*) FROM unnest($1::int[]) k GROUP BY k",
    ] {
        assert_eq!(
            sorted(&format!("INSERT INTO t (id, n) {source} {rest}"), &list(&[3, 9, 1])),
            None,
            "{source}"
        );
    }
}

#[test]
fn rows_that_are_joined() {
    for (sql, expected) in [
        (
            "UPDATE t SET n = v.n FROM unnest($1, $2) AS v (id, n) WHERE t.id = v.id",
            Some(Sorted::Not),
        ),
        ("UPDATE t SET n = 1 FROM unnest($1::int[]) v WHERE v = t.id", Some(Sorted::Not)),
        (
            "UPDATE t AS x SET n = 1 FROM (VALUES (3), (9), (1)) v (id) WHERE x.id = v.id",
            Some(Sorted::Not),
        ),
        ("DELETE FROM t USING unnest($1::int[]) v WHERE t.id = v AND t.n = 1", Some(Sorted::Not)),
        ("UPDATE t SET n = 1 FROM unnest($1::int[]) v WHERE t.n > v", None),
        // The server goes by an order of its own.
        ("UPDATE t SET n = 1 WHERE id = ANY ($1)", None),
        ("UPDATE t SET n = 1 WHERE id IN (3, 9, 1)", None),
        ("DELETE FROM t WHERE id IN (SELECT unnest($1::int[]))", None),
    ] {
        assert_eq!(sorted(sql, &list(&[3, 9, 1])), expected, "{sql}");
    }
}
