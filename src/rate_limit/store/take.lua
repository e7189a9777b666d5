-- Charges every window in KEYS, or none of them.
-- Of each key, ARGV holds: limit, period in ms, cost, then
--   for a fixed window: count and end (Unix ms) as last told by Redis, in case the key is lost; 0 and 0 where unknown;
--   for an exact limit: this process (no number) and the id of the first unit.
-- For an API token a further key and argument stand behind: its mark, and the version it was proven under. Where the
-- mark holds a later version the token was revoked or changed since, and nothing is charged.
-- Answers: 1 or 0 (charged or not; 2: the version is void, and nothing more), now in us, then of each key its count and its reset (Unix ms; 0 where none is open).
-- `store/memory.rs` decides the same; tests/limits/differential.rs holds the two equal.

local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now = math.floor(now_us / 1000)
local charged = 1
local windows = math.floor(#ARGV / 5)
if KEYS[windows + 1] and tonumber(redis.call('GET', KEYS[windows + 1]) or 0) > tonumber(ARGV[#ARGV]) then
  return { 2, now_us }
end
local counts, ends = {}, {}

for i = 1, windows do
  local key, a = KEYS[i], (i - 1) * 5
  local limit, period, cost = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  local known, known_end = tonumber(ARGV[a + 4]), tonumber(ARGV[a + 5])
  local count, reset = 0, 0
  if not known then
    redis.call('ZREMRANGEBYSCORE', key, '-inf', now_us - period * 1000)
    count = redis.call('ZCARD', key)
    local short = 1
    if count + cost > limit then
      charged = 0
      short = math.min(count + cost - limit, count)
    end
    if count > 0 then
      local unit = redis.call('ZRANGE', key, short - 1, short - 1, 'WITHSCORES')
      reset = math.ceil((unit[2] + period * 1000) / 1000)
      if redis.call('PTTL', key) == -1 then redis.call('PEXPIRE', key, period) end
    end
  else
    local value = redis.call('GET', key)
    if value then
      count = tonumber(value)
      if not count or count % 1 ~= 0 then return redis.error_reply('NOTACOUNTER a key holds something else') end
      count = math.max(count, 0)
      reset = redis.call('PEXPIRETIME', key)
      if reset == -1 then
        -- Without a TTL it would never end.
        reset = now + period
        redis.call('PEXPIREAT', key, reset)
      elseif reset <= now then
        -- At the very millisecond of expiry GET still answers the old value.
        count, reset = 0, 0
      end
    end
    if reset == 0 and known_end > now then
      count, reset = known, known_end
      redis.call('SET', key, count, 'PXAT', reset)
    end
    if count + cost > limit then charged = 0 end
  end
  counts[i], ends[i] = count, reset
end

local answer = { charged, now_us }
for i = 1, windows do
  local key, a = KEYS[i], (i - 1) * 5
  local period, cost = tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])
  if charged == 1 then
    if not tonumber(ARGV[a + 4]) then
      for unit = 0, cost - 1 do redis.call('ZADD', key, now_us, ARGV[a + 4] .. (ARGV[a + 5] + unit)) end
      -- Only a shadow rule counts beyond its limit; no set grows for ever.
      redis.call('ZREMRANGEBYRANK', key, 0, -10001)
      redis.call('PEXPIRE', key, period)
      if ends[i] == 0 then ends[i] = math.ceil((now_us + period * 1000) / 1000) end
      counts[i] = math.min(counts[i] + cost, 10000)
    else
      counts[i] = counts[i] + cost
      if ends[i] == 0 then
        ends[i] = now + period
        redis.call('SET', key, counts[i], 'PXAT', ends[i])
      else
        redis.call('SET', key, counts[i], 'KEEPTTL')
      end
    end
  end
  answer[2 * i + 1], answer[2 * i + 2] = counts[i], ends[i]
end
return answer
