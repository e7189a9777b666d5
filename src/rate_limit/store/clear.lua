-- Empties the counter in KEYS[1]. A fixed window stays open and ends one millisecond earlier: a key that were gone would
-- look lost, and one of the same window could be raised again by what a process remembers of it (merge.lua).

if redis.call('TYPE', KEYS[1]).ok ~= 'string' then return redis.call('DEL', KEYS[1]) end
local clock = redis.call('TIME')
local reset = redis.call('PEXPIRETIME', KEYS[1]) - 1
if reset <= clock[1] * 1000 + math.floor(clock[2] / 1000) then return redis.call('DEL', KEYS[1]) end
redis.call('SET', KEYS[1], 0, 'PXAT', reset)
return 1
