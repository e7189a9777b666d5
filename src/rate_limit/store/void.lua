-- Notes in KEYS[1] that proofs of versions before ARGV[1] are void, for ARGV[2] ms. A later version is never taken back.

local known = tonumber(redis.call('GET', KEYS[1]) or 0)
return redis.call('SET', KEYS[1], math.max(known, tonumber(ARGV[1])), 'PX', ARGV[2])
