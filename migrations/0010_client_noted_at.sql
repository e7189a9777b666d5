-- When the client that a session was last used from was noted for its user: a refresh then need not look for it among his clients.
-- NULL: not known, so the next refresh notes it.
ALTER TABLE sessions ADD COLUMN client_noted_at BIGINT;
