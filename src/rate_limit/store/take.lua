-- Charges every window in KEYS, or none of them.
-- Of each key, ARGV holds: limit, period in ms, cost, then
--   for a fixed window: count and end (Unix ms) as last told by Redis, in case the key is lost; 0 and 0 where unknown;
--   for an exact limit: this process (no number) and the id of the first unit.
-- For an API token a further key and argument stand behind: its mark, and the version it was proven under. Where the
-- mark holds a later version the token was revoked or changed since, and nothing is charged.
-- Answers: 1 or 0 (charged or not; 2: the version is void, and nothing more), now in us, then of each key its count and
-- its reset (Unix ms; 0 where none is open).
-- `store/memory.rs` decides the same; tests/limits/differential.rs holds the two equal.

local call = redis.call
local clock = call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now = math.floor(now_us / 1000)
local charged = 1
local windows = math.floor(#ARGV / 5)
if KEYS[windows + 1] and tonumber(call('GET', KEYS[windows + 1]) or 0) > tonumber(ARGV[#ARGV]) then
  return { 2, now_us }
end
local answer = { 1, now_us }

for i = 1, windows do
  local key, a = KEYS[i], i * 5
  local limit, cost, known = tonumber(ARGV[a - 4]), tonumber(ARGV[a - 2]), tonumber(ARGV[a - 1])
  local count, reset = 0, 0
  if known then
    local value = call('GET', key)
    if value then
      count = tonumber(value)
      if not count or count % 1 ~= 0 then return redis.error_reply('NOTACOUNTER a key holds something else') end
      if count < 0 then count = 0 end
      reset = call('PEXPIRETIME', key)
      if reset == -1 then
        -- Without a TTL it would never end.
        reset = now + ARGV[a - 3]
        call('PEXPIREAT', key, reset)
      elseif reset <= now then
        -- At the very millisecond of expiry GET still answers the old value.
        count, reset = 0, 0
      end
    end
    if reset == 0 then
      local known_end = tonumber(ARGV[a])
      if known_end > now then
        count, reset = known, known_end
        call('SET', key, count, 'PXAT', reset)
      end
    end
    if count + cost > limit then charged = 0 end
  else
    local period = tonumber(ARGV[a - 3])
    call('ZREMRANGEBYSCORE', key, '-inf', now_us - period * 1000)
    count = call('ZCARD', key)
    local short = 1
    if count + cost > limit then
      charged = 0
      short = math.min(count + cost - limit, count)
    end
    if count > 0 then
      local unit = call('ZRANGE', key, short - 1, short - 1, 'WITHSCORES')
      reset = math.ceil((unit[2] + period * 1000) / 1000)
      if call('PTTL', key) == -1 then call('PEXPIRE', key, period) end
    end
  end
  answer[2 * i + 1], answer[2 * i + 2] = count, reset
end

if charged == 0 then
  answer[1] = 0
  return answer
end
for i = 1, windows do
  local key, a = KEYS[i], i * 5
  local count, reset = answer[2 * i + 1] + ARGV[a - 2], answer[2 * i + 2]
  if not tonumber(ARGV[a - 1]) then
    local period = tonumber(ARGV[a - 3])
    for unit = 0, ARGV[a - 2] - 1 do call('ZADD', key, now_us, ARGV[a - 1] .. (ARGV[a] + unit)) end
    -- Only a shadow rule counts beyond its limit; no set grows for ever.
    call('ZREMRANGEBYRANK', key, 0, -10001)
    call('PEXPIRE', key, period)
    if reset == 0 then reset = math.ceil((now_us + period * 1000) / 1000) end
    count = math.min(count, 10000)
  elseif reset == 0 then
    reset = now + ARGV[a - 3]
    call('SET', key, count, 'PXAT', reset)
  elseif redis.pcall('INCRBY', key, ARGV[a - 2]) ~= count then
    -- Somebody else wrote the number, below 0 or in another spelling.
    call('SET', key, count, 'KEEPTTL')
  end
  answer[2 * i + 1], answer[2 * i + 2] = count, reset
end
return answer
