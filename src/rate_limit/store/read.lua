-- Reads the counter in KEYS[1] and changes nothing.
-- ARGV: the period of its limit in ms, by which the units of an exact limit are free again; 0 where unknown.
-- Answers: its count, and its end (Unix ms; for an exact limit when the last unit is freed); false for no counter.

local kind = redis.call('TYPE', KEYS[1]).ok
if kind == 'zset' then
  local clock = redis.call('TIME')
  local now_us, period_us = clock[1] * 1000000 + clock[2], ARGV[1] * 1000
  local since = period_us > 0 and '(' .. string.format('%.0f', now_us - period_us) or '-inf'
  local last = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')[2]
  return { redis.call('ZCOUNT', KEYS[1], since, '+inf'), math.ceil((last + period_us) / 1000) }
end
local count = kind == 'string' and tonumber(redis.call('GET', KEYS[1]))
if not count or count % 1 ~= 0 then return false end
return { count, redis.call('PEXPIRETIME', KEYS[1]) }
