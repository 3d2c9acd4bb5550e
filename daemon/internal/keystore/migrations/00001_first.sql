-- The types are those of PostgreSQL; SQLite takes them by its affinity rules. Times are microseconds since 1970. An
-- object's id is INTEGER because it is below 2^31 (greater handles are those of session objects), and because SQLite
-- then keeps the table in the order of the ids.

-- +goose Up

-- The next number of each sequence. Numbers are given in the transaction that uses them and never twice, also after the
-- row with the greatest one is deleted; and what the next token will get can be told, which is the free slot.
CREATE TABLE counters (
    name TEXT PRIMARY KEY,
    next BIGINT NOT NULL
);
INSERT INTO counters (name, next) VALUES ('token', 1), ('object', 1);

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value BYTEA NOT NULL
);

CREATE TABLE tokens (
    id             INTEGER PRIMARY KEY,
    uid            TEXT NOT NULL UNIQUE,
    label          TEXT NOT NULL,
    serial         TEXT NOT NULL,
    provider       TEXT NOT NULL,
    no_login       BOOLEAN NOT NULL,
    sealed_key     BYTEA NOT NULL,
    so_hash        TEXT NOT NULL,
    so_failed      INTEGER NOT NULL,
    so_epoch       BIGINT NOT NULL,
    user_hash      TEXT NOT NULL,
    user_failed    INTEGER NOT NULL,
    user_epoch     BIGINT NOT NULL,
    revision       BIGINT NOT NULL,
    -- Removed objects up to this revision are forgotten.
    forgotten      BIGINT NOT NULL,
    created        BIGINT NOT NULL
);
CREATE INDEX tokens_label ON tokens (label);

CREATE TABLE objects (
    id         INTEGER PRIMARY KEY,
    uid        TEXT NOT NULL UNIQUE,
    token_id   INTEGER NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    revision   BIGINT NOT NULL,
    -- Copies of attributes, for searching. Class and key type are the CK_ULONGs bit by bit; NULL where there is none.
    -- A label is bytes: applications write what is no UTF-8.
    private    BOOLEAN NOT NULL,
    class      BIGINT,
    key_type   BIGINT,
    label      BYTEA,
    cka_id     BYTEA,
    attributes BYTEA NOT NULL,
    created    BIGINT NOT NULL
);
CREATE INDEX objects_token ON objects (token_id, id);
CREATE INDEX objects_revision ON objects (token_id, revision);
CREATE INDEX objects_label ON objects (token_id, label);
CREATE INDEX objects_cka_id ON objects (token_id, cka_id);

-- Where the key of an object is; the one with the lowest rank is used first.
CREATE TABLE key_references (
    object_id INTEGER NOT NULL REFERENCES objects (id) ON DELETE CASCADE,
    rank      INTEGER NOT NULL,
    provider  TEXT NOT NULL,
    ref       BYTEA NOT NULL,
    -- SHA-256 of ref, which is too long for an index.
    ref_hash  BYTEA NOT NULL,
    PRIMARY KEY (object_id, rank)
);
CREATE INDEX key_references_ref ON key_references (provider, ref_hash);

-- Objects that were deleted, so that caches hear of it.
CREATE TABLE removed (
    object_id INTEGER PRIMARY KEY,
    token_id  INTEGER NOT NULL REFERENCES tokens (id) ON DELETE CASCADE,
    revision  BIGINT NOT NULL
);
CREATE INDEX removed_revision ON removed (token_id, revision);

CREATE TABLE applications (
    name          TEXT PRIMARY KEY,
    create_tokens BOOLEAN NOT NULL,
    created       BIGINT NOT NULL
);

CREATE TABLE identities (
    identity    TEXT PRIMARY KEY,
    application TEXT NOT NULL REFERENCES applications (name) ON DELETE CASCADE
);
CREATE INDEX identities_application ON identities (application);

-- A grant's token is a uid, or what else policy gives a meaning; hence no foreign key.
CREATE TABLE grants (
    application TEXT NOT NULL REFERENCES applications (name) ON DELETE CASCADE,
    token       TEXT NOT NULL,
    operations  TEXT NOT NULL,
    PRIMARY KEY (application, token)
);
CREATE INDEX grants_token ON grants (token);

CREATE TABLE enrollment_codes (
    hash        BYTEA PRIMARY KEY,
    application TEXT NOT NULL REFERENCES applications (name) ON DELETE CASCADE,
    expires     BIGINT NOT NULL
);
CREATE INDEX enrollment_codes_application ON enrollment_codes (application);

CREATE TABLE requests (
    id          TEXT PRIMARY KEY,
    application TEXT NOT NULL,
    created     BIGINT NOT NULL,
    response    BYTEA
);
CREATE INDEX requests_created ON requests (created);

CREATE TABLE used_tickets (
    id      TEXT PRIMARY KEY,
    expires BIGINT NOT NULL
);
CREATE INDEX used_tickets_expires ON used_tickets (expires);

CREATE TABLE audit (
    sequence    BIGINT PRIMARY KEY,
    time        BIGINT NOT NULL,
    application TEXT NOT NULL,
    identity    TEXT NOT NULL,
    operation   TEXT NOT NULL,
    token       TEXT NOT NULL,
    object      TEXT NOT NULL,
    mechanism   TEXT NOT NULL,
    outcome     TEXT NOT NULL,
    detail      TEXT NOT NULL,
    hash        BYTEA NOT NULL
);

-- +goose Down

DROP TABLE audit;
DROP TABLE used_tickets;
DROP TABLE requests;
DROP TABLE enrollment_codes;
DROP TABLE grants;
DROP TABLE identities;
DROP TABLE applications;
DROP TABLE removed;
DROP TABLE key_references;
DROP TABLE objects;
DROP TABLE tokens;
DROP TABLE meta;
DROP TABLE counters;
