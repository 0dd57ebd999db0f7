-- A statement that waits for a lock of an idle transaction of this name. Of a transaction whose thread is blocked nobody knows
-- what it waits for: so it must be as old as the first number of seconds, the statement must have begun after as many as the
-- second, and the session must be one that bears the name of this one, and not that of a transaction.
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
  AND abs(
    extract(epoch FROM clock_timestamp() - holder.xact_start) - split_part($2, ' ', 1)::float8
  ) < 0.1
  AND extract(epoch FROM waiter.query_start - holder.xact_start) > split_part($2, ' ', 2)::float8 - 0.1
  AND waiter.application_name = current_setting('application_name')
LIMIT 1
