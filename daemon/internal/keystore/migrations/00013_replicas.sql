-- The daemons that use this database, so that a rotation of the root key, and work that needs the store alone, know who
-- is there. A row is written every few seconds while a daemon runs and goes when it ends.

-- +goose Up

CREATE TABLE replicas (
    name       TEXT PRIMARY KEY,
    version    TEXT NOT NULL,
    seen       BIGINT NOT NULL,
    -- The check values of the root key that the daemon has, and of the next one, empty if it has none.
    root_check BYTEA NOT NULL,
    next_check BYTEA NOT NULL
);

-- +goose Down

DROP TABLE replicas;
