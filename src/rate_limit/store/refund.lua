-- Gives units back to the window they were taken in: never makes a key, never goes below 0, never touches another window.
-- ARGV: units, then the window's end (Unix ms); for an exact limit the process and the id of the first unit.
-- Answers: 1 or 0 (given back or not).

local units = tonumber(ARGV[1])
if ARGV[3] then
  local given = 0
  for unit = 0, units - 1 do given = given + redis.call('ZREM', KEYS[1], ARGV[2] .. (ARGV[3] + unit)) end
  return given > 0 and 1 or 0
end
local value = redis.call('GET', KEYS[1])
if not value or redis.call('PEXPIRETIME', KEYS[1]) ~= tonumber(ARGV[2]) then return 0 end
redis.call('SET', KEYS[1], math.max(tonumber(value) - units, 0), 'KEEPTTL')
return 1
