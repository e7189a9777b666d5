-- A rotation comes most often, and changes each index that holds what it changes: the less stands in indexes, the less is written.

-- When the sweep looks at a session again. A rotation moves `live_until` and leaves this where it was; the sweep moves it on.
-- 0: at the next sweep, which all rows of before need.
ALTER TABLE sessions ADD COLUMN sweep_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX sessions_by_sweep ON sessions (sweep_at);
DROP INDEX sessions_by_end;

-- The clients of one account are few: the primary key finds them.
DROP INDEX known_clients_newest;

-- Hardly any row has a target.
DROP INDEX audit_log_of_target;
CREATE INDEX audit_log_of_target ON audit_log (target_id, at) WHERE target_id IS NOT NULL;
