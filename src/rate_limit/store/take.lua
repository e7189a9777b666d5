-- Decides takes, one after the other: charges every window of a take, or none of them.
-- KEYS holds the counters of all takes in their order. ARGV holds of each take the number of its windows, then of each
-- window: limit, period in ms, cost, then
--   for a fixed window: count and end (Unix ms) as last told by Redis, in case the key is lost; 0 and 0 where unknown;
--   for an exact limit: this process (no number) and the id of the first unit.
-- Of an API token the number is negative, and the version it was proven under stands behind it; a further key stands
-- behind its counters, its mark. Where that holds a later version the token was revoked or changed since, and nothing is
-- charged.
-- Takes of a single fixed window, which most are, come in runs: the number 0, how many takes, the limit, period and cost
-- that they share, then of each take `COUNT END` as above, or nothing. They cost two calls each instead of three.
-- Answers numbers in one string, of eight bytes each, the lowest first: it is read several times as fast as an array. They
-- are now in us, then of each take 1 or 0 (charged or not; 2: the version is void; 3: a key holds no counter), and of each
-- of its windows its count and its reset (Unix ms; 0 where none is open).
-- `store/memory.rs` decides the same; tests/limits/differential.rs holds the two equal.

local call, pcall = redis.call, redis.pcall
local clock = call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now = math.floor(now_us / 1000)
local answer = { now_us }
-- The last that was read of KEYS and ARGV, and written of the answer.
local k, a, n = 0, 0, 1

while ARGV[a + 1] do
  a, n = a + 1, n + 1
  local windows = tonumber(ARGV[a])
  if windows == 0 then
    local takes, limit, period, cost = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), ARGV[a + 3], ARGV[a + 4]
    a = a + 4
    for _ = 1, takes do
      k, a = k + 1, a + 1
      local key, charged, reset = KEYS[k], 1, 0
      -- Charged at once, and given back where there was no room: nobody sees the moment in between.
      local count = pcall('INCRBY', key, cost)
      if type(count) == 'table' then
        local why = count.err
        local is_value = string.find(why, 'WRONGTYPE') or string.find(why, 'not an integer') or string.find(why, 'overflow')
        if not is_value then return count end
        -- Somebody else wrote it: a number in another spelling, or none.
        local value = pcall('GET', key)
        value = type(value) == 'string' and tonumber(value)
        if value and value % 1 == 0 then
          call('SET', key, string.format('%.0f', math.min(math.max(value, 0), 1e15)), 'KEEPTTL')
          count = call('INCRBY', key, cost)
        else
          charged, count = 3, 0
        end
      end
      if charged == 1 then
        local before = count - cost
        reset = call('PEXPIRETIME', key)
        if before >= 0 and reset > now then
          if count > limit then
            charged, count = 0, before
            call('DECRBY', key, cost)
          end
        else
          if reset == -1 and before ~= 0 then
            -- Without a TTL it would never end.
            reset = now + period
          elseif reset <= now then
            -- New, or at the very millisecond of expiry, when the old value is still there.
            before, reset = 0, 0
            local known, known_end = string.match(ARGV[a], '^(%d+) (%d+)$')
            if known and tonumber(known_end) > now then before, reset = tonumber(known), tonumber(known_end) end
          end
          before = math.max(before, 0)
          count = before + cost
          if count > limit then
            charged, count = 0, before
          elseif reset == 0 then
            reset = now + period
          end
          if reset == 0 then call('DEL', key) else call('SET', key, count, 'PXAT', reset) end
        end
      end
      answer[n], answer[n + 1], answer[n + 2] = charged, count, reset
      n = n + 3
    end
    n = n - 1
  else
    local charged, marks = 1, 0
    if windows < 0 then
      a, windows, marks = a + 1, -windows, 1
      if tonumber(call('GET', KEYS[k + windows + 1]) or 0) > tonumber(ARGV[a]) then charged = 2 end
    end
    for i = 1, windows do
      local count, reset = 0, 0
      if charged < 2 then
        local key, b = KEYS[k + i], a + i * 5
        local limit, cost, known = tonumber(ARGV[b - 4]), tonumber(ARGV[b - 2]), tonumber(ARGV[b - 1])
        if known then
          local value = pcall('GET', key)
          if type(value) == 'table' then
            if not string.find(value.err, 'WRONGTYPE') then return value end
            charged = 3
          elseif value then
            count = tonumber(value)
            if not count or count % 1 ~= 0 then
              charged, count = 3, 0
            else
              if count < 0 then count = 0 end
              reset = call('PEXPIRETIME', key)
              if reset == -1 then
                -- Without a TTL it would never end.
                reset = now + ARGV[b - 3]
                call('PEXPIREAT', key, reset)
              elseif reset <= now then
                -- At the very millisecond of expiry GET still answers the old value.
                count, reset = 0, 0
              end
            end
          end
          if reset == 0 and charged < 2 then
            local known_end = tonumber(ARGV[b])
            if known_end > now then
              count, reset = known, known_end
              call('SET', key, count, 'PXAT', reset)
            end
          end
        else
          local period = tonumber(ARGV[b - 3])
          local swept = pcall('ZREMRANGEBYSCORE', key, '-inf', now_us - period * 1000)
          if type(swept) == 'table' then
            if not string.find(swept.err, 'WRONGTYPE') then return swept end
            charged = 3
          else
            count = call('ZCARD', key)
            if count > 0 then
              local short = 1
              if count + cost > limit then short = math.min(count + cost - limit, count) end
              local unit = call('ZRANGE', key, short - 1, short - 1, 'WITHSCORES')
              reset = math.ceil((unit[2] + period * 1000) / 1000)
              if call('PTTL', key) == -1 then call('PEXPIRE', key, period) end
            end
          end
        end
        if count + cost > limit and charged == 1 then charged = 0 end
      end
      answer[n + 2 * i - 1], answer[n + 2 * i] = count, reset
    end

    if charged == 1 then
      for i = 1, windows do
        local key, b = KEYS[k + i], a + i * 5
        local count, reset = answer[n + 2 * i - 1] + ARGV[b - 2], answer[n + 2 * i]
        if not tonumber(ARGV[b - 1]) then
          local period = tonumber(ARGV[b - 3])
          for unit = 0, ARGV[b - 2] - 1 do call('ZADD', key, now_us, ARGV[b - 1] .. (ARGV[b] + unit)) end
          -- Only a shadow rule counts beyond its limit; no set grows for ever.
          call('ZREMRANGEBYRANK', key, 0, -10001)
          call('PEXPIRE', key, period)
          if reset == 0 then reset = math.ceil((now_us + period * 1000) / 1000) end
          count = math.min(count, 10000)
        elseif reset == 0 then
          reset = now + ARGV[b - 3]
          call('SET', key, count, 'PXAT', reset)
        elseif pcall('INCRBY', key, ARGV[b - 2]) ~= count then
          -- Somebody else wrote the number, below 0 or in another spelling.
          call('SET', key, count, 'KEEPTTL')
        end
        answer[n + 2 * i - 1], answer[n + 2 * i] = count, reset
      end
    end
    answer[n] = charged
    k, a, n = k + windows + marks, a + windows * 5, n + windows * 2
  end
end
return struct.pack('<' .. string.rep('i8', #answer), unpack(answer))
