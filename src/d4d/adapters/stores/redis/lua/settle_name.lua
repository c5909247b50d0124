-- The lease that a host's claim of a name came to. Returns 1, or 0 where another has the name.
local owner, pool, segment, name, number, generation = unpack(ARGV)
local key = names_key(segment)
local stored = redis.call('HGET', key, name)
if stored and string.match(stored, '^(%S+) ') ~= owner then return 0 end
redis.call('HSET', key, name, owner .. ' 0 ' .. number .. ' ' .. generation .. ' ' .. pool)
return 1
