-- Adds to the window in KEYS[1] what a process admitted while Redis was lost, and gives back a window that Redis lost.
-- KEYS[2] is a mark under which these units are added once, however often they are sent.
-- ARGV: count and end (Unix ms) as last told by Redis, units to add (may be negative), 1 where there are units to mark,
--   1 where Redis may have forgotten some of a window (it was lost or emptied, and another process gave it back first).
-- Answers: count and end of the window now (0 and 0 where it is over), now in us.

local clock = redis.call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now = math.floor(now_us / 1000)
local known, known_end, add = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local value = redis.call('GET', KEYS[1])
local count, reset = 0, 0
if value then
  count = tonumber(value)
  if not count or count % 1 ~= 0 then return redis.error_reply('NOTACOUNTER a key holds something else') end
  reset = redis.call('PEXPIRETIME', KEYS[1])
  if reset == -1 then reset = math.max(known_end, now + 1) end
end
if reset <= now then
  if known_end <= now then return { 0, 0, now_us } end
  count, reset = known, known_end
elseif ARGV[5] == '1' and reset == known_end then
  -- Of several processes that give a window back, the one that saw most is right. A window that was cleared has another
  -- end (clear.lua), so this does not undo it.
  count = math.max(count, known)
end
-- Windows that were opened apart end with the first of them: whoever is refused by both waits no longer than by one. (A
-- frozen server that goes on works off old calls first, and opens a window for them.)
if known_end > now then reset = math.min(reset, known_end) end
if ARGV[4] == '1' and redis.call('SET', KEYS[2], 1, 'NX', 'PXAT', reset) then
  count = count + add
end
count = math.max(count, 0)
redis.call('SET', KEYS[1], count, 'PXAT', reset)
return { count, reset, now_us }
