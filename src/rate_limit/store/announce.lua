-- Notes in KEYS[1] that the process ARGV[1] is alive, and forgets those silent for longer than ARGV[2] ms.
-- KEYS[2]: resets by operators; ARGV[3]: the last one this process knows of (Unix us).
-- Answers: 1 where this process was on the list already (0 tells it that Redis was emptied), then everyone on it, then
--   the resets since, each as its moment and who was reset.

local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local known = redis.call('ZSCORE', KEYS[1], ARGV[1]) and 1 or 0
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
local resets = redis.call('ZRANGEBYSCORE', KEYS[2], '(' .. ARGV[3], '+inf')
return { known, redis.call('ZRANGE', KEYS[1], 0, -1), resets }
