-- Who waits for a lock of an idle transaction of this name, by process and statement. Which of them it is, is told behind.
WITH RECURSIVE behind (waiter, blocker) AS (
    SELECT pid, unnest(pg_blocking_pids(pid))
    FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'
    UNION
    SELECT waiter, unnest(pg_blocking_pids(blocker)) FROM behind
)
SELECT waiter.pid || ' ' || waiter.query AS answer
FROM behind
JOIN pg_stat_activity AS waiter ON waiter.pid = behind.waiter
JOIN pg_stat_activity AS holder ON holder.pid = behind.blocker
WHERE holder.state LIKE 'idle in transaction%'
  AND (
    holder.application_name = CAST($1 AS text)
    -- The server cuts it at 63 bytes, or before a character that doesn't fit.
    OR (octet_length(holder.application_name) >= 60 AND starts_with($1, holder.application_name))
  )
