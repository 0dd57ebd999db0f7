-- txsafe: the tables in which this session's transaction holds locks that others may wait for. To be run inside of it.
--
-- pg_locks tells whose rows were locked (SELECT ... FOR UPDATE and its kin, and foreign keys in the table they refer to), and
-- which tables were locked as a whole. The locks of rows that were updated or deleted are in the rows themselves. What
-- tells of them are the session's counters, together with the lock that UPDATE and DELETE have in common with INSERT.
--
-- The counters go on counting until they are flushed, all at once and between transactions, but at most once in a second
-- unless that is forced: flush_counters.sql. PostgreSQL 14 can't be forced. There the same question is asked between
-- transactions, too: what was counted before one isn't its own, unless the counters were flushed since, and whether they were
-- is told by the last column. What a savepoint has rolled back stays counted; its locks are gone.
-- Source: PostgreSQL manual, section 13.3, "Explicit Locking", and section 28.2, "The Cumulative Statistics System".
SELECT
    -- As plain SQL calls it; a partition has the name of the whole.
    CASE
        WHEN pg_table_is_visible(whole.oid) OR namespace.nspname = 'public' THEN whole.relname::text
        ELSE namespace.nspname || '.' || whole.relname
    END AS table_name,
    coalesce(bool_or(held.as_rows), false) AS rows_locked,
    coalesce(bool_or(held.as_whole), false) AS whole_locked,
    coalesce(bool_or(held.to_write), false) AS may_be_written,
    sum(pg_stat_get_xact_tuples_updated(part.oid) + pg_stat_get_xact_tuples_deleted(part.oid)) AS rows_counted,
    now() AS transaction_start,
    current_setting('application_name') AS application_name,
    -- How often this was asked since the last flush: nothing else scans that catalogue.
    (SELECT pg_stat_get_xact_numscans('pg_transform'::regclass) + 0 * count(*) FROM pg_transform) AS looks
FROM pg_class AS part
JOIN pg_class AS whole ON whole.oid = coalesce(pg_partition_root(part.oid), part.oid)
JOIN pg_namespace AS namespace ON namespace.oid = whole.relnamespace
JOIN pg_type AS row_type ON row_type.oid = whole.reltype
LEFT JOIN (
    SELECT
        relation,
        bool_or(mode = 'RowShareLock') AS as_rows,
        bool_or(mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock')) AS as_whole,
        bool_or(mode = 'RowExclusiveLock') AS to_write
    FROM pg_locks
    WHERE locktype = 'relation' AND granted AND pid = pg_backend_pid()
    GROUP BY relation
) AS held ON held.relation = part.oid
WHERE part.relkind IN ('r', 'p')
    AND part.relpersistence <> 't'
    AND namespace.nspname NOT IN ('pg_catalog', 'information_schema')
    AND NOT starts_with(whole.relname, 'txsafe_')
    -- For a table that was made in this transaction nobody waits. The type of its rows is as old as the table, whatever was
    -- altered since.
    AND (
        pg_current_xact_id_if_assigned() IS NULL
        OR row_type.xmin::text::bigint < pg_current_xact_id_if_assigned()::text::numeric % 4294967296
    )
GROUP BY whole.oid, whole.relname, namespace.nspname
HAVING bool_or(held.as_rows OR held.as_whole OR held.to_write)
    OR sum(pg_stat_get_xact_tuples_updated(part.oid) + pg_stat_get_xact_tuples_deleted(part.oid)) > 0
ORDER BY table_name;
