-- A host is alive. KEYS[1] is the hash of heartbeats: host -> microseconds of the last one, and '@'
-- with the installation that sent it; or, while the host is drained, since when and by whom. Returns
-- known | new | drained | namesake.
local host, by, age, drain, instead = unpack(ARGV)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local stored = redis.call('HGET', KEYS[1], host)
local last, since, drainer = string.match(stored or '', '^(%d+) (%d+) (.*)$')
last = tonumber(last or string.match(stored or '', '^(%d+)'))
-- Others tell heartbeats apart by this number, also while the clock stands or is set back a little.
local number = now
if last and last >= now and last - now < tonumber(age) then number = last + 1 end
local drained = since and now - tonumber(since)
if drained and drained >= 0 and drained < tonumber(drain) then
  redis.call('HSET', KEYS[1], host, string.format('%.0f %s %s', number, since, drainer))
  return 'drained' -- who drains sees that it lives, when he goes on
end
local other = not since and string.match(stored or '', '^%d+ @(.+)$')
if other and other ~= by then
  local is_young = now >= last and now - last < tonumber(age)
  if is_young or string.match(stored, '^%d+') ~= instead then return 'namesake' end
end
redis.call('HSET', KEYS[1], host, string.format('%.0f @%s', number, by))
return stored and not since and 'known' or 'new'
