-- Stores an operator's reservation. Returns one of: reserved, whether a lease has the address |
-- taken, whose address, reservation
local segment, number, for_whom, body = unpack(ARGV)
local operator = operator_key(segment)
local value = for_whom .. '\n' .. body
local stored = redis.call('HGET', operator, number)
if stored then return { 'taken', number, stored } end
if for_whom == '-' then
  redis.call('HSET', operator, number, value)
else
  local other = redis.call('HGET', operator, for_whom)
  if other then return { 'taken', other, redis.call('HGET', operator, other) } end
  redis.call('HSET', operator, number, value, for_whom, number)
end
return { 'reserved', redis.call('HEXISTS', held_key(segment), number) }
