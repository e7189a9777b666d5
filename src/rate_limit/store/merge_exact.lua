-- Adds single units to the exact limit in KEYS[1]. A unit that is there stays as it is, so sending one twice counts once.
-- ARGV: period in ms, then of each unit when it was taken (Unix us) and its name.
-- Answers: units now, 0, now in us.

local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local period_us = ARGV[1] * 1000
for i = 2, #ARGV, 2 do
  local at = math.min(tonumber(ARGV[i]), now_us)
  if at + period_us > now_us then redis.call('ZADD', KEYS[1], 'NX', at, ARGV[i + 1]) end
end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now_us - period_us)
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -10001)
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return { redis.call('ZCARD', KEYS[1]), 0, now_us }
