-- The shop, fresh. Runs before each mode, in a schema of the demo's own.

DROP TABLE IF EXISTS ledger, incidents, organizations, reservations, inventory, orders, users, accounts;

CREATE TABLE accounts (
    id      int    PRIMARY KEY,
    balance bigint NOT NULL -- in cents
);

CREATE TABLE users (
    id              int PRIMARY KEY,
    address_version int NOT NULL DEFAULT 0,
    shipments       int NOT NULL DEFAULT 0
);

CREATE TABLE orders (
    id              int PRIMARY KEY,
    user_id         int NOT NULL REFERENCES users,
    address_version int NOT NULL DEFAULT 0, -- copied from the user for the parcel's label
    shipments       int NOT NULL DEFAULT 0
);
CREATE INDEX ON orders (user_id);

CREATE TABLE inventory (
    item      int PRIMARY KEY,
    available int NOT NULL
);

CREATE TABLE reservations (
    operation bigint NOT NULL,
    item      int    NOT NULL REFERENCES inventory,
    quantity  int    NOT NULL
);

CREATE TABLE organizations (
    id            int PRIMARY KEY,
    last_incident int NOT NULL DEFAULT 0
);

CREATE TABLE incidents (
    organization int    NOT NULL REFERENCES organizations,
    number       int    NOT NULL, -- not unique, so that a number given twice can be seen
    operation    bigint NOT NULL
);

-- One row per operation, written in its transaction. Not unique, so that an operation done twice can be seen.
CREATE TABLE ledger (
    operation bigint NOT NULL,
    handler   text   NOT NULL,
    subject   int    NOT NULL, -- the account that pays, the order, the user, the organization; 0 for reservations
    object    int    NOT NULL, -- the account that gets, the number of the incident; else 0
    amount    bigint NOT NULL
);

INSERT INTO accounts (id, balance) SELECT id, 100000 FROM generate_series(1, 100) AS id;
INSERT INTO users (id) SELECT generate_series(1, 40);
INSERT INTO orders (id, user_id) SELECT id, 1 + id % 40 FROM generate_series(1, 120) AS id;
INSERT INTO inventory (item, available) SELECT item, 1000000 FROM generate_series(1, 100) AS item;
INSERT INTO organizations (id) SELECT generate_series(1, 8);
