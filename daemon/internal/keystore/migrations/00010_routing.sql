-- What an object with several key references needs. "mechanisms" are those that a reference is for, as the value of
-- CKA_ALLOWED_MECHANISMS; NULL for all that its provider does with it. "routing" is by which policy a reference is
-- chosen; empty on an object for its token's, on a token for the default. "rules" say which provider gets a new key.

-- +goose Up

ALTER TABLE key_references ADD COLUMN mechanisms BYTEA;
ALTER TABLE objects ADD COLUMN routing TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN routing TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN rules TEXT NOT NULL DEFAULT '';

-- +goose Down

ALTER TABLE tokens DROP COLUMN rules;
ALTER TABLE tokens DROP COLUMN routing;
ALTER TABLE objects DROP COLUMN routing;
ALTER TABLE key_references DROP COLUMN mechanisms;
