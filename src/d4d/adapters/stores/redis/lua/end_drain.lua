-- A host is drained by another no longer, though something was left: its next heartbeat is 'new'.
local host, by = unpack(ARGV)
local stored = redis.call('HGET', KEYS[1], host)
local last, who = string.match(stored or '', '^(%d+) %d+ (.*)$')
if who == by then redis.call('HSET', KEYS[1], host, last .. ' 0 ' .. by) end
