-- The transactions of these server processes, if they began before so much time.
SELECT string_agg(pid || ' ' || application_name, E'\n') AS answer
FROM pg_stat_activity
WHERE application_name <> ''
  AND pid = ANY (CAST($1 AS text)::int[])
  AND xact_start < clock_timestamp() - CAST($2 AS text)::interval
