-- Counts of the windows in KEYS, charging and changing nothing.
-- ARGV: of each key its period in ms where it is an exact limit, else 0.
-- Answers: now in us, then of each key its count and its reset (Unix ms; 0 where none is open).

local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now = math.floor(now_us / 1000)
local answer = { now_us }
for i, key in ipairs(KEYS) do
  local count, reset, period = 0, 0, tonumber(ARGV[i])
  if period > 0 then
    local from = string.format('(%.0f', now_us - period * 1000)
    local unit = redis.call('ZRANGEBYSCORE', key, from, '+inf', 'WITHSCORES', 'LIMIT', 0, 1)
    count = redis.call('ZCOUNT', key, from, '+inf')
    if unit[2] then reset = math.ceil((unit[2] + period * 1000) / 1000) end
  else
    reset = redis.call('PEXPIRETIME', key)
    if reset > now then count = tonumber(redis.call('GET', key)) or 0 else reset = 0 end
  end
  answer[2 * i], answer[2 * i + 1] = math.max(count, 0), reset
end
return answer
