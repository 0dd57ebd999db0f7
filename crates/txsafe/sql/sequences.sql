-- txsafe: the last number that was given out, for each scoped sequence and scope.
--
-- One statement, which may run again, in a transaction, and in many sessions at once: `IF NOT EXISTS` alone fails when another
-- session creates the same thing. It waits for that session then, and looks again.
DO $txsafe$
BEGIN
    FOR attempt IN 1..100 LOOP
        BEGIN
            CREATE TABLE IF NOT EXISTS txsafe_sequences (
                name       text NOT NULL,
                scope      text NOT NULL,
                last_value bigint NOT NULL,
                PRIMARY KEY (name, scope)
            ) WITH (fillfactor = 50); -- a counter is changed often, and stays on its page
            RETURN;
        EXCEPTION WHEN unique_violation OR duplicate_table OR duplicate_object THEN
            -- Something else of this name, such as a type, doesn't go away.
            IF attempt = 100 THEN
                RAISE;
            END IF;
        END;
    END LOOP;
END
$txsafe$;
