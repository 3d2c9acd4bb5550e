-- What many daemons on one database need. "writer" is the row that they lock to change something, one after the other;
-- "policy" counts changes of tokens, applications and grants, so that each daemon sees that its cache is old.

-- +goose Up

INSERT INTO counters (name, next) VALUES ('writer', 0), ('policy', 0);

-- +goose Down

DELETE FROM counters WHERE name IN ('writer', 'policy');
