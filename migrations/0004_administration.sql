-- What administrators do: who was acted upon, pages of users, and changes that wait for each other.

-- Whom an administrator did something to; `user_id` is who did it (NULL: the operator, at the command line).
ALTER TABLE audit_log ADD COLUMN target_id TEXT;
CREATE INDEX audit_log_of_target ON audit_log (target_id, at);

CREATE INDEX users_by_age ON users (created_at, id);

-- Rows that are only ever locked, for what no constraint can keep: here, that somebody stays administrator.
CREATE TABLE guards (
    name TEXT NOT NULL PRIMARY KEY
);
INSERT INTO guards (name) VALUES ('administrators');
