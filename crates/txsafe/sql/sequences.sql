-- txsafe: the last number that was given out, for each scoped sequence and scope.
CREATE TABLE IF NOT EXISTS txsafe_sequences (
    name       text NOT NULL,
    scope      text NOT NULL,
    last_value bigint NOT NULL,
    PRIMARY KEY (name, scope)
) WITH (fillfactor = 50); -- a counter is changed often, and stays on its page
