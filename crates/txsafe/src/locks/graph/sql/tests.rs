//! What statements lock.

use super::*;

/// `orders#$0, users#7, ~items`; a tilde stands before what isn't waited for, and an exclamation mark behind what is the session's.
fn shown(sql: &str) -> String {
    let effects = effects(sql).into_iter().map(|effect| match effect {
        Effect::Rows(RowLock { table, key: Some(key), waits }) => {
            format!("{}{table}#{}", tilde(waits), source(&key))
        }
        Effect::Rows(RowLock { table, key: None, waits }) => format!("{}{table}", tilde(waits)),
        Effect::Advisory(AdvisoryCall { does, is_sessions }) => {
            let mark = if is_sessions { "!" } else { "" };
            match does {
                Does::Lock { lock, waits } => {
                    format!("{}lock({}){mark}", tilde(waits), name(&lock))
                }
                Does::Unlock(lock) => format!("unlock({}){mark}", name(&lock)),
                Does::UnlockAll => format!("unlock all{mark}"),
            }
        }
        Effect::Savepoint(change) => format!("{change:?}"),
        // They have tests of their own.
        Effect::Listed(_) => String::new(),
    });
    effects.filter(|shown| !shown.is_empty()).collect::<Vec<_>>().join(", ")
}

fn tilde(waits: bool) -> &'static str {
    if waits { "" } else { "~" }
}

fn source(key: &KeySource) -> String {
    match key {
        KeySource::Bind(n) => format!("${n}"),
        KeySource::Literal(key) => key.clone(),
    }
}

fn name(lock: &LockName) -> String {
    match lock {
        LockName::One(key) => source(key),
        LockName::Two(first, Some(second)) => format!("{}, {}", source(first), source(second)),
        LockName::Two(first, None) => format!("{}, ?", source(first)),
        LockName::Computed(text) => format!("={text}"),
    }
}

fn check(cases: &[(&str, &str)]) {
    for (sql, expected) in cases {
        assert_eq!(shown(sql), *expected, "{sql}");
    }
}

#[test]
fn updates_and_deletes_lock_their_target() {
    check(&[
        ("UPDATE orders SET paid = true WHERE id = $1", "orders#$0"),
        ("update Orders set paid = true", "orders"),
        ("UPDATE \"Orders\" SET paid = true WHERE \"id\" = $1", "Orders#$0"),
        ("UPDATE public.orders SET paid = true", "orders"),
        (
            "UPDATE \"shop\".\"orders\" SET n = 1 WHERE \"shop\".\"orders\".\"id\" = $1",
            "shop.orders#$0",
        ),
        ("UPDATE ONLY orders SET n = 1 WHERE id = 7", "orders#7"),
        ("UPDATE ONLY (orders) SET n = 1", "orders"),
        ("UPDATE orders * SET n = 1", "orders"),
        ("UPDATE orders AS o SET n = 1 WHERE o.id = $2", "orders#$1"),
        ("UPDATE orders o SET n = u.n FROM users u WHERE u.id = $1 AND o.id = $2", "orders#$1"),
        ("UPDATE orders o SET n = u.n FROM users u WHERE u.id = $1 AND o.user_id = u.id", "orders"),
        ("UPDATE orders o SET n = 1 FROM users u WHERE id = $1", "orders"),
        ("UPDATE orders SET (n, m) = (1, 2) WHERE id = $1 RETURNING *", "orders#$0"),
        ("UPDATE orders SET n = $1 WHERE CURRENT OF c", ""),
        ("DELETE FROM orders WHERE id = $1", "orders#$0"),
        ("DELETE FROM ONLY shop.orders o WHERE o.id = '7'", "shop.orders#7"),
        (
            "DELETE FROM orders USING users u WHERE orders.user_id = u.id AND orders.id = $1",
            "orders#$0",
        ),
        ("DELETE FROM orders", "orders"),
    ]);
}

#[test]
fn what_drivers_send() {
    check(&[
        (
            "UPDATE \"orders\" SET \"shipments\" = (\"orders\".\"shipments\" + $1) WHERE (\"orders\".\"id\" = $2)",
            "orders#$1",
        ),
        ("SELECT \"a\".\"id\" FROM \"a\" WHERE (\"a\".\"id\" = $1) FOR NO KEY UPDATE", "a#$0"),
        (
            "SELECT * FROM \"shop\".\"orders\" WHERE \"id\" = ANY (CAST($1 AS text)::bigint[]) \
             ORDER BY \"id\" FOR NO KEY UPDATE",
            "shop.orders",
        ),
        (
            "UPDATE \"users\" SET \"name\" = $1, \"n\" = DEFAULT WHERE ((\"users\".\"org\" = $2) AND \
             (\"users\".\"id\" = $3)) RETURNING \"users\".\"id\", \"users\".\"name\"",
            "users#$2",
        ),
        ("DELETE  FROM \"orders\" WHERE (\"orders\".\"id\" = $1) -- binds: [7]", "orders#$0"),
        (
            "SELECT \"a\".\"id\", \"b\".\"id\" FROM (\"a\" INNER JOIN \"b\" ON (\"b\".\"a_id\" = \"a\".\"id\")) \
             WHERE (\"a\".\"id\" = $1) FOR UPDATE",
            "a#$0, b",
        ),
        (
            "INSERT INTO \"orders\" (\"id\", \"n\") VALUES ($1, $2), ($3, DEFAULT) ON CONFLICT (\"id\") DO \
             UPDATE SET \"n\" = excluded.\"n\" RETURNING \"orders\".\"id\"",
            "orders",
        ),
        ("SELECT \"orders\".\"updated_at\" FROM \"orders\" WHERE (\"orders\".\"id\" = $1)", ""),
        ("INSERT INTO \"orders\" (\"n\") VALUES ($1) ON CONFLICT DO NOTHING", ""),
        ("SAVEPOINT diesel_savepoint_1", ""),
    ]);
}

#[test]
fn locking_clauses() {
    check(&[
        ("SELECT * FROM orders WHERE id = $1 FOR UPDATE", "orders#$0"),
        ("SELECT * FROM orders WHERE id = $1 FOR SHARE", "orders#$0"),
        ("SELECT * FROM orders WHERE id = $1 for key share", "orders#$0"),
        ("SELECT * FROM orders WHERE id = $1 FOR UPDATE NOWAIT", "~orders#$0"),
        ("SELECT * FROM orders WHERE id = $1 FOR NO KEY UPDATE SKIP LOCKED", "~orders#$0"),
        ("SELECT * FROM orders LIMIT 1 FOR UPDATE", "orders"),
        ("SELECT * FROM orders FOR UPDATE LIMIT 1", "orders"),
        ("SELECT * FROM ONLY orders FOR UPDATE", "orders"),
        ("SELECT * FROM a, b AS c LEFT JOIN d ON d.id = c.id FOR UPDATE", "a, b, d"),
        (
            "SELECT * FROM a x JOIN b y ON x.id = y.id WHERE x.id = 1 AND y.id = $1 FOR UPDATE",
            "a#1, b#$0",
        ),
        ("SELECT * FROM a JOIN b USING (id) FOR NO KEY UPDATE OF b", "b"),
        ("SELECT * FROM a x, b, c FOR UPDATE OF x, C NOWAIT FOR SHARE OF \"b\"", "~a, b, ~c"),
        ("SELECT * FROM a x, b, c FOR KEY SHARE OF x, c", "a, c"),
        ("SELECT * FROM a, b FOR UPDATE OF a FOR KEY SHARE OF b SKIP LOCKED", "a, ~b"),
        ("SELECT * FROM a FOR UPDATE FOR SHARE SKIP LOCKED", "~a"),
        ("SELECT * FROM a FOR UPDATE OF other", ""),
        ("SELECT * FROM shop.a FOR UPDATE OF a", "shop.a"),
        ("(SELECT * FROM a WHERE id = 1) FOR UPDATE", "a#1"),
        ("SELECT * FROM a, generate_series(1, 2) g FOR UPDATE OF a", "a"),
        ("SELECT 'FOR NO KEY UPDATE' FROM a", ""),
        ("SELECT 'FOR NO KEY UPDATE' FROM a FOR UPDATE", "a"),
    ]);
}

#[test]
fn subqueries_and_ctes() {
    check(&[
        ("SELECT * FROM a, (SELECT * FROM b WHERE id = $1) s FOR UPDATE", "b#$0, a"),
        ("SELECT * FROM a, (SELECT * FROM b) s FOR UPDATE OF a", "a"),
        ("SELECT * FROM a, (SELECT * FROM b, c) AS s FOR UPDATE OF s", "b, c"),
        ("SELECT * FROM (SELECT * FROM b FOR UPDATE) s", "b"),
        ("SELECT * FROM (SELECT * FROM b FOR UPDATE SKIP LOCKED) s FOR UPDATE", "~b"),
        ("WITH c AS (SELECT * FROM a FOR UPDATE) SELECT * FROM c", "a"),
        ("WITH c AS (SELECT * FROM a) SELECT * FROM b, c FOR UPDATE", "b"),
        ("WITH a AS (SELECT * FROM a FOR UPDATE) SELECT * FROM a FOR UPDATE", "a"),
        ("WITH RECURSIVE a AS (SELECT * FROM a FOR UPDATE) SELECT 1", ""),
        ("WITH c AS (SELECT 1) SELECT * FROM shop.c FOR UPDATE", "shop.c"),
        (
            "WITH c AS (UPDATE a SET n = 1 WHERE id = $1 RETURNING *) DELETE FROM b WHERE id = $2",
            "a#$0, b#$1",
        ),
        ("WITH c AS (DELETE FROM a RETURNING *) INSERT INTO b SELECT * FROM c", "a"),
        ("UPDATE a SET n = 1 WHERE id IN (SELECT id FROM b FOR UPDATE)", "b, a"),
        (
            "UPDATE a SET n = 1 WHERE id = (SELECT id FROM a ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)",
            "~a, a",
        ),
        ("UPDATE a SET n = (SELECT n FROM b WHERE id = 1 FOR SHARE) WHERE id = 2", "b#1, a#2"),
        ("UPDATE a SET n = s.n FROM (SELECT * FROM b FOR UPDATE) s WHERE a.id = s.id", "b, a"),
        (
            "DELETE FROM a WHERE id = ANY (ARRAY(SELECT id FROM b FOR UPDATE)) AND NOT EXISTS (SELECT 1 FROM c)",
            "b, a",
        ),
        (
            "DELETE FROM a WHERE CASE WHEN n = 1 THEN true ELSE EXISTS (SELECT 1 FROM b FOR SHARE) END",
            "b, a",
        ),
        ("SELECT coalesce((SELECT n FROM a WHERE id = $1 FOR UPDATE), 0)", "a#$0"),
        ("(SELECT id FROM a FOR UPDATE) UNION ALL (SELECT id FROM b FOR UPDATE)", "a, b"),
        (
            "SELECT a.id FROM a JOIN b ON b.id = (SELECT id FROM c FOR UPDATE) FOR UPDATE OF a",
            "c, a",
        ),
    ]);
}

#[test]
fn other_statements() {
    check(&[
        ("INSERT INTO a (n) VALUES (1)", ""),
        ("INSERT INTO a (n, id) VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET n = 1", "a#$0"),
        ("INSERT INTO a VALUES ($1), ($2) ON CONFLICT (id) DO UPDATE SET n = 1", "a"),
        ("INSERT INTO a SELECT * FROM b WHERE id = $1 FOR UPDATE", "b#$0"),
        (
            "INSERT INTO shop.a AS x (n) VALUES (1) ON CONFLICT ON CONSTRAINT c DO UPDATE SET n = x.n + 1",
            "shop.a",
        ),
        ("INSERT INTO a SELECT * FROM b FOR SHARE ON CONFLICT (id) DO UPDATE SET n = 1", "b, a"),
        (
            "MERGE INTO a AS t USING b AS s ON t.id = s.id WHEN MATCHED THEN UPDATE SET n = s.n \
             WHEN NOT MATCHED THEN INSERT (id) VALUES (s.id)",
            "a",
        ),
        ("MERGE INTO a USING b ON a.id = b.id WHEN NOT MATCHED THEN INSERT (id) VALUES (b.id)", ""),
        ("LOCK TABLE a, ONLY shop.b IN SHARE ROW EXCLUSIVE MODE", "a, shop.b"),
        ("LOCK a", "a"),
        ("LOCK TABLE a NOWAIT", "~a"),
        ("TRUNCATE a; SELECT 'update'", ""),
        ("ALTER TABLE a ADD COLUMN \"lock\" integer", ""),
        (
            "SET LOCAL lock_timeout = '1s'; UPDATE a SET n = 1; UPDATE b SET n = 1 WHERE id = 2;",
            "a, b#2",
        ),
        ("this is no SQL; UPDATE a SET n = 1", "a"),
        ("SELECT ';' FROM a FOR UPDATE; ; SELECT 1", "a"),
    ]);
}

#[test]
fn advisory_locks() {
    check(&[
        ("SELECT pg_advisory_xact_lock(1)", "lock(1)"),
        ("select PG_ADVISORY_XACT_LOCK_SHARED ( $1 )", "lock($0)"),
        ("SELECT pg_catalog.pg_advisory_lock($1::bigint)", "lock($0)!"),
        ("SELECT pg_try_advisory_xact_lock(-7) AS is_locked", "~lock(-7)"),
        ("SELECT pg_try_advisory_lock_shared(7, $2)", "~lock(7, $1)!"),
        ("SELECT pg_advisory_xact_lock($1, 2)", "lock($0, 2)"),
        ("SELECT pg_advisory_xact_lock(7, hashtext($1))", "lock(7, ?)"),
        ("SELECT pg_advisory_xact_lock(hashtext($1))", "lock(=hashtext($1))"),
        ("SELECT pg_advisory_xact_lock(hashtext('a'), $1)", "lock(=hashtext('a'), $1)"),
        ("SELECT * FROM pg_advisory_xact_lock(1)", "lock(1)"),
        ("SELECT 1 WHERE pg_try_advisory_xact_lock($1)", "~lock($0)"),
        ("WITH l AS (SELECT pg_advisory_xact_lock(1)) UPDATE a SET n = 1 FROM l", "lock(1), a"),
        (
            "SELECT id, pg_advisory_xact_lock(id)::text FROM a WHERE id = 1 FOR UPDATE",
            "lock(=id), a#1",
        ),
        (
            "SELECT pg_advisory_unlock(1); SELECT pg_advisory_unlock_all()",
            "unlock(1)!, unlock all!",
        ),
        ("SELECT pg_advisory_lock()", ""),
        ("SELECT 'pg_advisory_lock(1)', pg_advisory_is_mine(1)", ""),
    ]);
}

#[test]
fn savepoints_among_locks() {
    check(&[
        (
            "SAVEPOINT a; UPDATE t SET n = 1; ROLLBACK TO SAVEPOINT a; RELEASE A; UPDATE u SET n = 1",
            "Set(\"a\"), t, RollBackTo(\"a\"), Release(\"a\"), u",
        ),
        ("UPDATE t SET n = 1; ROLLBACK", "t"),
    ]);
}

#[test]
fn keys() {
    check(&[
        ("DELETE FROM a WHERE 7 = id", "a#7"),
        ("DELETE FROM a WHERE id = $1::bigint", "a#$0"),
        ("DELETE FROM a WHERE id = CAST(($12) AS bigint)", "a#$11"),
        ("DELETE FROM a WHERE id = 007", "a#7"),
        ("DELETE FROM a WHERE id = 000", "a#0"),
        ("DELETE FROM a WHERE id = -7", "a#-7"),
        ("DELETE FROM a WHERE id = '007'", "a#007"),
        ("DELETE FROM a WHERE id = 'it''s'", "a#it's"),
        ("DELETE FROM a WHERE id = E'a\\nb'", "a#a\nb"),
        ("DELETE FROM a WHERE id = $tag$x = 'y'$tag$", "a#x = 'y'"),
        ("DELETE FROM a WHERE id = uuid '0a'", "a#0a"),
        ("DELETE FROM a WHERE id = 7.5", "a"),
        ("DELETE FROM a WHERE id = $0", "a"),
        ("DELETE FROM a WHERE org = 1 AND (sku = $1 AND (ID = $2))", "a#$1"),
        ("DELETE FROM a WHERE org = $1 AND sku = $2", "a#$0"),
        ("DELETE FROM a WHERE n > 1 AND id = $1 AND m IS NULL", "a#$0"),
        ("DELETE FROM a WHERE id = $1 OR id = $2", "a"),
        ("DELETE FROM a WHERE NOT id = $1", "a"),
        ("DELETE FROM a WHERE id <> $1", "a"),
        ("DELETE FROM a WHERE id IN ($1)", "a"),
        ("DELETE FROM a WHERE id = ANY ($1)", "a"),
        ("DELETE FROM a WHERE id = other", "a"),
        ("DELETE FROM a WHERE id = NULL", "a"),
        ("DELETE FROM a WHERE lower(id) = $1", "a"),
        ("DELETE FROM a AS b WHERE a.id = $1", "a"),
    ]);
}

#[test]
fn whatever_else_the_text_holds() {
    check(&[
        ("", ""),
        (" ; ;", ""),
        ("UPDATE", ""),
        ("UPDATE a SET", ""),
        ("UPDATE a SET n = 'unclosed", ""),
        ("SELECT * FROM a FOR UPDATE OF", ""),
        ("SELECT * FROM a FOR NO KEY", ""),
        ("/* UPDATE b /* nested */ */ UPDATE a -- WHERE id = 1\n SET n = $$DELETE; FROM c$$", "a"),
        ("SELECT 1 /* FOR UPDATE */ FROM a", ""),
        ("SELECT * FROM a FOR /* that is: */ NO KEY -- all\n UPDATE", "a"),
        ("UPDATE \"größe\" SET \"é\" = '🦀' WHERE \"größe\".\"ключ\" = '鍵'", "größe#鍵"),
        ("UPDATE Größe SET n = 1", "größe"),
        ("UPDATE \"a\"\"b\" SET n = 1", "a\"b"),
        (
            "UPDATE a SET tags = tags || ARRAY['x'], j = j #- '{a}' WHERE j @> '{}' AND id = $1",
            "a#$0",
        ),
        (
            "UPDATE a SET j = j -> 'update' ->> 'b', t = now() - interval '1 day' WHERE id = $1",
            "a#$0",
        ),
        ("UPDATE a SET n = 1 WHERE j ? 'key' AND id = $1", "a#$0"),
    ]);
}

#[test]
fn long_statements_are_read_while_they_are_flat() {
    let conditions = "AND n = 1 ".repeat(300);
    assert_eq!(shown(&format!("DELETE FROM a WHERE id = $1 {conditions}")), "a#$0");
    let rows = ", ($1, 'x', NULL, DEFAULT)".repeat(2_000);
    let upsert = "ON CONFLICT (id) DO UPDATE SET n = 1";
    assert_eq!(shown(&format!("INSERT INTO a VALUES (1, 'y', 0, 0) {rows} {upsert}")), "a");
    let joins = "JOIN b ON b.id = a.id CROSS JOIN c NATURAL JOIN d ".repeat(50);
    assert_eq!(shown(&format!("SELECT * FROM a {joins} FOR UPDATE OF a")), "a");
    let parentheses = ("(".repeat(20), ")".repeat(20));
    let statement = format!("DELETE FROM a WHERE {}id = $1{}", parentheses.0, parentheses.1);
    assert_eq!(shown(&statement), "a#$0");
}

#[test]
fn no_depth_overflows_the_stack() {
    let nested = [
        ("UPDATE a SET n = ", "("),
        ("SELECT * FROM ", "("),
        ("SELECT * FROM ", "(SELECT * FROM "),
        ("UPDATE a SET n = ", "NOT "),
        ("UPDATE a SET n = ", "f("),
        ("UPDATE a SET n = ", "CASE WHEN "),
        ("UPDATE a SET n = b", " + 1"),
        ("UPDATE a SET n = b", "::int"),
        ("SELECT * FROM a", " JOIN b"),
        ("SELECT 1", " UNION SELECT 1"),
        ("", "WITH a AS ("),
    ];
    for (start, part) in nested {
        for n in [20, 45, 300, 10_000] {
            // Whatever is deep hides nothing behind it; only what is too long does.
            let sql = format!("{start}{}; UPDATE b SET n = 1", part.repeat(n));
            let is_read = shown(&sql).ends_with("b");
            assert_eq!(is_read, sql.len() <= MAX_TEXT_BYTES, "{start}{part} {n} times");
        }
    }
}

#[test]
fn no_sequence_of_tokens_panics() {
    const TOKENS: &str = "SELECT UPDATE DELETE INSERT MERGE INTO LOCK TABLE FROM WHERE SET VALUES WITH \
        RECURSIVE AS JOIN LEFT CROSS ON USING FOR NO KEY SHARE OF NOWAIT SKIP LOCKED ONLY CONFLICT DO NOTHING \
        UNION LIMIT ORDER BY IN ANY ARRAY EXISTS NOT AND OR IS NULL CASE WHEN THEN END CAST LATERAL RETURNING \
        MATCHED a b.c \"D\" \"é\"\"\" public id $1 $0 $9999999999999999999999 $$ ? 7 007 1.5 'x' E'\\n' U&'\\0041' \
        'unclosed ( ) ( ) [ ] , , . ; * = = + - :: <> -- /* */ 🦀 \\";
    let tokens: Vec<_> = TOKENS.split(' ').collect();
    let seed = fastrand::u64(..);
    println!("seed: {seed}");
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut sequence = || {
        let length = dice.usize(..40);
        (0..length).map(|_| tokens[dice.usize(..tokens.len())]).collect::<Vec<_>>().join(" ")
    };
    let sequences: Vec<_> = (0..2_000).map(|_| sequence()).collect();
    // Not `effects`, on whose threads a panic would go unseen.
    let reader = thread::Builder::new()
        .stack_size(STACK_BYTES)
        .spawn(move || sequences.iter().for_each(|sql| drop(read(sql))));
    reader.unwrap().join().unwrap();
}
