-- API tokens: secrets that programs show at the gateway, with quotas of their own.

CREATE TABLE api_tokens (
    id TEXT NOT NULL PRIMARY KEY,
    user_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    -- The first characters of the secret, by which its owner knows it again.
    prefix TEXT NOT NULL,
    secret_hash TEXT NOT NULL UNIQUE,
    -- With single spaces between them.
    scopes TEXT NOT NULL,
    -- Requests in a window; NULL is the default of the configuration.
    per_minute BIGINT,
    per_hour BIGINT,
    per_day BIGINT,
    -- Grows with every change of what the token may do: a proof of an older version is void.
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    revoked_at BIGINT,
    -- Until when a revoked token counts against the cap of its owner: the end of its day window.
    counts_until BIGINT,
    last_used_at BIGINT,
    last_used_ip TEXT,
    request_count BIGINT NOT NULL,
    -- Checkpoint of the day window, for counters that are lost: units used, and its end (0: none yet).
    day_used BIGINT NOT NULL,
    day_ends_at BIGINT NOT NULL
);
CREATE INDEX api_tokens_of_user ON api_tokens (user_id);
CREATE INDEX api_tokens_by_end ON api_tokens (revoked_at) WHERE revoked_at IS NOT NULL;
