-- txsafe: lets this session's counters of updated and deleted rows start at zero in the next transaction. To be run between
-- transactions; PostgreSQL 15 and newer.
-- Source: PostgreSQL manual, section 28.2.24, "Statistics Functions".
SELECT pg_stat_force_next_flush();
