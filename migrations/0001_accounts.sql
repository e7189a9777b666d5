-- Accounts, their sessions and mailed links, the mail queue and the audit log.
--
-- One text for SQLite and PostgreSQL: ids are UUIDv7 as TEXT, instants BIGINT milliseconds since 1970,
-- flags BOOLEAN, hashes TEXT. Whatever hangs on a user goes with the user.

CREATE TABLE users (
    id TEXT NOT NULL PRIMARY KEY,
    email TEXT NOT NULL UNIQUE,
    full_name TEXT,
    password_hash TEXT NOT NULL,
    -- Grows with every password that is set (not with a rehash): what was begun under an older one is void.
    password_version BIGINT NOT NULL,
    role TEXT NOT NULL CHECK (role IN ('user', 'admin')),
    is_active BOOLEAN NOT NULL,
    is_verified BOOLEAN NOT NULL,
    -- Registered under REQUIRE_EMAIL_VERIFICATION and never proven nor used: name and password are those
    -- of the newest registration, and the next one replaces them.
    is_pending BOOLEAN NOT NULL,
    created_at BIGINT NOT NULL,
    last_login_at BIGINT
);

CREATE TABLE sessions (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- Hash of the half that all refresh tokens of the session share: it finds the session of any of them.
    family_hash TEXT NOT NULL UNIQUE,
    -- Hash of the other half of the live refresh token.
    token_hash TEXT NOT NULL,
    -- That of its immediate predecessor, and the live one sealed under the predecessor's value for the grace.
    previous_hash TEXT,
    successor_sealed TEXT,
    grace_ends_at BIGINT,
    client_ip TEXT NOT NULL,
    user_agent TEXT,
    created_at BIGINT NOT NULL,
    last_active_at BIGINT NOT NULL,
    -- The lesser of idle and absolute end; the second never moves.
    live_until BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    ended_at BIGINT,
    end_reason TEXT
);
CREATE INDEX sessions_of_user ON sessions (user_id);
CREATE INDEX sessions_in_grace ON sessions (grace_ends_at) WHERE successor_sealed IS NOT NULL;
CREATE INDEX sessions_by_end ON sessions (live_until);

-- Links that were mailed: reset a password, verify an address, change it.
CREATE TABLE one_time_tokens (
    token_hash TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose TEXT NOT NULL CHECK (purpose IN ('reset', 'verify', 'change_email')),
    -- Where it was mailed to.
    email TEXT NOT NULL,
    -- The job that mailed it; a retry of the job replaces its token.
    job_id TEXT NOT NULL,
    password_version BIGINT NOT NULL,
    -- The registration it belongs to (verify): what the account gets when the link is used.
    password_hash TEXT,
    full_name TEXT,
    -- The session that asked (change_email): it survives.
    session_id TEXT,
    created_at BIGINT NOT NULL,
    handed_over_at BIGINT,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX one_time_tokens_of_user ON one_time_tokens (user_id);
CREATE INDEX one_time_tokens_by_end ON one_time_tokens (expires_at);

-- Mail that is to leave. Holds no live token: that is made when the mail is sent.
CREATE TABLE mail_jobs (
    id TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    recipient TEXT NOT NULL,
    user_id TEXT REFERENCES users (id) ON DELETE CASCADE,
    password_version BIGINT,
    password_hash TEXT,
    full_name TEXT,
    session_id TEXT,
    created_at BIGINT NOT NULL,
    -- When it may be taken (again).
    due_at BIGINT NOT NULL,
    -- Until when the worker that took it has it to itself; no other mail to its recipient is taken meanwhile.
    leased_until BIGINT,
    attempts BIGINT NOT NULL,
    -- The recipient's mail limit has been charged.
    is_charged BOOLEAN NOT NULL
);
CREATE INDEX mail_jobs_due ON mail_jobs (due_at, id);
CREATE INDEX mail_jobs_of_user ON mail_jobs (user_id);
CREATE INDEX mail_jobs_of_recipient ON mail_jobs (recipient, id);

-- Clients from which an account logged in, refreshed or completed a reset.
CREATE TABLE known_clients (
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client TEXT NOT NULL,
    seen_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, client)
);
CREATE INDEX known_clients_newest ON known_clients (user_id, seen_at);

-- Security events. No reference to users: the record of an account outlives it, until it is swept.
CREATE TABLE audit_log (
    id TEXT NOT NULL PRIMARY KEY,
    at BIGINT NOT NULL,
    event TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT,
    user_id TEXT,
    account TEXT,
    client_ip TEXT,
    request_id TEXT,
    occurrences BIGINT NOT NULL
);
CREATE INDEX audit_log_by_time ON audit_log (at);
CREATE INDEX audit_log_of_user ON audit_log (user_id, at);
