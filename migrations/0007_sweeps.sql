-- What the sweeps of expired rows look for, so that they read nothing else.

CREATE INDEX sessions_by_ending ON sessions (ended_at) WHERE ended_at IS NOT NULL;
CREATE INDEX known_clients_by_age ON known_clients (seen_at);
CREATE INDEX users_pending ON users (created_at) WHERE is_pending;
