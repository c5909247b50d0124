-- A host is alive. KEYS[1] is the hash of heartbeats: host -> microseconds of the last one, and '@'
-- with the installation that sent it; or, while the host is drained, since when and by whom. Returns
-- known | new | drained | namesake.
local host, by, age, drain = unpack(ARGV)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local stored = redis.call('HGET', KEYS[1], host)
local since = stored and string.match(stored, '^%d+ (%d+) ')
if since and now - tonumber(since) < tonumber(drain) then return 'drained' end
local last, other = string.match(stored or '', '^(%d+) @(.+)$')
if other and other ~= by and now - tonumber(last) < tonumber(age) then return 'namesake' end
redis.call('HSET', KEYS[1], host, string.format('%.0f @%s', now, by))
return stored and not since and 'known' or 'new'
