-- Notes in KEYS[1] that an operator resets the subjects in ARGV, for every process to read (announce.lua). A process that
-- could not reach Redis reads it when it is back, within a day, before it tells Redis anything.
-- Answers: now in us.

local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local moment = string.format('%.0f', now_us)
for _, subject in ipairs(ARGV) do redis.call('ZADD', KEYS[1], moment, moment .. ' ' .. subject) end
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -10001)
redis.call('PEXPIRE', KEYS[1], 86400000)
return now_us
