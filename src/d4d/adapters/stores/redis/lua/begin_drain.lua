-- Whether a host was not heard of for so long, and no other host drains it; its heartbeats are
-- answered 'drained' from now on. Returns 1 or 0.
local host, by, age, drain = unpack(ARGV)
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local stored = redis.call('HGET', KEYS[1], host) or '0'
local last, since, who = string.match(stored, '^(%d+) ?(%d*) ?(.*)$')
local is_drained = since ~= '' and now - tonumber(since) < tonumber(drain)
if is_drained and who ~= by then return 0 end
if now - tonumber(last) < tonumber(age) then return 0 end
redis.call('HSET', KEYS[1], host, last .. ' ' .. string.format('%.0f', now) .. ' ' .. by)
return 1
