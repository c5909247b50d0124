-- All heartbeats, by turns a host and what beat.lua or begin_drain.lua wrote of it, behind the time
-- in seconds and microseconds: of the server that has them, for in a cluster each has a clock.
local heard = redis.call('TIME')
for _, each in ipairs(redis.call('HGETALL', KEYS[1])) do table.insert(heard, each) end
return heard
