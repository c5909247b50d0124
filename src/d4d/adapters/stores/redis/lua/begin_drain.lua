-- Whether the last heartbeat of a host is the one that an observer saw, 0 being none, and no other
-- host drains it; its heartbeats are answered 'drained' from now on. Returns 1 or 0. The clock of
-- Redis does not say whether a host is dead: it may have been set.
local host, by, beat, drain = unpack(ARGV)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local stored = redis.call('HGET', KEYS[1], host) or '0'
local last, since, who = string.match(stored, '^(%d+) (%d+) (.*)$')
last = last or string.match(stored, '^%d+')
if last ~= beat then
  if who == by then redis.call('HDEL', KEYS[1], host) end -- it beat meanwhile: its next one is new
  return 0
end
local drained = since and now - tonumber(since)
if drained and drained >= 0 and drained < tonumber(drain) and who ~= by then return 0 end
redis.call('HSET', KEYS[1], host, last .. ' ' .. string.format('%.0f', now) .. ' ' .. by)
return 1
