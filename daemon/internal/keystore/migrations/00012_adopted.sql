-- Whether an object was adopted, and which signatures a token's are verified before they are answered: "all", "none", or
-- empty for those of adopted keys.

-- +goose Up

ALTER TABLE objects ADD COLUMN adopted BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE tokens ADD COLUMN verify_signatures TEXT NOT NULL DEFAULT '';

-- +goose Down

ALTER TABLE tokens DROP COLUMN verify_signatures;
ALTER TABLE objects DROP COLUMN adopted;
